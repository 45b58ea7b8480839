"""Deep k-NN: an item goes when most of its nearest labelled neighbours in feature space have another label.

With N_i the k nearest features of item i among all that is labelled (never i itself) and v_c = |{j in N_i: y_j = c}|,

    s_i = (max over c != y_i of v_c - v_{y_i}) / k,    i goes where s_i > 0:

the plurality of its neighbours is of another class; a tie keeps it. k is a share of the size of its own class, so that
small classes are not outvoted by numbers alone; the paper replicates their items instead, and sets k by the number of
poisons, which no defense knows. A class of which nothing would be left keeps its items.

Expect it to be strong where poisons lie among another class (a collision at a clean image's features), weaker where
poisons of all classes lie at one point, for each of them finds some of its own there, and to take moles in part: they
are honest boundary points, some of which have neighbours of the other class, and so do honest hard images. Adaptive
attack: poisons spread over several points, each with more neighbours of its own label than of any other.

Reference: Peri, Gupta, Huang, Fowl, Zhu, Feizi, Goldstein, Dickerson, "Deep k-NN Defense against Clean-label Data
Poisoning Attacks", ECCV workshops 2020, arXiv:1909.13374.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from molebench.cards import Positive, defense
from molebench.filtering import at_peace
from molebench.hooks import View
from molebench.types import Array, fingerprint


@defense(
    paper="Peri et al., ECCV workshops 2020, arXiv:1909.13374",
    scenarios=("active", "offline", "continual"),
    cost="distances of the items to all that is labelled, and a hash of each",
)
@dataclass(frozen=True)
class DeepKnn:
    """share: neighbours asked, as a share of the size of an item's own class, one at least."""

    share: Positive = 0.1

    def filter_train(self, view: View, rng: np.random.Generator) -> Array:
        """Keeps what its neighbours do not outvote."""
        n = len(view.x)
        suspect = self.suspicion(view, rng) > 0
        y = known(view)[1]
        return at_peace(np.concatenate([suspect, np.zeros(len(y) - n, dtype=bool)]), y)[:n]

    def suspicion(self, view: View, rng: np.random.Generator) -> Array:
        """By how much another class outvotes an item's own among its neighbours, as a share of these."""
        del rng
        z, y = known(view)
        sizes = np.bincount(y)
        k = np.clip(np.ceil(self.share * sizes[view.labels]).astype(np.int64), 1, max(len(y) - 1, 1))
        return outvoted(neighbours(z, len(view.x), int(k.max(initial=1))), y, k)


def known(view: View) -> tuple[Float[Array, "m d"], Int[Array, " m"]]:
    """Features and labels of the items in question, and behind them of whatever else is labelled."""
    if view.labelled_x is None or view.labelled_z is None or view.labelled_y is None:
        return view.z, view.labels
    other = strangers(view.labelled_x, view.x)
    return np.concatenate([view.z, view.labelled_z[other]]), np.concatenate([view.labels, view.labelled_y[other]])


def strangers(x: Array, to: Array) -> Bool[Array, " n"]:
    """Which inputs are no copy of any of the others: features of one image may differ in their last digits."""
    copies = {fingerprint(item) for item in to}
    return np.array([fingerprint(item) not in copies for item in x], dtype=bool)


def neighbours(z: Float[Array, "m d"], n: int, k: int) -> Int[Array, "n k"]:
    """The nearest rows to each of the first n, nearest first, never the row itself; fewer than k where there are."""
    from sklearn.neighbors import NearestNeighbors

    k = min(k, len(z) - 1)
    if not k:
        return np.zeros((n, 0), dtype=np.int64)
    index = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(z).kneighbors(z[:n], return_distance=False)
    own = index == np.arange(n)[:, None]
    own[~own.any(axis=1), -1] = True  # among more than k rows in the same place it may not have found itself
    return index[~own].reshape(n, k).astype(np.int64)


def outvoted(near: Int[Array, "n j"], y: Int[Array, " m"], k: Int[Array, " n"]) -> Float[Array, " n"]:
    """(The most votes of another class - the own class's) / k, by the first k_i neighbours of row i."""
    n, classes = len(near), int(y.max(initial=0)) + 1
    heard = np.arange(near.shape[1]) < k[:, None]
    ballot = np.arange(n)[:, None] * classes + y[near]
    votes = np.bincount(ballot[heard], minlength=n * classes).reshape(n, classes)
    own = np.arange(classes) == y[:n, None]
    return (np.where(own, 0, votes).max(axis=1) - votes[own]) / k
