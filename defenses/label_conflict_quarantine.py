"""Label conflict quarantine: items at one point of feature space with different labels are not trained on.

A clean-label collision must put images of many classes at one point, and the oracle labels them truthfully: the
conflict gives them away. With m the median distance between labelled items, i is quarantined when a labelled j of
another class has |z_i - z_j| <= radius * m.
A class that would lose everything keeps its items: no defense may unlearn a class.

Reference: molebench; a special case of Peri et al., arXiv:1909.13374, for collisions.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from molebench.cards import Positive, defense
from molebench.filtering import at_peace
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
        return at_peace(self.suspicion(view, rng) >= -self.radius, view.labels)

    def suspicion(self, view: View, rng: np.random.Generator) -> Array:
        """Minus the distance to the nearest item of another class, in median distances."""
        del rng
        return -strangers(view.z, view.labels)


def strangers(z: Float[Array, "n d"], y: Int[Array, " n"]) -> Float[Array, " n"]:
    """The distance of each item to the nearest one of another class, as a share of the median distance."""
    z = z.astype(np.float64)
    squared = np.square(z).sum(axis=1)
    distance = np.sqrt(np.maximum(squared[:, None] + squared[None, :] - 2 * z @ z.T, 0.0))
    apart = distance[~np.eye(len(y), dtype=bool)]
    typical = max(float(np.median(apart)), np.finfo(np.float64).tiny) if len(y) > 1 else 1.0
    other = y[:, None] != y[None, :]
    return np.where(other, distance, distance.max(initial=0.0) + typical).min(axis=1) / typical
