"""Mahalanobis: drops items whose features are unusually far from what a Gaussian of each class explains.

With mu_c the mean of class c's labelled items and Sigma their shared covariance within classes,

    M(z) = min_c ((z - mu_c)' Sigma^-1 (z - mu_c))^(1/2),

or the same with c the item's own class where it has a label. It is dropped when M is more than `limit` robust standard
deviations (1.4826 MAD) above the median of the items judged. Labelled items are few and features many, so Sigma is
shrunk (Ledoit and Wolf), a I + b R'R / n with R the residuals of at most 500 labelled items: its inverse is exact in
the span of R and a multiple of I beside it, without a d x d matrix. It knows labelled items only: of a pool that holds
poisons, their own cluster would be a part of what is normal.

Expected: little, measured. A collision at zero or at the mean feature lies nearer to every class mean than clean items
do (AUROC 0.01 to 0.1 on photo patches: the wrong way round), and is not hidden at all; one at a far point (target=one)
is. Hard but correct images, moles among them, are far from their class's mean, but not far enough to stand out.
Adaptive attack: a collision at a class mean has M = 0. Deviations from the paper: the last layer's features only,
neither input noise nor weighted layers, and the shrinkage.

Reference: Lee, Lee, Lee, Shin, "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
Attacks", NeurIPS 2018, arXiv:1807.03888. Ledoit, Wolf, "A Well-Conditioned Estimator for Large-Dimensional Covariance
Matrices", Journal of Multivariate Analysis 88, 2004.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from molebench.cards import Positive, defense
from molebench.errors import MolebenchError
from molebench.filtering import at_peace
from molebench.hooks import View
from molebench.stats import robust_z
from molebench.types import Array

MOST = 500  # labelled items that the covariance is made of
LEAST = 1e-6  # shrinkage, and share of the largest variance that is still one


@defense(
    paper="Lee et al., NeurIPS 2018, arXiv:1807.03888",
    scenarios=("active", "offline", "continual"),
    cost="n x d x min(labelled, 500) a judgement: 0.5 s for 5 000 items of 2 048 features",
)
@dataclass(frozen=True)
class Mahalanobis:
    """limit: robust z-score of the distance beyond which an item is dropped."""

    limit: Positive = 3.5

    def screen_pool(self, view: View, rng: np.random.Generator) -> Array:
        """Keeps the candidates that some class explains."""
        return robust_z(self.suspicion(view, rng)) <= self.limit

    def filter_train(self, view: View, rng: np.random.Generator) -> Array:
        """Keeps the labelled items that their own class explains, and a class that would lose them all."""
        return at_peace(robust_z(self.suspicion(view, rng)) > self.limit, view.labels)

    def suspicion(self, view: View, rng: np.random.Generator) -> Array:
        """The Mahalanobis distance of each item."""
        if view.labelled_z is None or view.labelled_y is None:
            raise MolebenchError("defense mahalanobis needs labelled items")
        return distances(view.z, view.y, view.labelled_z, view.labelled_y, rng)


def distances(
    z: Float[Array, "n d"],
    y: Int[Array, " n"] | None,
    labelled_z: Float[Array, "l d"],
    labelled_y: Int[Array, " l"],
    rng: np.random.Generator,
) -> Float[Array, " n"]:
    """M of each item: to its own class's mean where there is one, to the nearest otherwise."""
    from sklearn.metrics import euclidean_distances

    classes, place = np.unique(labelled_y, return_inverse=True)
    mu = np.stack([labelled_z[labelled_y == c].mean(axis=0) for c in classes])
    some = rng.permutation(len(labelled_z))[:MOST]
    residuals = labelled_z[some] - mu[place[some]]
    both = whitened(np.concatenate([z, mu]), residuals)
    apart = euclidean_distances(both[: len(z)], both[len(z) :])
    if y is not None:
        known = np.isin(y, classes)
        own = np.searchsorted(classes, y[known])
        apart[known] = np.take_along_axis(apart[known], own[:, None], axis=1)
    return apart.min(axis=1).astype(np.float64)


def whitened(z: Float[Array, "n d"], residuals: Float[Array, "l d"]) -> Float[Array, "n d"]:
    """Sigma^(-1/2) z, with Sigma the shrunk covariance of the residuals; z itself where these are all zero."""
    from scipy.linalg import eigh
    from sklearn.covariance import ledoit_wolf_shrinkage

    if not residuals.any():
        return z
    n, d = residuals.shape
    r = residuals.astype(np.float64)
    b = max(float(ledoit_wolf_shrinkage(r, assume_centered=True)), LEAST)
    beside = b * float(np.square(r).sum()) / (n * d)
    variance, u = eigh(r @ r.T / n)
    found = variance > LEAST * variance[-1]
    axes = (u[:, found] / np.sqrt(n * variance[found])).T @ r
    stretch = 1 / np.sqrt((1 - b) * variance[found] + beside) - 1 / np.sqrt(beside)
    axes, stretch = axes.astype(np.float32), stretch.astype(np.float32)
    return z / np.float32(beside**0.5) + ((z @ axes.T) * stretch) @ axes
