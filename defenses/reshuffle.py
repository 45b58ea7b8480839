"""Reshuffle: trains on an update in an order of its own, drawn anew, with every class spread evenly over it.

A learner that takes batches as they are supplied lets the supplier train it by order alone. Here items of each class
come in random order, the j-th of n_c at

    t = (j + u) / n_c,   u ~ U[0, 1),

and all items by their t: each batch holds every class in its share of the update, give or take one image.

Of moles it can do nothing but spread them: they are in no special order, the epoch on an update is shuffled without it,
and they stay in the update. Expect no effect on mole recruitment (a negative control among schedules) and one on
attacks that choose the order. Adaptive attack: none is needed, for choosing the images is enough.

Reference: the threat is that of Shumailov, Shumaylov, Kazhdan, Zhao, Papernot, Erdogdu, Anderson, "Manipulating SGD
with Data Ordering Attacks", NeurIPS 2021, arXiv:2104.09667; the answer is molebench's.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from molebench.cards import defense
from molebench.hooks import View
from molebench.types import Array


@defense(
    paper="molebench; against Shumailov et al., NeurIPS 2021, arXiv:2104.09667",
    scenarios=("offline", "continual"),
    cost="nothing",
)
@dataclass(frozen=True)
class Reshuffle:
    """Has no parameters."""

    def schedule(self, view: View, rng: np.random.Generator) -> Array:
        """Every item once."""
        return stratified(view.labels, rng)


def stratified(y: Int[Array, " n"], rng: np.random.Generator) -> Int[Array, " n"]:
    """A random order in which any stretch holds the classes in their shares."""
    t = np.empty(len(y))
    for c in np.unique(y):
        n = int((y == c).sum())
        t[y == c] = (rng.permutation(n) + rng.random(n)) / n
    return np.argsort(t, kind="stable")
