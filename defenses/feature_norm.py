"""Feature norm: screens out pool items whose features are unusually long or short.

A collision at the zero vector makes features an order of magnitude shorter than any clean image's. With
s_i = log |z_i|, an item is dropped when |s_i - median(s)| > limit * 1.4826 * MAD(s): a robust z-score, computed
over the unlabelled pool itself, without trusted data. A collision at the mean feature passes it by design.

Reference: the centroid and norm outlier baselines of Peri et al., "Deep k-NN Defense against Clean-label Data
Poisoning Attacks", arXiv:1909.13374.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from molebench.cards import Positive, defense
from molebench.hooks import View
from molebench.stats import robust_z
from molebench.types import Array


@defense(
    paper="norm outliers, a baseline of Peri et al., arXiv:1909.13374", scenarios=("active",), cost="one norm an item"
)
@dataclass(frozen=True)
class FeatureNorm:
    """limit: robust z-score of the log norm beyond which an item is dropped."""

    limit: Positive = 3.5

    def screen_pool(self, view: View, rng: np.random.Generator) -> Array:
        """Keeps the items of ordinary norm."""
        return self.suspicion(view, rng) <= self.limit

    def suspicion(self, view: View, rng: np.random.Generator) -> Array:
        """The robust z-score of each item's log norm."""
        del rng
        return deviation(view.z)


def deviation(z: Float[Array, "n d"]) -> Float[Array, " n"]:
    """How many robust standard deviations the log norm of each row is away from the median."""
    s = np.log(np.maximum(np.linalg.norm(z, axis=1), np.finfo(np.float32).tiny))
    return np.abs(robust_z(s))
