"""Finetuning class by class, with nothing kept and nothing held back: the lower bound of every continual learner.

Cross-entropy over the current task's logits alone; the heads of earlier tasks stay as they were, the backbone does not.
"""

from dataclasses import dataclass

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from molebench.cards import victim
from molebench.continual_learners import SMALL, TINY, Curriculum, Knowledge, Lesson, Objective, plain_network
from molebench.distillation import of_task


@victim(
    paper="molebench: the lower bound of the class-incremental learners",
    scenario="continual",
    dataset="split:fashion_mnist_mini",
    profiles={"tiny": TINY, "small": SMALL},
    cost="an epoch of 1 000 images of 28x28 takes three seconds on two cores",
)
@dataclass(frozen=True)
class Finetune:
    """training: sizes and schedules."""

    training: Curriculum = Curriculum()

    def grown(self, lesson: Lesson) -> nn.Module:
        """The network with a head for this task; earlier heads are frozen."""
        return plain_network(self.training, lesson, freeze_old_heads=True)

    def objective(self, network: nn.Module, lesson: Lesson) -> Objective:
        """Cross-entropy over this task's logits."""
        return lambda x, y: of_task(network(x), y, lesson.old)

    def closed(self, network: nn.Module, lesson: Lesson) -> Knowledge:
        """The network, and nothing else."""
        return Knowledge(network)

    def scores(self, known: Knowledge, x: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n k"]:
        """z."""
        found: Tensor = known.network(x)
        return found
