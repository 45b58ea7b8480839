"""Time against pairs, poisons, pool and cells: sizes take turns, medians, and the line through them.

    make bench

What must hold: the line explains 98 % of the variance. docs/performance.md says what
the lines come to at a larger scale.
"""

from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.speed import growth
from benchmarks.speed.capability import gflop
from benchmarks.speed.figures import Figure, State
from benchmarks.speed.grid_work import FEW, plain_network, played, work
from benchmarks.speed.growth import Grew, Series, grown, line_of, passes
from benchmarks.speed.jobs import STEPS, crafting, extracting
from benchmarks.speed.loops import POOL, features, loop_of
from benchmarks.speed.networks import published, stored
from benchmarks.speed.null_work import swept
from benchmarks.speed.turns import once
from molebench.scenarios.query_loop import Loop

AREA, STRAIGHT = "growth", 0.98  # R^2
PAIRS: Sequence[int] = (3, 6, 12, 24)
POISONS: Sequence[int] = (50, 100, 200, 400)
IMAGES: Sequence[int] = (250, 500, 1_000, 2_000)
SCORED: Sequence[int] = (5_000, 10_000, 20_000, 40_000)
CELLS: Sequence[int] = (20, 60, 120, 240)
SIDE = 32


def stated(series: Series, state: State, grew: Grew) -> None:
    """Its points, and how straight they lie."""
    line = line_of(series)
    grew(series)
    state(Figure(AREA, f"{series.name}: R²", line.share, "", least=STRAIGHT))
    state(Figure(AREA, f"{series.name}: each of the {series.things}", 1000 * line.slope, "ms"))
    assert line.share >= STRAIGHT


@pytest.mark.benchmark(group="growth")
@pytest.mark.timeout(1800)
def test_with_the_pairs(benchmark: BenchmarkFixture, state: State, grew: Grew) -> None:
    judged = 5 * FEW
    forward = gflop(plain_network().eval(), work().images[:1])
    run = partial(played, images=judged, each=FEW)
    words = f"pairs ({FEW} images trained on, {judged} judged; ResNet-18, 28 px)"
    a_pair = forward * (3 * FEW + judged)
    stated(once(benchmark, lambda: grown(growth.PAIRS, words, run, PAIRS, a_pair)), state, grew)


@pytest.mark.benchmark(group="growth")
@pytest.mark.timeout(1800)
def test_with_the_poisons(benchmark: BenchmarkFixture, state: State, grew: Grew) -> None:
    words, each = f"poisons ({STEPS} steps; ResNet-50, {SIDE} px)", forward() * passes(STEPS)
    run = partial(crafting, "resnet50", SIDE)
    stated(once(benchmark, lambda: grown(growth.POISONS, words, run, POISONS, each)), state, grew)


@pytest.mark.benchmark(group="growth")
@pytest.mark.timeout(1800)
def test_with_the_images(benchmark: BenchmarkFixture, state: State, grew: Grew) -> None:
    words, run = f"images (ResNet-50, {SIDE} px)", partial(extracting, "resnet50", SIDE)
    stated(once(benchmark, lambda: grown(growth.EXTRACTION, words, run, IMAGES, forward())), state, grew)


@pytest.mark.benchmark(group="growth")
@pytest.mark.timeout(1800)
def test_with_the_pool(benchmark: BenchmarkFixture, state: State, grew: Grew) -> None:
    pool = features(POOL, "pool")
    head = loop_of(Loop, pool, pool).plain(np.arange(100)).head
    words = "items (2048 features, ten classes)"

    def run() -> Series:
        return grown(growth.SCORING, words, lambda n: head.doubts(pool.features[:n]), SCORED)

    stated(once(benchmark, run), state, grew)


@pytest.mark.benchmark(group="growth")
@pytest.mark.timeout(1800)
def test_with_the_cells(benchmark: BenchmarkFixture, state: State, grew: Grew, tmp_path: Path) -> None:
    turns = count()

    def run(n: int) -> None:
        swept(tmp_path / str(next(turns)), n, 1)

    words = "cells that do nothing, one worker"
    stated(once(benchmark, lambda: grown(growth.CELLS, words, run, CELLS)), state, grew)


def forward() -> float:
    """GFLOP of an image through ResNet-50."""
    return gflop(published("resnet50"), torch.from_numpy(stored(1, SIDE)).permute(0, 3, 1, 2).float())
