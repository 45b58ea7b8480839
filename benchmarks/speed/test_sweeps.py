"""What a sweep costs beyond its cells: throughput of two workers beside one's, overhead of a cell, plans of thousands.

Null plug-ins (tests/null_plugins), in processes of their own: what is measured is what a user waits for. Ratios and
slopes of one run, since machines differ; the figures in seconds are shown, not held.
"""

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.speed.figures import Figure, State
from benchmarks.speed.null_work import swept
from benchmarks.speed.turns import once

FEW, MANY = 40, 240  # cells, whose difference in time is that of the cells alone
OVERHEAD = 0.030  # seconds a cell
CELLS = 12  # of a second of arithmetic each


@pytest.mark.benchmark(group="a sweep of cells of one thread, one worker and two")
@pytest.mark.timeout(600)
def test_two_workers_do_nearly_twice_as_much(benchmark: BenchmarkFixture, state: State, tmp_path: Path) -> None:
    victim = {"seconds": 1.0, "works": True}

    def run() -> float:
        turns = [[swept(tmp_path / f"{i}-{n}", CELLS, n, victim) for n in (1, 2)] for i in range(2)]
        return min(one for one, _ in turns) / min(two for _, two in turns)

    ratio = once(benchmark, run)
    state(Figure("sweeps", "two workers' throughput / one's, starting up included", ratio, "times", least=1.7))
    assert ratio >= 1.7


@pytest.mark.benchmark(group="a sweep of cells that do nothing")
@pytest.mark.timeout(600)
def test_a_cell_costs_little_beyond_itself(benchmark: BenchmarkFixture, state: State, tmp_path: Path) -> None:
    def run() -> float:
        return (swept(tmp_path / "many", MANY, 1) - swept(tmp_path / "few", FEW, 1)) / (MANY - FEW)

    overhead = once(benchmark, run)
    state(Figure("sweeps", "a cell beyond itself", 1000 * overhead, "ms", most=1000 * OVERHEAD))
    assert overhead <= OVERHEAD
