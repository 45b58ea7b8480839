"""What the measured lines come to at ImageNet's scale and on a cluster, if they go on as lines.

Operations: seconds a GFLOP as measured with a network, times the GFLOP of ResNet-50 at 224 pixels. So a network that
fills the caches otherwise is taken to be as quick. Scoring: an item's seconds as measured (its features are read), and
the products of the classes beyond those of the benchmark at the speed of the machine's matrix product.

Cluster: cells are independent, a core each, and the head node spends on a cell at most what a cell costs beyond itself
here. So N cells of T seconds on C cores take start + max(N T / C, N overhead).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.speed import growth
from benchmarks.speed.figures import MACHINE, MATRIX, number
from benchmarks.speed.growth import Line, Series, line_of, passes
from benchmarks.speed.measured import Measured

IMAGES, CLASSES, JUDGED, WIDE = 1_281_167, 1_000, 50_000, 2_048  # ImageNet's, and ResNet-50's features
GFLOP = 8.2  # of ResNet-50 at 224 pixels: 4.1 thousand million multiply-adds
PAIRS, SAMPLE, UPDATE = CLASSES * (CLASSES - 1) // 2, 1_000, 1_000  # pairs of classes, some of them, images of each
QUERIES, POISONS, STEPS = 500, 500, 75
CLASSES_HERE = 10  # of the benchmark of scoring
NODES, CORES = 100, 2
CELLS, LENGTHS = 10_000, (1.0, 10.0, 60.0)  # of a sweep; seconds a cell
SPANS = ((31_557_600.0, "years"), (86_400.0, "days"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))


@dataclass(frozen=True)
class Work:
    """Seconds on one machine as here. spread: whether it is many cells, which a cluster shares."""

    what: str
    seconds: float
    spread: bool

    def on(self, nodes: int) -> float:
        """Seconds on so many machines."""
        return self.seconds / nodes if self.spread else self.seconds


@dataclass(frozen=True)
class Sweep:
    """cell: seconds of one. seconds: of all of them. busy: share of the cores' time that is spent in cells."""

    cell: float
    seconds: float
    busy: float


def a_gflop(series: Series) -> float:
    """Seconds."""
    return line_of(series).slope / series.gflop


def item(series: Series, gflops: float) -> float:
    """Seconds to score one item with all classes."""
    more = 2e-9 * WIDE * (CLASSES - CLASSES_HERE)
    return line_of(series).slope + more / gflops


def at_imagenet(measured: Measured) -> tuple[Work, ...]:
    """What each job would take on one machine."""
    lines = {each.name: each for each in measured.growth}
    pair = a_gflop(lines[growth.PAIRS]) * GFLOP * (3 * UPDATE + JUDGED)
    query = item(lines[growth.SCORING], measured.value(MACHINE, MATRIX)) * IMAGES
    poison = a_gflop(lines[growth.POISONS]) * GFLOP * passes(STEPS)
    features = a_gflop(lines[growth.EXTRACTION]) * GFLOP * IMAGES
    return (
        Work(f"all {number(PAIRS)} pairs of a mole grid", PAIRS * pair, True),
        Work(f"a sample of {number(SAMPLE)} pairs", SAMPLE * pair, True),
        Work(f"features of {number(IMAGES)} images", features, False),
        Work(f"scoring them for one query ({number(CLASSES)} classes)", query, False),
        Work(f"scoring them for {QUERIES} single queries", QUERIES * query, False),
        Work(f"{POISONS} poisons, {STEPS} steps", POISONS * poison, False),
    )


def on_cluster(line: Line, cell: float, cells: int = CELLS, cores: int = NODES * CORES) -> Sweep:
    """A sweep of cells of so many seconds, by the line of cells that do nothing."""
    seconds = line.start + max(cells * cell / cores, cells * line.slope)
    return Sweep(cell, seconds, cells * cell / cores / seconds)


def shortest(line: Line, cores: int = NODES * CORES) -> float:
    """Seconds of a cell below which one head keeps no so many cores busy."""
    return cores * line.slope


def sweeps(measured: Measured) -> Iterable[Sweep]:
    """Of short and of longer cells."""
    line = line_of(next(each for each in measured.growth if each.name == growth.CELLS))
    return [on_cluster(line, cell) for cell in LENGTHS]


def pool_gb() -> float:
    """Of all features in float32."""
    return 4e-9 * IMAGES * WIDE


def long(seconds: float) -> str:
    """A time in its unit: 3.1 days."""
    size, unit = next(((s, u) for s, u in SPANS if seconds >= s), SPANS[-1])
    return f"{number(seconds / size)} {unit}"
