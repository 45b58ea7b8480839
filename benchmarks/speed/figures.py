"""What a benchmark says: one number with its unit, beside what was asked for.

A benchmark states its figures through the fixture `state` (conftest.py); they stand in the table at the end of
`make bench` and in its JSON.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

MACHINE, MATRIX = "machine", "float32 matrix product"  # what the machine can do is a figure, too


@dataclass(frozen=True)
class Figure:
    """value, least, most: in `unit`. least: what should be reached. most: what should not be exceeded."""

    area: str
    name: str
    value: float
    unit: str
    least: float | None = None
    most: float | None = None

    @property
    def asked(self) -> str:
        """What was asked for, in words; a dash where nothing was."""
        if self.least is not None:
            return f"≥ {number(self.least)}"
        return "-" if self.most is None else f"≤ {number(self.most)}"

    @property
    def reached(self) -> str:
        """yes, no, or a dash where nothing was asked for."""
        if self.least is None and self.most is None:
            return "-"
        enough = self.least is None or self.value >= self.least
        return "yes" if enough and (self.most is None or self.value <= self.most) else "no"

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without what was not asked for."""
        return {name: each for name, each in asdict(self).items() if each is not None}


def number(value: float) -> str:
    """Three digits that matter, four below one; thousands apart: 0.9996, 12.6, 499 500."""
    if abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}" if abs(value) >= 1 else f"{value:.4g}"


def merged(*many: tuple[Figure, ...]) -> tuple[Figure, ...]:
    """All figures, in the order in which they first came; of those of one area and name the last."""
    return tuple({(each.area, each.name): each for figures in many for each in figures}.values())


State = Callable[[Figure], None]  # what the fixture of that name is
