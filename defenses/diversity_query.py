"""Diversity query: labels items that are unlike each other, so that one point of feature space gets one label.

    coreset   the pool item farthest from all that is labelled or chosen, again and again: greedy k-centre,
              argmax_i min_j |z_i - z_j|
    badge     k-means++ on the gradients of the last layer, g_i = (p_i - e_argmax p_i) z_i': the longest first (the
              learner's doubt), then each drawn in proportion to its squared distance to the nearest one chosen

Expected: no collision gets more than a label or two, for identical features are at distance 0 once one of them is
chosen (measured: none of 200 labels, 198 without). The price differs: core-set asks for no doubt and likes outliers,
clean accuracy falls by 4 points; with BADGE it rises by 18 (photo patches, EfficientNet-Lite0, 200 labels of 2 400),
hence the default. An adaptive attack spreads its poisons over points far from each other, one for each label that is
to be wasted: clean images' features, perturbed.
Deviations: BADGE's z is projected to 128 random dimensions (Johnson and Lindenstrauss), which keeps distances between
gradients within 12 %, squared, and 5 000 gradients of 10 x 2 048 in memory; and scikit-activeml counts the origin
among the points chosen, so that what the learner is sure of is drawn less often than by the paper's own code.

Reference: Sener, Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018,
arXiv:1708.00489. Ash, Zhang, Krishnamurthy, Langford, Agarwal, "Deep Batch Active Learning by Diverse, Uncertain
Gradient Lower Bounds", ICLR 2020, arXiv:1906.03671; scikit-activeml's.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from molebench.cards import defense
from molebench.errors import MolebenchError
from molebench.heads import least_certain
from molebench.hooks import View
from molebench.types import Array

WIDTH = 128  # dimensions of z in BADGE's gradients


@defense(
    paper="Sener and Savarese, ICLR 2018, arXiv:1708.00489; Ash et al., ICLR 2020, arXiv:1906.03671",
    scenarios=("active",),
    cost="a pass over the pool's features a label (coreset), over its gradients (badge)",
)
@dataclass(frozen=True)
class DiversityQuery:
    """strategy: what diverse means, far from what is labelled (coreset) or of different gradients (badge)."""

    strategy: Literal["coreset", "badge"] = "badge"

    def select(self, view: View, rng: np.random.Generator) -> Array:
        """`count` candidates that are unlike each other."""
        if view.p is None or view.labelled_z is None:
            raise MolebenchError("defense diversity_query needs the model's beliefs and labelled items")
        if self.strategy == "coreset":
            return farthest(view.z, view.labelled_z, view.count)
        return disparate(view.z, np.array(view.p), view.count, rng)


def farthest(z: Float[Array, "n d"], labelled: Float[Array, "l d"], count: int) -> Int[Array, " m"]:
    """Greedy k-centre: each the row farthest from those labelled and those before it; ties keep the order given."""
    from sklearn.metrics import pairwise_distances_argmin_min

    nearest = np.square(pairwise_distances_argmin_min(z, labelled)[1])
    norm, chosen = np.square(z).sum(axis=1), np.empty(count, dtype=np.int64)
    for turn in range(count):
        chosen[turn] = i = int(nearest.argmax())
        nearest = np.minimum(nearest, norm + norm[i] - 2 * (z @ z[i]))
        nearest[chosen[: turn + 1]] = -np.inf  # its copies, at distance 0 but for rounding, come before it
    return chosen


def disparate(z: Float[Array, "n d"], p: Float[Array, "n k"], count: int, rng: np.random.Generator) -> Int[Array, " m"]:
    """BADGE's batch; where it draws a copy twice, the least certain of the others."""
    from skactiveml.pool import Badge
    from sklearn.random_projection import GaussianRandomProjection

    seeds = [int(s) for s in rng.integers(2**31, size=2)]
    if z.shape[1] > WIDTH:
        z = GaussianRandomProjection(WIDTH, random_state=seeds[0]).fit_transform(z)
    badge = Badge(random_state=seeds[1])
    drawn = badge.query(z, np.full(len(z), np.nan), believer(p), fit_clf=False, batch_size=count)
    return np.array(list(dict.fromkeys([*map(int, drawn), *least_certain(p, len(p)).tolist()]))[:count])


def believer(p: Float[Array, "n k"]) -> Any:
    """What scikit-activeml takes for a classifier: it believes p of the candidates."""
    from skactiveml.base import SkactivemlClassifier

    class Believer(SkactivemlClassifier):  # type: ignore[misc]
        """Knows nothing but p."""

        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Believer":
            return self

        def predict_proba(self, X: Any) -> Array:
            return p

    return Believer()
