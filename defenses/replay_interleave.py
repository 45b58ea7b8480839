"""Replay interleave: an update is trained on among images that the learner owns already, class for class as many.

The n items of the update come in random order, the j-th at (j + 1/2) / n, and m = floor(ratio n) labelled items at
(i + 1/2) / m: every batch holds `ratio` labelled items for each of the update. Labelled items come in rounds: one of
each class, in random order, and again; a class that runs out begins anew. What a supplier sends then moves the model by
1 / (1 + ratio) of a batch, and a pull towards one class is answered by honest items of all.

It is meant to soften every attack by update, moles included, and costs little accuracy, for these are honest images.
But it takes 1 + ratio times as many steps, which move the model further, and the moles are in it still: do not count on
it before you have measured it. Adaptive attack: a larger update, or moles that the learner already owns and replays.

Reference: experience replay as in Rolnick, Ahuja, Schwarz, Lillicrap, Wayne, "Experience Replay for Continual
Learning", NeurIPS 2019, arXiv:1811.11682; here within an update, as a defense: molebench.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Int

from molebench.cards import defense
from molebench.hooks import View
from molebench.types import Array


@defense(
    paper="molebench; after Rolnick et al., NeurIPS 2019, arXiv:1811.11682",
    scenarios=("offline", "continual"),
    cost="1 + ratio times the training of an update",
)
@dataclass(frozen=True)
class ReplayInterleave:
    """ratio: labelled items for each of the update."""

    ratio: Annotated[float, Ge(0), Le(7)] = 1.0

    def schedule(self, view: View, rng: np.random.Generator) -> Array:
        """Every item of the update once, among labelled ones."""
        n, y = len(view.x), view.labelled_y
        m = 0 if y is None or not len(y) else int(self.ratio * n)
        replayed = np.zeros(0, dtype=np.int64) if y is None or not m else n + rounds(y, m, rng)
        return interleaved(rng.permutation(n), replayed)


def rounds(y: Int[Array, " l"], m: int, rng: np.random.Generator) -> Int[Array, " m"]:
    """m items, one of each class a round, in random order within each; a class begins anew when it is through."""
    classes = np.unique(y)
    count = -(-m // len(classes))
    columns = [np.resize(rng.permutation(np.flatnonzero(y == c)), count) for c in classes]
    return rng.permuted(np.stack(columns, axis=1), axis=1).ravel()[:m]


def interleaved(one: Int[Array, " n"], other: Int[Array, " m"]) -> Int[Array, " s"]:
    """Both in their own order, evenly among each other."""
    place = np.concatenate([(np.arange(len(a)) + 0.5) / max(len(a), 1) for a in (one, other)])
    return np.concatenate([one, other])[np.argsort(place, kind="stable")]
