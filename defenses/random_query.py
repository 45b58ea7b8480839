"""Random query: labels random pool items instead of uncertain ones; what an attack on the query strategy cannot reach.

A control as much as a defense: a poisoned learner that loses less than this one has not been defended, it has
only stopped to choose.
"""

from dataclasses import dataclass

import numpy as np

from molebench.cards import defense
from molebench.hooks import View
from molebench.types import Array


@defense(paper="molebench: control", scenarios=("active",), cost="none: it saves the entropies")
@dataclass(frozen=True)
class RandomQuery:
    """No parameters."""

    def select(self, view: View, rng: np.random.Generator) -> Array:
        """`count` candidates, uniformly, without replacement."""
        return rng.choice(len(view.x), size=view.count, replace=False)
