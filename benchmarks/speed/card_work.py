"""What is timed on a graphics processor. Each piece is told where to compute and how much, so that it can be tried on
the processor at a small size; a card is waited for before and after.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.speed.capability import best, gflop
from benchmarks.speed.grid_work import SEED, Work
from benchmarks.speed.loops import features, loop_of
from benchmarks.speed.networks import Rough, ours, stored
from molebench.collision import Extractor, at_once, extracted
from molebench.descent import log_gradient
from molebench.scenarios.query_loop import Loop
from molebench.scenarios.together import Together
from molebench.scenarios.trained import after
from molebench.types import IMAGE, Array, Samples
from molebench.updates import Update, order_of

Kind = Literal["float32", "TF32", "bfloat16"]
KINDS: tuple[Kind, ...] = ("float32", "TF32", "bfloat16")
SIDE, ROUNDS = 8192, 5


def settled(device: str) -> None:
    """Waits until all that was asked for is done."""
    if device == "cuda":
        torch.cuda.synchronize()


def least(run: Callable[[], object], device: str, rounds: int = ROUNDS) -> float:
    """The least seconds of some rounds."""

    def whole() -> None:
        run()
        settled(device)

    settled(device)
    return best(whole, rounds)


@contextmanager
def products(kind: Kind) -> Iterator[None]:
    """float32's matrix products as they are written, or with 13 bits less."""
    there: Any = torch.backends.cuda.matmul
    before, there.allow_tf32 = there.allow_tf32, kind == "TF32"
    try:
        yield
    finally:
        there.allow_tf32 = before


def matrix_peak(device: str, kind: Kind, side: int = SIDE) -> float:
    """TFLOP/s of a square matrix product."""
    a, b, out = torch.ones(
        3, side, side, device=device, dtype=torch.bfloat16 if kind == "bfloat16" else torch.float32
    ).unbind()
    with products(kind):
        return 2e-12 * side**3 / least(lambda: torch.mm(a, b, out=out), device)


def extractor(name: str, device: str, kind: Kind) -> Extractor:
    """What a descent asks, on a device."""
    there = copy.deepcopy(ours(name)).to(device)
    return Rough(there) if kind == "bfloat16" else there


def stepping(name: str, device: str, kind: Kind, side: int, n: int | None = None) -> tuple[float, float]:
    """Samples a second of one gradient of log J, and TFLOP/s: of an input it takes what the way there does."""
    f = extractor(name, device, kind)
    n = n or at_once(f, (side, side, 3))
    x: Tensor = torch.from_numpy(stored(n, side)).to(device).float()
    still, mu = torch.zeros_like(x), torch.zeros(1, device=device)
    seconds = least(lambda: log_gradient(f, x, still, mu, 1e-6), device)
    return n / seconds, 2e-3 * gflop(cast(nn.Module, f), x[:8]) * n / seconds


def asking(device: str, pool: int, test: int, queries: int) -> Loop:
    """The active loop, ready to be played."""
    there = [replace(features(n, name), device=device) for n, name in ((pool, "pool"), (test, "test"))]
    return loop_of(Loop, there[0], there[1], queries)


def extracting(device: str, n: int) -> Array:
    """Features of n images of 32 px by ResNet-50."""
    return extracted(copy.deepcopy(ours("resnet50")).to(device), stored(n, 32), IMAGE)


def updates_of(given: Work, pairs: int) -> Sequence[Update]:
    """Updates of one size, as of a grid's pairs."""
    rng, n = np.random.default_rng(SEED), len(given.update)
    chosen = [rng.choice(n, n * 9 // 10, replace=False) for _ in range(pairs)]
    return [Update(index, np.zeros(len(index), bool)) for index in chosen]


def one_by_one(given: Work, updates: Sequence[Update]) -> list[Array]:
    """A well-written loop: all that a pair needs is where the network is, batch norms are folded to be asked."""
    return [after(given.victim, given.update[u.index], given.images, SEED, order_of(u), "float32") for u in updates]


def together(given: Work, updates: Sequence[Update]) -> list[Array]:
    """What the offline scenario does on a card."""
    pool: Samples = given.update
    found = Together(given.victim, pool, given.images, updates, SEED)
    return [found.predicted(i) for i in range(len(updates))]
