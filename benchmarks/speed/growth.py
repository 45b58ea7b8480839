"""Time against a number of things: points, the least-squares line through them, and how much of them it explains."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.speed.figures import number
from benchmarks.speed.turns import taking_turns

TURNS = 3
PAIRS, POISONS, SCORING = "a mole grid's pairs", "crafting poisons", "scoring a pool"
EXTRACTION, CELLS = "extracting features", "a sweep's cells"
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


@dataclass(frozen=True)
class Series:
    """things: what is counted. sizes: how many. seconds: median of some turns, a size. gflop: of one thing, where
    operations take the time; 0 where not."""

    name: str
    things: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    gflop: float = 0.0


@dataclass(frozen=True)
class Line:
    """seconds = start + slope n. share: of the variance that the line explains, R^2."""

    slope: float
    start: float
    share: float

    def at(self, n: float) -> float:
        """Seconds of n things."""
        return self.start + self.slope * n


Grew = Callable[[Series], None]  # what the fixture of that name is


def fit(x: Sequence[float], y: Sequence[float]) -> Line:
    """Least squares."""
    mean_x, mean_y = fmean(x), fmean(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    line = Line(slope, mean_y - slope * mean_x, 1.0)
    left = sum((b - line.at(a)) ** 2 for a, b in zip(x, y, strict=True))
    total = sum((b - mean_y) ** 2 for b in y)
    return Line(line.slope, line.start, 1.0 - left / total if total else 1.0)


def line_of(series: Series) -> Line:
    """The line through its points."""
    return fit(series.sizes, series.seconds)


def grown(name: str, things: str, run: Callable[[int], object], sizes: Sequence[int], gflop: float = 0.0) -> Series:
    """Points of a growth: sizes take turns, after the smallest has been run once."""
    run(min(sizes))
    taken = taking_turns({n: lambda n=n: run(n) for n in sizes}, TURNS, first=False)  # type: ignore[misc]
    return Series(name, things, tuple(sizes), tuple(taken[n] for n in sizes), gflop)


def passes(steps: int) -> int:
    """Forward passes that crafting a poison takes: a gradient is two; after the last step features are asked for alone;
    and features of its base three times and of itself once."""
    return 2 * steps + 5


def small(seconds: float) -> str:
    """A short time in its unit: 1.4 µs."""
    size, unit = next(((s, u) for s, u in UNITS if abs(seconds) >= s), UNITS[-1])
    return f"{number(seconds / size)} {unit}"


def equation(line: Line) -> str:
    """seconds = 0.5 s + 20 ms a thing."""
    return f"{small(line.start)} + {small(line.slope)} · n"
