"""Short names for plug-ins that differ in their parameters, from the records at hand and no code.

Among those of one name, a parameter is worth a word where it varies and its value is not the usual one: that of more
than half of them. So `feature_collision`, and beside it `feature_collision expectation=jpeg`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from molebench.stages import canonical

Part = Mapping[str, Any]  # a cell's attack, victim, dataset or defense: its name and parameters


def labels(parts: Iterable[Part]) -> dict[str, str]:
    """A name for each different part, by its canonical text; no two are the same."""
    alike: dict[str, Counter[str]] = {}
    known: dict[str, Part] = {}
    for part in parts:
        text = canonical(dict(part))
        known[text] = part
        alike.setdefault(part["name"], Counter())[text] += 1
    return {text: label for name, counts in alike.items() for text, label in told(name, counts, known).items()}


def told(name: str, counts: Counter[str], known: Mapping[str, Part]) -> dict[str, str]:
    """The names of all that have one."""
    values: dict[str, Counter[str]] = {}
    for text, times in counts.items():
        for parameter, value in known[text]["parameters"].items():
            values.setdefault(parameter, Counter())[str(value)] += times
    usual = {parameter: most_common(each, counts.total()) for parameter, each in values.items()}
    return {text: " ".join([name, *own(known[text], usual)]) for text in counts}


def most_common(values: Counter[str], whole: int) -> str | None:
    """The value of more than half of all; None where there is none."""
    [(value, times)] = values.most_common(1)
    return value if 2 * times > whole else None


def own(part: Part, usual: Mapping[str, str | None]) -> list[str]:
    """The parameters in which a part is not as usual."""
    return [f"{p}={value}" for p, value in sorted(part["parameters"].items()) if str(value) != usual[p]]


def label(part: Part, known: Mapping[str, str]) -> str:
    """The name of a part that `labels` has seen."""
    return known[canonical(dict(part))]
