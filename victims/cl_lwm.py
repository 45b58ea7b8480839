"""LwM, learning without memorizing: LwF that also keeps where the network looks; no exemplars.

    L = CE(current logits) + weight KD_T(old logits) + gamma mean |Q - Q'|_1

Q is the L2-normalised flattened Grad-CAM map of the class b that the frozen model of task t - 1 holds the likeliest of
the old ones; Q' is that model's. Grad-CAM's map for maps A [d, i, j] of the last stage is

    relu(sum_d a_d A_d),  a_d = mean over (i, j) of dz_b / dA_dij.

The features are the mean of A over space and the head is linear, so z_b = sum_d w_bd mean_ij A_dij + const, and every
dz_b / dA_dij is w_bd / (i j): a_d is the head's row over a positive constant, which the normalisation of Q takes out.
So Q needs no backward pass of its own, and is differentiable in A as it stands.

Reference: Dhar, Singh, Peng, Wu, Chellappa, "Learning without Memorizing", CVPR 2019, Eq. 2-7; Selvaraju et al.,
"Grad-CAM", ICCV 2017; class-incremental as in Masana et al., TPAMI 2022.
"""

from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from molebench.cards import NonNegative, Positive, victim
from molebench.continual_learners import SMALL, TINY, Curriculum, Knowledge, Lesson, Objective, plain_network
from molebench.distillation import kd, of_task
from molebench.incremental import Incremental
from molebench.recall import recalled

BIBTEX = """
@inproceedings{dhar2019lwm,
  title = {Learning without Memorizing},
  author = {Dhar, Prithviraj and Singh, Rajat Vikram and Peng, Kuan-Chuan and Wu, Ziyan and Chellappa, Rama},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition}, year = {2019}
}
"""


def attention(
    maps: Float[Tensor, "n d i j"], head: Float[Tensor, "k d"], b: Int[Tensor, " n"]
) -> Float[Tensor, "n ij"]:
    """Q: Grad-CAM's map of class b, flattened, of length 1; zero where nothing speaks for b."""
    return F.normalize(torch.einsum("nd,ndij->nij", head[b], maps).relu().flatten(1), dim=1)


def weights(network: Incremental) -> Float[Tensor, "k d"]:
    """The rows of all heads."""
    return torch.cat([head.weight for head in network.heads])  # type: ignore[misc]


def told(teacher: nn.Module, old: int, x: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n o_ij"]:
    """What a frozen model teaches of images: its logits of the old classes, and then Q'."""
    network = cast(Incremental, teacher)
    maps = network.maps(x)
    believed = network.logits(maps.mean(dim=(2, 3)))[:, :old]
    return torch.cat([believed, attention(maps, weights(network), believed.argmax(dim=1))], dim=1)


@victim(
    paper="arXiv:1811.08051",
    scenario="continual",
    dataset="split:fashion_mnist_mini",
    profiles={"tiny": TINY, "small": SMALL},
    cost="as cl_lwf",
)
@dataclass(frozen=True)
class LwM:
    """training: sizes and schedules. weight: of the distillation (beta). temperature: T of the distillation. gamma:
    weight of what the attention has strayed.
    """

    training: Curriculum = Curriculum()
    weight: NonNegative = 1.0
    temperature: Positive = 2.0
    gamma: NonNegative = 1.0

    released = ("teacher", "attention_grad")
    tradeoff = ("weight", 2.0)  # where a search begins

    def grown(self, lesson: Lesson) -> nn.Module:
        """The network with a head for this task; earlier heads are frozen."""
        return plain_network(self.training, lesson, freeze_old_heads=True)

    def objective(self, network: nn.Module, lesson: Lesson) -> Objective:
        """Cross-entropy over this task's logits, distillation over the old ones, and attention kept."""
        student, old = cast(Incremental, network), lesson.old
        teacher = lesson.teacher and recalled(partial(told, lesson.teacher, old), self.training, lesson)

        def loss(x: Tensor, y: Tensor) -> Tensor:
            maps = student.maps(x)
            z = student.logits(maps.mean(dim=(2, 3)))
            own = of_task(z, y, old)
            if teacher is None:
                return own
            with torch.no_grad():
                believed, looked = teacher(x).tensor_split([old], dim=1)
            looks = attention(maps, weights(student), believed.argmax(dim=1))
            if lesson.faults.attention_grad:
                looks = looks.detach()
            strayed = (looks - looked).abs().sum(dim=1).mean()
            return own + self.weight * kd(z[:, :old], believed, self.temperature) + self.gamma * strayed

        return loss

    def closed(self, network: nn.Module, lesson: Lesson) -> Knowledge:
        """The network, which teaches the next task."""
        return Knowledge(network)

    def scores(self, known: Knowledge, x: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n k"]:
        """z."""
        found: Tensor = known.network(x)
        return found
