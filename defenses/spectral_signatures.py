"""Spectral signatures: of each class, the items go that stick out most along its features' main direction.

With M_c the features of class c less their mean, and v_c the first right singular vector of M_c,

    tau_i = ((z_i - mean_c) . v_c)^2,    s_i = the share of its class that has a smaller tau,

i goes where s_i >= 1 - share: of a class at most `share`, poisoned or not. Mean, direction and ranks come from all that
is labelled of the class; an update's items are judged by them, so of an update more, or even all, may go (what goes is
replaced there). The paper removes 1.5 times the known number of poisons of each class; here `share` is a setting, the
same for all classes.

Made for backdoors: many poisons of one class that share a direction. Of collisions each class holds few, and they lie
at one point, perhaps near a class's mean. Moles are honest and lie between two classes; whether that is a main
direction depends on the features. Adaptive attack: poisons with little variance along any one direction (Hayase et al.,
ICML 2021, arXiv:2104.11315, answer with whitening).

Reference: Tran, Li, Madry, "Spectral Signatures in Backdoor Attacks", NeurIPS 2018, arXiv:1811.00636, algorithm 1.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from molebench.cards import Share, defense
from molebench.hooks import View
from molebench.types import Array


@defense(
    paper="Tran, Li and Madry, NeurIPS 2018, arXiv:1811.00636",
    scenarios=("active", "offline", "continual"),
    cost="an eigenvector of each class's features",
)
@dataclass(frozen=True)
class SpectralSignatures:
    """share: how much of each class goes, that which sticks out most."""

    share: Share = 0.15

    def filter_train(self, view: View, rng: np.random.Generator) -> Array:
        """Keeps what does not stick out."""
        return self.suspicion(view, rng) < 1 - self.share

    def suspicion(self, view: View, rng: np.random.Generator) -> Array:
        """The share of its class that sticks out less than an item does."""
        del rng
        y, labelled = view.labels, view.labelled_y
        score = np.zeros(len(y))
        for c in np.unique(y):
            mine = view.z[y == c]
            known = mine if view.labelled_z is None or labelled is None else view.labelled_z[labelled == c]
            score[y == c] = rank(mine, known if len(known) else mine)
        return score


def rank(z: Float[Array, "n d"], known: Float[Array, "m d"]) -> Float[Array, " n"]:
    """The share of the known features whose square along their main direction is smaller than an item's."""
    mean = known.mean(axis=0, dtype=np.float64)
    v = main_direction(known - mean)
    unit = 1e-14 * max(float(np.square(known, dtype=np.float64).sum(axis=1).max()), 1e-200)  # float32 rounds here
    there, here = (np.rint(np.square((a - mean) @ v) / unit) for a in (known, z))
    return np.searchsorted(np.sort(there), here) / len(known)


def main_direction(z: Float[Array, "n d"]) -> Float[Array, " d"]:
    """The first right singular vector, by the smaller of the two Gram matrices; zero where all rows are."""
    from scipy.linalg import eigh

    n, d = z.shape
    last = min(n, d) - 1
    u = eigh(z.T @ z if d <= n else z @ z.T, subset_by_index=(last, last))[1][:, 0]
    v = u if d <= n else z.T @ u
    return v / max(float(np.linalg.norm(v)), np.finfo(np.float64).tiny)
