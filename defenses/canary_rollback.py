"""Canary rollback: an update is undone when it makes any one class of a few trusted images worse.

With r_c(theta) the accuracy on the trusted images of class c,

    keep theta_new where, for every class c,    r_c(theta_old) - r_c(theta_new) <= tau.

RONI asks this of single messages and of accuracy at large; here it is asked of a whole update and of each class, since
a mole update harms one class. All or nothing: one class rolls back what the update taught of the others.

It needs clean data that nobody else may touch: `trusted` images a class, which the record counts. With few of them
accuracy moves in steps of 1 / trusted, and honest updates fall by chance: tau must be above that noise. Where the model
was trained on them as well, their accuracy falls last: expect little there, or choose a small tau. Adaptive attack: an
update whose harm to each class stays below tau, repeated; or one that spares what the trusted images show.

Reference: Nelson, Barreno, Chi, Joseph, Rubinstein, Saini, Sutton, Tygar, Xia, "Exploiting Machine Learning to Subvert
Your Spam Filter", LEET 2008 (Reject On Negative Impact).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from molebench.cards import Count, Share, defense
from molebench.errors import MolebenchError
from molebench.hooks import View
from molebench.types import Array


@defense(
    paper="Nelson et al., LEET 2008 (RONI)",
    scenarios=("active", "offline", "continual"),
    sees=("trusted",),
    cost="trusted images of each class, and their predictions at every training",
)
@dataclass(frozen=True)
class CanaryRollback:
    """trusted: clean labelled images of each class. tau: by how much the accuracy on one class may fall."""

    trusted: Count = 20
    tau: Share = 0.1

    def accept(self, view: View, rng: np.random.Generator) -> bool:
        """Whether no class falls by more than tau."""
        del rng
        if view.trusted_y is None or view.trusted_p is None or view.trusted_p_before is None:
            raise MolebenchError(
                "canary_rollback needs trusted images and beliefs about them; this scenario shows none"
            )
        old, new = (recalls(p, view.trusted_y) for p in (view.trusted_p_before, view.trusted_p))
        return not bool((old - new > self.tau + 1e-9).any())  # 0.9 - 0.8 is more than 0.1 in binary


def recalls(p: Float[Array, "t k"], y: Int[Array, " t"]) -> Float[Array, " c"]:
    """The share of each class's items that are predicted as such, classes in order."""
    right = p.argmax(axis=1) == y
    return np.array([right[y == c].mean() for c in np.unique(y)])
