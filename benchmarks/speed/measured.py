"""What is kept of a run of all benchmarks: machine, figures and points of growth; `measured.json` is committed.

Of pytest-benchmark's JSON only what benchmarks stated is taken: no name of a machine, no path.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.speed.figures import Figure, merged
from benchmarks.speed.growth import Series

FILE = Path(__file__).with_name("measured.json")


@dataclass(frozen=True)
class Measured:
    """machine: what capability.machine says of it. figures: the machine's own first."""

    machine: Mapping[str, Any]
    figures: tuple[Figure, ...]
    growth: tuple[Series, ...]

    def __or__(self, later: "Measured") -> "Measured":
        """What was measured later takes the place of what bears the same name; the later machine is stated."""
        growth = {each.name: each for each in (*self.growth, *later.growth)}
        return Measured(later.machine, merged(self.figures, later.figures), tuple(growth.values()))

    def value(self, area: str, name: str) -> float:
        """Of a figure."""
        return next(each.value for each in self.figures if (each.area, each.name) == (area, name))

    def text(self) -> str:
        """As it is kept."""
        figures = [figure.as_dict() for figure in self.figures]
        growth = [asdict(series) for series in self.growth]
        content = {"machine": self.machine, "figures": figures, "growth": growth}
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def series(content: Mapping[str, Any]) -> Series:
    """From JSON, which has lists."""
    return Series(**{**content, "sizes": tuple(content["sizes"]), "seconds": tuple(content["seconds"])})


def kept(text: str) -> Measured:
    """What was kept."""
    content = json.loads(text)
    figures = tuple(Figure(**each) for each in content["figures"])
    return Measured(content["machine"], figures, tuple(map(series, content["growth"])))


def of_benchmarks(text: str) -> Measured:
    """From the JSON that pytest-benchmark writes."""
    content = json.loads(text)
    machine = dict(content["machine_info"]["molebench"])
    extras: Iterable[dict[str, Any]] = [each["extra_info"] for each in content["benchmarks"]]
    stated = [*machine.pop("capability"), *(figure for extra in extras for figure in extra.get("figures", ()))]
    growth = tuple(series(extra["growth"]) for extra in extras if "growth" in extra)
    return Measured(machine, merged(tuple(Figure(**each) for each in stated)), growth)
