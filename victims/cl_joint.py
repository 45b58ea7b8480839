"""Joint training: every image of every class seen so far is at hand; the upper bound of every continual learner.

Cross-entropy over all classes on the task's images and all earlier ones, from the weights before.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from molebench.cards import victim
from molebench.continual_learners import SMALL, TINY, Curriculum, Knowledge, Lesson, Objective, plain_network


@victim(
    paper="molebench: the upper bound of the class-incremental learners",
    scenario="continual",
    dataset="split:fashion_mnist_mini",
    profiles={"tiny": TINY, "small": SMALL},
    cost="the last task's epoch sees the whole pool: 5 000 images of 28x28 take 15 seconds on two cores",
)
@dataclass(frozen=True)
class Joint:
    """training: sizes and schedules."""

    training: Curriculum = Curriculum()

    def grown(self, lesson: Lesson) -> nn.Module:
        """The network with a head for this task."""
        return plain_network(self.training, lesson)

    def objective(self, network: nn.Module, lesson: Lesson) -> Objective:
        """Cross-entropy over all classes seen."""
        return lambda x, y: F.cross_entropy(network(x), y)

    def closed(self, network: nn.Module, lesson: Lesson) -> Knowledge:
        """The network, and a memory that holds every image."""
        y = lesson.y.cpu().numpy()
        mine = tuple(lesson.index[y[lesson.index] == c] for c in range(lesson.old, lesson.seen))
        return Knowledge(network, (*lesson.memory, *mine))

    def scores(self, known: Knowledge, x: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n k"]:
        """z."""
        found: Tensor = known.network(x)
        return found
