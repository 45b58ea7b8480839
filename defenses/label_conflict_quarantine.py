"""Label conflict quarantine: items at one point of feature space with different labels are not trained on.

A clean-label collision must put images of many classes at one point, and the oracle labels them truthfully: the
conflict gives them away. With m the median distance between labelled items, i is quarantined when a labelled j of
another class has |z_i - z_j| <= radius * m.
A class that would lose everything keeps its items: no defense may unlearn a class.

Reference: molebench; a special case of Peri et al., arXiv:1909.13374, for collisions.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from molebench.cards import Positive, defense
from molebench.hooks import View
from molebench.types import Array


@defense(
    paper="molebench; after Peri et al., arXiv:1909.13374", scenarios=("active",), cost="l x l distances a training"
)
@dataclass(frozen=True)
class LabelConflictQuarantine:
    """radius: size of a point, as a share of the median distance between labelled items."""

    radius: Positive = 0.25

    def filter_train(self, view: View, rng: np.random.Generator) -> Array:
        """Keeps the labelled items that no other class stands on top of."""
        del rng
        if view.y is None:
            return np.ones(len(view.x), dtype=bool)
        return at_peace(view.z, view.y, self.radius)


def at_peace(z: Float[Array, "n d"], y: Int[Array, " n"], radius: float) -> Bool[Array, " n"]:
    """True where no item of another class is nearer than `radius` times the median distance between items."""
    z = z.astype(np.float64)
    squared = np.square(z).sum(axis=1)
    distance = np.sqrt(np.maximum(squared[:, None] + squared[None, :] - 2 * z @ z.T, 0.0))
    typical = float(np.median(distance[~np.eye(len(y), dtype=bool)])) if len(y) > 1 else 0.0
    conflict = ((distance <= radius * typical) & (y[:, None] != y[None, :])).any(axis=1)
    emptied = [c for c in np.unique(y) if conflict[y == c].all()]
    return ~conflict | np.isin(y, emptied)
