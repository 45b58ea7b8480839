"""Oracle filter: hides exactly the poisons from the learner; the most that any filter could do. Never ranked.

It is shown the ground truth, which no defense has: a control that says how much of the damage is to be won back
by filtering alone, and a check on the benchmark itself (behind it, the poisoned arm must equal the clean one).
"""

from dataclasses import dataclass

import numpy as np

from molebench.cards import defense
from molebench.hooks import View
from molebench.types import Array


@defense(paper="molebench: control", scenarios=("active", "offline", "continual"), sees=("ground_truth",), cost="none")
@dataclass(frozen=True)
class OracleFilter:
    """No parameters."""

    def screen_pool(self, view: View, rng: np.random.Generator) -> Array:
        """Keeps what is no poison."""
        del rng
        return np.ones(len(view.x), dtype=bool) if view.poison is None else ~view.poison

    def filter_train(self, view: View, rng: np.random.Generator) -> Array:
        """Keeps what is no poison."""
        return self.screen_pool(view, rng)
