"""Neighbour head: an item is of the class of its nearest labelled neighbours, or of the nearest trimmed class mean.

In place of the dense head, on features z (cosine: scaled to length 1 first),
    nn:    P(c | x) = sum over the k nearest labelled j of w_j [y_j = c] / sum w_j,  w_j = 1 / (h + |z - z_j|) or 1,
    mean:  P(c | x) = softmax_c(-|z - m_c|^2 / (heat T)),  T = the median of |m_c - m_c'|^2,
with h the median distance to a neighbour, so that no item weighs without limit, and m_c the mean of class c without
the `trim` smallest and `trim` largest shares of each coordinate. P is mixed with the uniform: P <- (1 - s) P + s / k,
so that a query's entropy stays finite for classes not met yet.

Expected: a collision speaks for the items around it only, and those of few poisons move no mean (a class of which more
than `trim` is poison moves as they like, and trimming costs where features are sparse). The zero vector is near
everything by distance and has no direction to speak of: cosine is the default. On photo patches, EfficientNet-Lite0,
accuracy with 120 clean labels / with 50 collisions at zero besides: dense head 0.65 / 0.66; nn 0.62 / 0.58 (by
distance 0.52 / 0.51), mean 0.59 / 0.58. With 20 clean labels and 100 collisions no head helps: 0.26, 0.21, 0.12.
Adaptive attack: collide where test items are (a clean neighbour's features), or outnumber the class.

Reference: Peri et al., "Deep k-NN Defense against Clean-label Data Poisoning Attacks", arXiv:1909.13374 (there a
filter); Papernot, McDaniel, "Deep k-Nearest Neighbors", 2018, arXiv:1803.04765; class means as in iCaRL: Rebuffi et
al., CVPR 2017, arXiv:1611.07725. The trimming and the weights are ours.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Lt
from jaxtyping import Float, Int

from molebench.cards import Count, Positive, Share, defense
from molebench.errors import MolebenchError
from molebench.hooks import View
from molebench.types import Array


@defense(
    paper="molebench; after Peri et al., arXiv:1909.13374",
    scenarios=("active",),
    cost="0.3 s a training on one core, of 6 000 items and 520 labels",
)
@dataclass(frozen=True)
class KnnHead:
    """head: nearest neighbours, or nearest class mean. neighbours: how many vote; all where fewer are labelled.
    weights: a neighbour's by its distance, or one each. metric: cosine, or the distance itself. trim: share of each
    class that is cut off at either end of every coordinate of its mean. heat: softmax temperature of the means.
    smoothing: share of the uniform in every answer.
    """

    head: Literal["nn", "mean"] = "nn"
    neighbours: Count = 3
    weights: Literal["distance", "plain"] = "distance"
    metric: Literal["cosine", "l2"] = "cosine"
    trim: Annotated[float, Ge(0), Lt(0.5)] = 0.1
    heat: Positive = 0.25
    smoothing: Share = 0.05

    def fit(self, view: View, rng: np.random.Generator) -> Array:
        """P(y | x) of the view's items."""
        from sklearn.preprocessing import normalize

        del rng
        if view.labelled_z is None or view.labelled_y is None:
            raise MolebenchError("defense knn_head needs labelled items with features; this moment shows none")
        z, own, y = view.z, view.labelled_z, view.labelled_y
        if self.metric == "cosine":
            z, own = normalize(z), normalize(own)  # of zeros it makes zeros
        if self.head == "nn":
            p = voted(z, own, y, view.k, self.neighbours, self.weights == "distance")
        else:
            p = nearest(z, trimmed(own, y, view.k, self.trim), self.heat)
        return (1 - self.smoothing) * p + self.smoothing / view.k


def voted(
    z: Float[Array, "n d"], own: Float[Array, "l d"], y: Int[Array, " l"], k: int, neighbours: int, weighted: bool
) -> Float[Array, "n k"]:
    """The share of each class among the nearest labelled items."""
    from sklearn.neighbors import NearestNeighbors

    finder = NearestNeighbors(n_neighbors=min(neighbours, len(y)), algorithm="brute").fit(own)
    distance, index = finder.kneighbors(z)
    w = 1.0 / (bounded(distance) + distance) if weighted else np.ones_like(distance)
    share = np.zeros((len(z), k))
    np.add.at(share, (np.arange(len(z))[:, None], y[index]), w)
    return share / w.sum(axis=1, keepdims=True)


def bounded(distance: Float[Array, "n m"]) -> float:
    """h: the median distance to a neighbour; 1 where most lie on top of one another."""
    return float(np.median(distance)) or 1.0


def trimmed(z: Float[Array, "n d"], y: Int[Array, " n"], k: int, trim: float) -> Float[Array, "k d"]:
    """The trimmed mean of each class; NaN where a class has no item."""
    from scipy.stats import trim_mean

    means = [trim_mean(z[y == c], trim, axis=0) if (y == c).any() else np.full(z.shape[1], np.nan) for c in range(k)]
    return np.stack(means)


def nearest(z: Float[Array, "n d"], means: Float[Array, "k d"], heat: float) -> Float[Array, "n k"]:
    """The softmax over squared distances to the means; 0 for a class without one."""
    from scipy.spatial.distance import pdist
    from scipy.special import softmax
    from sklearn.metrics.pairwise import euclidean_distances

    there = np.flatnonzero(~np.isnan(means).any(axis=1))
    typical = float(np.median(pdist(means[there], "sqeuclidean"))) if len(there) > 1 else 1.0
    p = np.zeros((len(z), len(means)))
    p[:, there] = softmax(-euclidean_distances(z, means[there], squared=True) / (heat * (typical or 1.0)), axis=1)
    return p
