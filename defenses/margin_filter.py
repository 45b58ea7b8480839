"""Margin filter: an image goes when the model, before it learns from it, leans to another class.

The mirror of the search for moles, which recruits the images x of class c with the largest P(y = a | x), a != c:

    s_i = max over c != y_i of P(y = c | x_i),    i goes where s_i > most.

The beliefs are the victim's own, before the update. It has learnt its pool by heart, so that they are small for nearly
all honest images of the pool; fresh images would want a larger `most`. Moles are hard, yet honest: what this removes of
a clean update is what the model has most to learn from, and its cost shows as clean_cost. Measured at 0.1 on a residual
network's Fashion-MNIST (two pairs, one seed), nine of ten moles go and one honest image in twenty.
Adaptive attack: moles of a smaller margin each, and more of them (molebench's mole_recruitment, capped).

Reference: molebench; the search is that of Wisdom, Gokhale, Xiao, Yang, arXiv:2303.17080, section 3. Relatives:
confident learning, Northcutt, Jiang, Chuang, JAIR 2021, arXiv:1911.00068.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Gt, Lt

from molebench.cards import defense
from molebench.errors import MolebenchError
from molebench.hooks import View
from molebench.moles import wrongly
from molebench.types import Array


@defense(
    paper="molebench; the mirror of Wisdom et al., arXiv:2303.17080",
    scenarios=("offline", "continual"),
    cost="nothing beyond the beliefs that it is shown",
)
@dataclass(frozen=True)
class MarginFilter:
    """most: largest P of a wrong class that an image may have."""

    most: Annotated[float, Gt(0), Lt(1)] = 0.1

    def filter_train(self, view: View, rng: np.random.Generator) -> Array:
        """Keeps what the model does not take for something else; all of a class may go, for it is replaced."""
        return self.suspicion(view, rng) <= self.most

    def suspicion(self, view: View, rng: np.random.Generator) -> Array:
        """The largest P of a wrong class."""
        del rng
        if view.p is None:
            raise MolebenchError("margin_filter needs the model's beliefs; this scenario shows none")
        return wrongly(view.p, view.labels)
