"""One pair of a mole grid: 1 000 images of one more epoch, 10 000 test images. Ours against a plain eager loop.

    make bench

Both do the same work in one process, in turns: ResNet-18, 28 px, from the same victim. What must hold of the results
(the same predictions where convolutions are folded) is asserted; what bfloat16 changes is shown. All 90 pairs are 90
times that.
"""

import copy
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.speed.figures import Figure, State
from benchmarks.speed.grid_work import BATCH, SEED, TEST, ours, plain, work
from benchmarks.speed.turns import once, taking_turns
from molebench.scenarios.trained import predictions, updated

AREA = "mole grid, a pair (ResNet-18, 28 px)"
ROUNDS = 5
ASKED = {"float32": 1.25, "bfloat16": 1.8}  # times a plain loop's speed


@pytest.mark.benchmark(group="one pair of the mole grid (ResNet-18, 28 px, 1 000 + 10 000 images), all players")
@pytest.mark.timeout(1800)
def test_one_pair(benchmark: BenchmarkFixture, state: State) -> None:
    work()
    exact, rough = partial(ours, "float32"), partial(ours, "bfloat16")
    players: dict[str, Callable[[], object]] = {"plain eager": plain, "float32": exact, "bfloat16": rough}
    seconds = once(benchmark, lambda: taking_turns(players, ROUNDS))
    state(Figure(AREA, "ours, float32", seconds["float32"], "s"))
    for how, least in ASKED.items():
        ratio = seconds["plain eager"] / seconds[how]
        state(Figure(AREA, f"a plain eager loop's time / ours, {how}", ratio, "times", least=least))
    total, worst = apart(exact(), rough())
    state(Figure(AREA, "bfloat16's accuracy apart from float32's", total, "points", most=0.1))
    state(Figure(AREA, "the same, of the class where it is most", worst, "points"))


def apart(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Points of accuracy between two predictions: over all items, and of the class where they are furthest apart."""
    y = work().y
    every = [np.ones(TEST, dtype=bool), *(y == c for c in np.unique(y))]
    points = [100 * float(abs((one == y)[m].mean() - (other == y)[m].mean())) for m in every]
    return points[0], max(points)


def test_folding_and_small_maps_leave_every_prediction_as_it_was() -> None:
    network = updated(work().victim, work().update, SEED, ())
    eager = copy.deepcopy(network).eval()
    with torch.inference_mode():
        expected = torch.cat([eager(b).argmax(dim=1) for b in torch.split(work().images, BATCH)]).numpy()
    assert (predictions(network, work().images, "float32") == expected).all()
