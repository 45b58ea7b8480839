"""The rate and the trade-off of a task, found by training: as plastic as finetuning may be, as stable as that allows.

First the rate at which plain finetuning learns the new task best, on a tenth of its images held out; then, from a large
trade-off downwards, the first one whose accuracy on the new task is at least 0.8 of finetuning's, halved until it is.
Rates are taken from {0.5, 0.1, 0.05} at the first task, later from the three largest of {0.1, 0.05, 0.01, 0.005, 0.001}
below that one.

Reference: De Lange et al., "A continual learning survey", TPAMI 2022, section 5 (the continual hyperparameter
framework); grids as in Masana et al., TPAMI 2022.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from molebench.continual_learners import ContinualLearner, Lesson, Objective, over_batches
from molebench.distillation import of_task
from molebench.incremental import frozen
from molebench.types import Array

FIRST = (0.5, 0.1, 0.05)
LATER = (0.1, 0.05, 0.01, 0.005, 0.001)
TRIED = 3
SHARE = 0.8  # of finetuning's accuracy that a trade-off must leave
HALVINGS = 10
Fit = Callable[[nn.Module, Objective, float], None]


@dataclass(frozen=True)
class Plan:
    """The initial rate of a task, and the learner's trade-off; None where it has none to choose."""

    lr: float
    weight: float | None = None

    def applied(self, learner: ContinualLearner) -> ContinualLearner:
        """The learner with this trade-off."""
        name, _ = tradeoff(learner)
        changed: Any = learner
        return replace(changed, **{name: self.weight}) if name and self.weight is not None else learner


def tradeoff(learner: ContinualLearner) -> tuple[str, float]:
    """The parameter that holds a learner to its past, and where its search begins; ('', 0) where it names none."""
    name, start = getattr(learner, "tradeoff", ("", 0.0))
    return name, start


def rates(first: float | None) -> Sequence[float]:
    """The rates to try: of the first task, or of one after a first task learnt at `first`."""
    return FIRST if first is None else [lr for lr in LATER if lr < first][:TRIED] or LATER[-1:]


def searched(
    learner: ContinualLearner,
    grown: Callable[[], nn.Module],
    lesson: Lesson,
    held_out: Int[Array, " v"],
    first: float | None,
    fit: Fit,
) -> Plan:
    """The plan of a task. grown: a new copy of the network that learns it. fit: trains one at a rate, on what is not
    held out. first: the rate of the first task; None at that one."""
    tried = []
    for lr in rates(first):
        network = grown()
        fit(network, finetuning(network, lesson), lr)
        tried.append((own_accuracy(network, lesson, held_out), -lr))
    best, lr = max(tried)[0], -max(tried)[1]
    name, weight = tradeoff(learner)
    if first is None or not name:
        return Plan(lr)
    for _ in range(HALVINGS):
        chosen, network = Plan(lr, weight), grown()
        fit(network, chosen.applied(learner).objective(network, lesson), lr)
        if own_accuracy(network, lesson, held_out) >= SHARE * best:
            break
        weight /= 2
    return chosen


def finetuning(network: nn.Module, lesson: Lesson) -> Objective:
    """Cross-entropy over the task's own logits."""
    return lambda x, y: of_task(network(x), y, lesson.old)


def own_accuracy(network: nn.Module, lesson: Lesson, index: Int[Array, " v"]) -> float:
    """The share of these images that the network tells apart among the task's own classes; 0 where it diverged."""
    z: Tensor = over_batches(frozen(network), lesson.x, index)
    own = torch.where(torch.isfinite(z), z, torch.full_like(z, -np.inf))[:, lesson.old : lesson.seen]
    right = own.argmax(dim=1) + lesson.old == lesson.y[torch.from_numpy(index.copy()).to(z.device)]
    return float((right & torch.isfinite(z).all(dim=1)).float().mean())
