"""Epsilon mix: a share of each query is random, whatever an attacker has made of the learner's doubts.

Of the m labels of a query, epsilon m on average go to items drawn uniformly from the pool, the others to those of
highest entropy. An attack that owns every uncertain item gets at most (1 - epsilon) m of them, and its share of the
pool of the rest: a bound by construction, not by judgement, so no adaptive attack gets more. The price is that of
random_query, epsilon of it: labels spent on what the learner is sure of.

Reference: molebench; the mixture of exploring and exploiting of epsilon-greedy, Sutton, Barto, "Reinforcement
Learning", 1998, section 2.2.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from molebench.cards import Share, defense
from molebench.errors import MolebenchError
from molebench.heads import least_certain
from molebench.hooks import View
from molebench.types import Array


@defense(paper="molebench; after epsilon-greedy", scenarios=("active",), cost="none: a part of the entropies is saved")
@dataclass(frozen=True)
class EpsilonMix:
    """epsilon: share of the labels of a query that random items get."""

    epsilon: Share = 0.5

    def select(self, view: View, rng: np.random.Generator) -> Array:
        """The candidates of highest entropy, and random others."""
        if view.p is None:
            raise MolebenchError("defense epsilon_mix needs the model's beliefs")
        return mixed(np.array(view.p), view.count, self.epsilon, rng)


def mixed(p: Float[Array, "n k"], count: int, epsilon: float, rng: np.random.Generator) -> Int[Array, " m"]:
    """`count` distinct rows, epsilon of them random; a part of one is one as often as it is large."""
    free = int(epsilon * count + rng.random())
    first = least_certain(p, count - free)
    rest = np.setdiff1d(np.arange(len(p)), first)
    return np.concatenate([first, rng.choice(rest, size=free, replace=False)])
