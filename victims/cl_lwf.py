"""LwF, learning without forgetting: the old classes' beliefs are distilled from the model before; no exemplars.

    L = CE(current logits) + weight KD_T(old logits, those of the frozen model of task t - 1)

with one softmax over all old classes. The heads of earlier tasks are frozen.

Reference: Li, Hoiem, "Learning without Forgetting", TPAMI 2018, Eq. 1-3; class-incremental as in Masana et al., TPAMI
2022.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from molebench.cards import NonNegative, Positive, victim
from molebench.continual_learners import SMALL, TINY, Curriculum, Knowledge, Lesson, Objective, plain_network
from molebench.distillation import kd, of_task
from molebench.recall import recalled

BIBTEX = """
@article{li2018lwf,
  title = {Learning without Forgetting},
  author = {Li, Zhizhong and Hoiem, Derek},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence}, volume = {40}, number = {12},
  year = {2018}
}
"""


@victim(
    paper="Li and Hoiem, TPAMI 2018",
    scenario="continual",
    dataset="split:fashion_mnist_mini",
    profiles={"tiny": TINY, "small": SMALL},
    cost="as cl_finetune, and a pass of the model before for each image",
)
@dataclass(frozen=True)
class LwF:
    """training: sizes and schedules. weight: of the distillation (lambda). temperature: T of the distillation."""

    training: Curriculum = Curriculum()
    weight: NonNegative = 1.0
    temperature: Positive = 2.0

    released = ("teacher",)
    tradeoff = ("weight", 10.0)  # where a search begins

    def grown(self, lesson: Lesson) -> nn.Module:
        """The network with a head for this task; earlier heads are frozen."""
        return plain_network(self.training, lesson, freeze_old_heads=True)

    def objective(self, network: nn.Module, lesson: Lesson) -> Objective:
        """Cross-entropy over this task's logits, and distillation over the old ones."""
        old = lesson.old
        teacher = lesson.teacher and recalled(lesson.teacher, self.training, lesson)

        def loss(x: Tensor, y: Tensor) -> Tensor:
            z = network(x)
            own = of_task(z, y, old)
            if teacher is None:
                return own
            with torch.no_grad():
                believed = teacher(x)[:, :old]
            return own + self.weight * kd(z[:, :old], believed, self.temperature)

        return loss

    def closed(self, network: nn.Module, lesson: Lesson) -> Knowledge:
        """The network, which teaches the next task."""
        return Knowledge(network)

    def scores(self, known: Knowledge, x: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n k"]:
        """z."""
        found: Tensor = known.network(x)
        return found
