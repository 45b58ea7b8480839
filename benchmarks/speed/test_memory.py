"""The most memory that each job holds, in a fresh process of its own, beside what PyTorch alone takes.

    make bench

What must hold: a pool of 100 000 x 2048 within 4 GB, and crafting bounded by the batch, not by the number of poisons.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.speed import jobs
from benchmarks.speed.apart import Apart, apart
from benchmarks.speed.figures import Figure, State
from benchmarks.speed.turns import once

AREA = "peak memory"
GB_4 = 4e9 / 2**20  # MiB
SIDE = 96
FEWER, MORE = 150, 500  # poisons
SPARE = 64  # MiB: of what the allocator keeps
JOBS: dict[str, tuple[Callable[..., object], tuple[object, ...], float | None]] = {
    "PyTorch imported, nothing done": (jobs.nothing, (), None),
    "mole grid, 3 pairs of 1 000 + 10 000 images (ResNet-18, 28 px)": (jobs.grid, (3,), None),
    "active loop, pool 40 000 x 2048": (jobs.active_loop, (40_000,), None),
    "active loop, pool 100 000 x 2048": (jobs.active_loop, (100_000,), GB_4),
    "extraction, 2 000 images of 32 px (ResNet-50)": (jobs.extracting, ("resnet50", 32, 2_000), None),
    "extraction, 500 images of 96 px (ResNet-50)": (jobs.extracting, ("resnet50", 96, 500), None),
}


@pytest.mark.benchmark(group="peak memory")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", JOBS)
def test_a_job(benchmark: BenchmarkFixture, state: State, name: str) -> None:
    job, given, most = JOBS[name]
    found: Apart = once(benchmark, lambda: apart(job, *given))
    state(Figure(AREA, name, found.mib, "MiB", most=most))
    assert most is None or found.mib <= most


@pytest.mark.benchmark(group="peak memory")
@pytest.mark.timeout(1800)
def test_a_continual_course(benchmark: BenchmarkFixture, state: State, tmp_path: Path) -> None:
    found: Apart = once(benchmark, lambda: apart(jobs.course, tmp_path))
    state(Figure(AREA, "continual course, five tasks of 500 images (LwF, ResNet-32, 28 px)", found.mib, "MiB"))


@pytest.mark.benchmark(group="peak memory")
@pytest.mark.timeout(1800)
def test_a_board(benchmark: BenchmarkFixture, state: State, tmp_path: Path) -> None:
    apart(jobs.written, tmp_path, 1_000)
    found: Apart = once(benchmark, lambda: apart(jobs.board, tmp_path, 1_000))
    state(Figure(AREA, "board of 1 000 records, PyTorch imported for the measure's sake", found.mib, "MiB"))


@pytest.mark.benchmark(group="peak memory")
@pytest.mark.timeout(1800)
def test_crafting_follows_the_batch(benchmark: BenchmarkFixture, state: State) -> None:
    where = ("efficientnet_lite0", SIDE)
    bases = apart(jobs.extracting, *where, MORE)
    found: dict[int, Apart] = once(benchmark, lambda: {n: apart(jobs.crafting, *where, n) for n in (FEWER, MORE)})
    state(Figure(AREA, f"features of {MORE} images of {SIDE} px (EfficientNet-Lite0)", bases.mib, "MiB"))
    for n, each in found.items():
        state(Figure(AREA, f"crafting {n} poisons of {SIDE} px, those included", each.mib, "MiB"))
    more, inputs = found[MORE].mib - found[FEWER].mib, (MORE - FEWER) * SIDE * SIDE * 3 / 2**20
    most = 4 * inputs + SPARE  # inputs, poisons and passing copies
    state(Figure(AREA, f"{MORE} poisons beyond {FEWER}: inputs and results", more, "MiB", most=most))
    assert more <= most
    assert found[MORE].value <= 1.3 * MORE / FEWER * found[FEWER].value
