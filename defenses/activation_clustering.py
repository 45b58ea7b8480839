"""Activation clustering: of a class whose features fall into two clusters, the smaller one goes.

The features of each class are brought to a few dimensions and split by 2-means. The smaller cluster goes where it holds
less than `share` of the class and the split is real: the mean over items of (b - a) / max(a, b), where a is the mean
distance within the own cluster and b that to the other one, is at least `silhouette`. Components and centres come from
all that is labelled of a class; an update's items go to the nearer centre.

The paper looks at relative size and silhouette apart; share=0.5 or silhouette=-1 leaves one of the two alone. It
reduces by independent component analysis ('ica'), which is a rotation of the whitened principal components used here
for it; 2-means knows no rotation, so the clusters are the same. Whitening gives noise as much weight as what tells
clusters apart: measured on a residual network's features of digits, with a tenth of each class from another one, the
smaller cluster holds these in 5 of 10 classes; in all ten with plain principal components ('pca', the default). The
silhouette of whole classes was 0.16-0.27 there (pca) and 0.08-0.16 (ica): the bound goes with it. The paper's
exclusionary reclassification (train without a cluster, see what the rest makes of it) is left out: a training a class.

Made for backdoors: poisons of one class whose features lie apart. Each class's part of a collision lies apart too,
where it is large enough to make a cluster; moles are the edge of one cloud, not a second one. Adaptive attack: poisons
in the class's own cloud, or more than half of it.

Reference: Chen, Carvalho, Baracaldo, Ludwig, Edwards, Lee, Molloy, Srivastava, "Detecting Backdoor Attacks on Deep
Neural Networks by Activation Clustering", SafeAI at AAAI 2019, arXiv:1811.03728.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Float, Int

from molebench.cards import Count, defense
from molebench.hooks import View
from molebench.types import Array

SAMPLE = 2000  # items of a class that the silhouette is taken over, for it compares all with all
NO_CLUSTER = -3.0  # below every score


@defense(
    paper="Chen et al., SafeAI at AAAI 2019, arXiv:1811.03728",
    scenarios=("active", "offline", "continual"),
    cost="principal components, ten starts of 2-means and a silhouette, a class",
)
@dataclass(frozen=True)
class ActivationClustering:
    """share: of a class, below which its smaller cluster may go. silhouette: least one of a split that is believed.
    dims: that the features are brought to. reduce: principal components as they are, or of unit variance ('ica').
    """

    share: Annotated[float, Ge(0), Le(0.5)] = 0.35
    silhouette: Annotated[float, Ge(-1), Le(1)] = 0.3
    dims: Count = 10
    reduce: Literal["pca", "ica"] = "pca"

    def filter_train(self, view: View, rng: np.random.Generator) -> Array:
        """Keeps what lies in no small cluster of its own."""
        return self.suspicion(view, rng) <= 0

    def suspicion(self, view: View, rng: np.random.Generator) -> Array:
        """How much nearer an item is to its class's smaller cluster, -1 to 1; less 2 where its class is left whole."""
        y, labelled = view.labels, view.labelled_y
        score = np.full(len(y), NO_CLUSTER)
        for c in np.unique(y):
            mine = view.z[y == c]
            known = mine if view.labelled_z is None or labelled is None else view.labelled_z[labelled == c]
            known = known if len(known) else mine
            if len(known) > 2 and (known != known[0]).any():
                score[y == c] = self._nearer(mine, known, int(rng.integers(2**31)))
        return score

    def _nearer(self, z: Float[Array, "n d"], known: Float[Array, "m d"], seed: int) -> Float[Array, " n"]:
        """The score of items of one class."""
        reduced = reduction(known, self.dims, self.reduce == "ica", seed)
        w = reduced(known)
        split = clusters(w, seed)
        small = np.bincount(split, minlength=2).argmin()
        believed = (split == small).mean() < self.share and silhouette(w, split, seed) >= self.silhouette
        own, other = (centre_distance(reduced(z), w[split == c]) for c in (small, 1 - small))
        nearness = (other - own) / np.maximum(other + own, np.finfo(np.float64).tiny)
        return nearness if believed else nearness - 2


def reduction(known: Float[Array, "m d"], dims: int, whiten: bool, seed: int) -> Callable[[Array], Array]:
    """Brings features to the main components of the known ones, at most `dims`; of unit variance there where asked."""
    from sklearn.decomposition import PCA

    fitted = PCA(min(dims, len(known) - 1, known.shape[1]), random_state=seed).fit(known.astype(np.float64))
    variance = fitted.explained_variance_
    real = variance > 1e-6 * variance[0]  # what is left beyond the rank of the features is rounding
    scale = np.sqrt(variance[real]) if whiten else 1.0
    return lambda z: fitted.transform(z.astype(np.float64))[:, real] / scale


def clusters(w: Float[Array, "m d"], seed: int) -> Int[Array, " m"]:
    """Which of two clusters each row is in."""
    from sklearn.cluster import KMeans

    return KMeans(2, n_init=10, random_state=seed).fit(w).labels_.astype(np.int64)


def silhouette(w: Float[Array, "m d"], split: Int[Array, " m"], seed: int) -> float:
    """The mean silhouette, over a sample of a large class; -1 where the sample has one cluster."""
    from sklearn.metrics import silhouette_score

    some = np.random.default_rng(seed).permutation(len(w))[:SAMPLE]
    return float(silhouette_score(w[some], split[some])) if len(np.unique(split[some])) == 2 else -1.0


def centre_distance(w: Float[Array, "n d"], cluster: Float[Array, "m d"]) -> Float[Array, " n"]:
    """The distance of each row to the centre of a cluster."""
    return np.linalg.norm(w - cluster.mean(axis=0), axis=1)
