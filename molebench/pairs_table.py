"""Pair by pair: what an update did to each of its pairs; of a grid the pairs that lose most. From records alone.

Over several trials every figure is the mean over the trials in which the pair was attacked.
"""

from collections.abc import Sequence

from molebench.pair_deltas import Effect, matched
from molebench.record import Record
from molebench.report import number, paragraph, rendered

MOST = 10  # rows
FIGURES = {
    "rho": "rho",
    "n": "N",
    "mean_score": "mean score",
    "delta_a": "Delta_a",
    "delta_a_control": "Delta_a control",
    "delta_confounding": "Delta_confounding",
}


def pairs_table(records: Sequence[Record], form: str = "plain") -> list[str]:
    """A paragraph and a table; nothing where there are no pairs.

    Few pairs stay in the attack's order; of many those are shown whose attacked class loses most.
    """
    found = [list(each.values()) for each in matched(records).values()]
    pairs = [each for each in found if each[0].attacked and "delta_a" in each[0].figures]
    if not pairs:
        return []
    shown = pairs if len(pairs) <= MOST else sorted(pairs, key=lambda each: mean(each, "delta_a"))[:MOST]
    uneven = any(len(each) < len(records) for each in shown)
    rows = [row(each) + ([f"{len(each)} of {len(records)}"] if uneven else []) for each in shown]
    head = ("attacked", "confounding", *FIGURES.values(), *(["trials"] if uneven else []))
    return [paragraph(caption(records, len(pairs)), form), rendered(head, rows, form)]


def row(found: Sequence[Effect]) -> list[str]:
    """The cells of one pair."""
    numbers = [number(mean(found, name), name) if holds(found, name) else "-" for name in FIGURES]
    return [found[0].attacked, found[0].confounding, *numbers]


def holds(found: Sequence[Effect], name: str) -> bool:
    """Whether a figure is known of every trial."""
    return all(name in effect.figures for effect in found)


def mean(found: Sequence[Effect], name: str) -> float:
    """The mean of a figure over trials."""
    return sum(effect.figures[name] for effect in found) / len(found)


def caption(records: Sequence[Record], pairs: int) -> str:
    """What the table shows."""
    over = f", mean over {len(records)} trials" if len(records) > 1 else ""
    if pairs > MOST:
        return f"The {MOST} of {pairs} pairs whose attacked class loses most{over}; Deltas in points:"
    if all(len(record.updates) == 1 and len(record.updates[0].pairs) > 1 for record in records):
        n = ", ".join(f"{r.updates[0].moles / len(r.updates[0].pairs):g}" for r in records)
        return f"The pairs of one update, {n} moles of each (N: what each would take alone){over}; Deltas in points:"
    return f"Pair by pair{over}; Deltas in points:"
