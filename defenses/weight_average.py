"""Weight average: after an update the model is a mean of what it was and what it became.

    theta <- (1 - share) theta_old + share theta_new,

an exponential moving average over updates: what one update did weighs share (1 - share)^j after j more, so that a
single poisoned one has bounded weight. Without data or knowledge of the attack.

Expect it to take back part of every update's effect, good and bad alike: the harm of a mole update shrinks with share,
and so does what is learnt. Between the two ends the loss need not be a mean of theirs, but for one epoch from a trained
model it nearly is. Adaptive attack: several poisoned updates in a row, or a stronger one.

Reference: Izmailov, Podoprikhin, Garipov, Vetrov, Wilson, "Averaging Weights Leads to Wider Optima and Better
Generalization", UAI 2018, arXiv:1803.05407; there along one training and for generalisation, here between updates.
"""

from dataclasses import dataclass

import numpy as np

from molebench.cards import Share, defense
from molebench.hooks import View


@defense(
    paper="after Izmailov et al., UAI 2018, arXiv:1803.05407",
    scenarios=("offline", "continual"),
    cost="a copy of the weights",
)
@dataclass(frozen=True)
class WeightAverage:
    """share: weight of the updated model; that of the model before is 1 - share."""

    share: Share = 0.5

    def accept(self, view: View, rng: np.random.Generator) -> float:
        """The same share of every update."""
        del view, rng
        return self.share
