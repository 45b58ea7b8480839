"""ProbCover: labels the items whose neighbourhoods cover most of the pool, so that a crowd at one point gets one label.

Items within a radius d of each other cover each other. Starting from what the labelled items cover, each query takes

    argmax_i |{j not covered: |z_i - z_j| <= d}|,

and what it covers is covered from then on: greedy maximum coverage. Images that collide at one point of feature space
cover each other, and one label answers for all of them. Where nothing is left to cover, items are drawn at random.

Deviations: the paper chooses d by the purity of clusters, here it is a quantile of the distances between pool items
(`near`); and features are not brought to unit length, which would tear a collision at the zero vector apart. An
adaptive attack spreads its poisons over many points, each at the centre of a crowd of clean images.

Reference: Yehuda, Dekel, Hacohen, Weinshall, "Active Learning Through a Covering Lens", NeurIPS 2022, arXiv:2205.11320.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Gt, Lt
from jaxtyping import Bool, Float, Int

from molebench.cards import defense
from molebench.hooks import View
from molebench.types import Array

BLOCK = 1_000  # rows at a time: memory follows it


@defense(
    paper="Yehuda et al., NeurIPS 2022, arXiv:2205.11320",
    scenarios=("active",),
    cost="n x n distances and as many bits a query",
)
@dataclass(frozen=True)
class ProbCover:
    """near: share of the pairs of pool items that are near enough to cover each other."""

    near: Annotated[float, Gt(0), Lt(1)] = 0.05

    def select(self, view: View, rng: np.random.Generator) -> Array:
        """`count` items that cover most of what is not covered yet."""
        z = view.z.astype(np.float64)
        known = z[:0] if view.labelled_z is None else view.labelled_z.astype(np.float64)
        d = radius(z, self.near, rng)
        return greedy(within(z, z, d), within(known, z, d).any(axis=0), view.count, rng)


def radius(z: Float[Array, "n d"], near: float, rng: np.random.Generator) -> float:
    """The quantile of squared distances, of at most BLOCK items."""
    some = z[rng.permutation(len(z))[:BLOCK]]
    distances = squared(some, some)[np.triu_indices(len(some), k=1)]
    return float(np.quantile(distances, near)) if len(distances) else 0.0


def greedy(
    covers: Bool[Array, "n n"], covered: Bool[Array, " n"], count: int, rng: np.random.Generator
) -> Int[Array, " m"]:
    """Each the item that covers most of the rest; where none covers any, at random."""
    chosen, free = np.empty(count, dtype=np.int64), np.ones(len(covers), dtype=bool)
    gain = covers[:, ~covered].sum(axis=1)
    for turn in range(count):
        best = int(np.where(free, gain, -1).argmax())
        chosen[turn] = best if gain[best] > 0 and free[best] else rng.choice(np.flatnonzero(free))
        free[chosen[turn]] = False
        newly = covers[chosen[turn]] & ~covered
        covered = covered | newly
        gain = gain - covers[:, newly].sum(axis=1)
    return chosen


def within(a: Float[Array, "m d"], b: Float[Array, "n d"], d: float) -> Bool[Array, "m n"]:
    """Which pairs are no farther apart than the root of d."""
    rows = [squared(a[start : start + BLOCK], b) <= d for start in range(0, len(a), BLOCK)]
    return np.concatenate([np.zeros((0, len(b)), dtype=bool), *rows])


def squared(a: Float[Array, "m d"], b: Float[Array, "n d"]) -> Float[Array, "m n"]:
    """Squared distances; never below zero."""
    return np.maximum(np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T, 0.0)
