"""What a sweep costs beyond its cells: throughput of two workers beside one's, overhead of a cell, plans of thousands.

Null plug-ins (tests/null_plugins), in processes of their own: what is measured is what a user waits for. Ratios and
slopes of one run, since machines differ; the figures in seconds are shown, not held.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.null_sweeps import molebench

FEW, MANY = 40, 240  # cells, whose difference in time is that of the cells alone
OVERHEAD = 0.030  # seconds a cell
CELLS = 12  # of a second of arithmetic each


def swept(home: Path, seeds: int, workers: int, victim: dict[str, Any] | None = None) -> float:
    """Seconds of a sweep from nothing."""
    home.mkdir(parents=True)
    file = home / "sweep.yaml"
    content = {"attack": "null_attack", "victim": {"null_victim": victim or {}}, "seed": list(range(seeds))}
    file.write_text(json.dumps(content), "utf-8")
    start = time.perf_counter()
    words = ("sweep", str(file), "--workers", str(workers), "--no-plots", "--progress", "none")
    code, _, err = molebench(home, *words)
    assert code == 0, err
    return time.perf_counter() - start


@pytest.mark.benchmark(group="a sweep of cells of one thread, one worker and two")
@pytest.mark.timeout(600)
def test_two_workers_do_nearly_twice_as_much(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    victim = {"seconds": 1.0, "works": True}

    def run() -> float:
        turns = [[swept(tmp_path / f"{i}-{n}", CELLS, n, victim) for n in (1, 2)] for i in range(2)]
        return min(one for one, _ in turns) / min(two for _, two in turns)

    ratio = benchmark.pedantic(run, rounds=1, iterations=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info["ratio"] = ratio
    sys.stdout.write(f"\ntwo workers: {ratio:.2f} times one worker's throughput, starting up included\n")
    assert ratio >= 1.7


@pytest.mark.benchmark(group="a sweep of cells that do nothing")
@pytest.mark.timeout(600)
def test_a_cell_costs_little_beyond_itself(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    def run() -> float:
        return (swept(tmp_path / "many", MANY, 1) - swept(tmp_path / "few", FEW, 1)) / (MANY - FEW)

    overhead = benchmark.pedantic(run, rounds=1, iterations=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info["seconds_a_cell"] = overhead
    sys.stdout.write(f"\noverhead: {1000 * overhead:.1f} ms a cell\n")
    assert overhead <= OVERHEAD
