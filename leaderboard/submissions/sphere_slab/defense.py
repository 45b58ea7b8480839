"""Sphere and slab: a labelled item is not trained on when it is far from its class, or far along the line to another.

With m_c the mean feature of class c over what is labelled, an item of class y has

    sphere_i = |z_i - m_y|,    slab_i = max over c != y of |(z_i - m_y)' (m_c - m_y)| / |m_c - m_y|,

and of each class goes the `share` with the largest sphere_i / median(sphere) + slab_i / median(slab): the medians are
over the class, so that both count alike. The paper defines the slab for two classes and cuts both at radii of its own;
one cut on their sum keeps the number of items lost the same. A class keeps one item at least.

A data-dependent defense: its means are of the data that may be poisoned, and it loses honest items of a clean set too.
Where a collision has taken most labels of a class its mean is the poisons', and what goes is honest: measured
(its claims), it makes a collision worse, and clean data too. An adaptive attack needs no more than that.

Reference: Steinhardt, Koh, Liang, "Certified Defenses for Data Poisoning Attacks", NeurIPS 2017, arXiv:1706.03691.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from molebench.cards import Share, defense
from molebench.hooks import View
from molebench.types import Array

LEAST = float(np.finfo(np.float64).tiny)


@defense(
    paper="Steinhardt, Koh and Liang, NeurIPS 2017, arXiv:1706.03691",
    scenarios=("active",),
    cost="a distance and a projection for each class and labelled item",
)
@dataclass(frozen=True)
class SphereSlab:
    """share: part of a class that is not trained on."""

    share: Share = 0.25

    def filter_train(self, view: View, rng: np.random.Generator) -> Array:
        """Keeps all but the `share` of each class that lies farthest out."""
        keep, s = np.ones(len(view.z), dtype=bool), self.suspicion(view, rng)
        for c in np.unique(view.labels):
            mine = np.flatnonzero(view.labels == c)
            keep[mine[np.argsort(-s[mine], kind="stable")[: int(self.share * len(mine))]]] = False
        return keep

    def suspicion(self, view: View, rng: np.random.Generator) -> Array:
        """How far out an item lies, in medians of its class."""
        del rng
        z, y = view.z.astype(np.float64), view.labels
        means = {int(c): z[y == c].mean(axis=0) for c in np.unique(y)}
        found = np.zeros(len(z))
        for c, mean in means.items():
            others = [other - mean for name, other in means.items() if name != c]
            found[y == c] = outlying(z[y == c] - mean, np.stack(others or [np.zeros_like(mean)]))
        return found


def outlying(away: Float[Array, "n d"], lines: Float[Array, "c d"]) -> Float[Array, " n"]:
    """Distance from the class's mean, and the longest way along a line to another's, each in medians."""
    sphere = np.linalg.norm(away, axis=1)
    slab = (np.abs(away @ lines.T) / np.maximum(np.linalg.norm(lines, axis=1), LEAST)).max(axis=1)
    return sphere / max(float(np.median(sphere)), LEAST) + slab / max(float(np.median(slab)), LEAST)
