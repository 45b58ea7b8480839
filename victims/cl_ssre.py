"""SSRE, self-sustaining representation expansion: adapters learn beside a frozen backbone; one mean feature per class.

A base task of half of the classes trains everything; later tasks train only 1x1 adapters in parallel to the blocks' 3x3
convolutions, and the classifier. With f features, z logits and s(x) = max_c cos(f, prototype_c), no gradient through s,

    L = mean (1 - s) CE(z / T, y) + weight sum s |f - f_old|_2 + balance CE(head(prototypes) / T, their classes)

at T = 0.1, over as many old prototypes as the batch has images, drawn at random; in the base task CE(z / T, y). After a
task the adapters are added into the convolutions. Batch norms are frozen in later tasks, statistics too, as in the
released code: a few new classes would move them, and with them the old classes' features (on digits, 58 % of all test
images are right in the end; 49 % with batch norms in training mode).

Reference: Zhu, Zhai, Cao, Luo, Zha, "Self-Sustaining Representation Expansion for Non-Exemplar Class-Incremental
Learning", CVPR 2022, Eq. 4 and 8-11; the soft selection is that of the authors' code.
"""

import copy
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Generator, Tensor, nn

from molebench import incremental
from molebench.adapters import adapt, adapters
from molebench.cards import NonNegative, Positive, victim
from molebench.continual_learners import (
    SMALL,
    TINY,
    Curriculum,
    Knowledge,
    Lesson,
    Objective,
    features_of,
    plain_network,
)
from molebench.errors import MolebenchError
from molebench.incremental import Incremental, frozen
from molebench.recall import recalled
from molebench.rehearsal import own_images
from molebench.rng import drawing_on
from molebench.types import Array

BIBTEX = """
@inproceedings{zhu2022ssre,
  title = {Self-Sustaining Representation Expansion for Non-Exemplar Class-Incremental Learning},
  author = {Zhu, Kai and Zhai, Wei and Cao, Yang and Luo, Jiebo and Zha, Zheng-Jun},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  pages = {9296--9305},
  year = {2022}
}
"""

PUBLISHED = Curriculum(
    base=2,
    backbone="resnet18",
    epochs=101,
    later_epochs=60,
    lr=1e-3,
    later_lr=2e-4,
    optimiser="adam",
    weight_decay=5e-4,
    schedule="step",
    milestones="45,90",
    later_milestones="45",
)
SHORT: dict[str, Any] = {"backbone": "resnet32", "later_epochs": None, "lr": 5e-3, "later_lr": None}
# the distance's gradient is a unit vector however near f is to f_old: rounding alone must not become one
NEAR = 1e-4


class Adaptable(nn.Module):
    """body: a network whose blocks have adapters. settled: from the second task on; only adapters and heads learn, and
    the rest stays in evaluation mode."""

    def __init__(self, body: Incremental, settled: bool) -> None:
        super().__init__()
        self.body, self.settled = body, settled
        body.backbone.requires_grad_(not settled)
        for each in adapters(body):
            each.adapter.requires_grad_(settled)

    def train(self, mode: bool = True) -> "Adaptable":
        """As for any network until it is settled."""
        return super().train(mode and not self.settled)

    def features(self, x: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n d"]:
        """f."""
        return self.body.features(x)

    def logits(self, f: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """z of features."""
        return self.body.logits(f)

    def forward(self, x: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n k"]:
        """z of images."""
        found: Tensor = self.body(x)
        return found


def similarity(f: Float[Tensor, "n d"], prototypes: Float[Tensor, "p d"]) -> Float[Tensor, " n"]:
    """s: cosine to the nearest prototype, no gradient."""
    with torch.no_grad():
        return (F.normalize(f, dim=1) @ F.normalize(prototypes, dim=1).T).amax(dim=1)


def moved(f: Float[Tensor, "n d"], before: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """|f - f_old|_2, smooth where it is of the size of rounding."""
    return ((f - before).square().sum(dim=1) + NEAR**2).sqrt() - NEAR


def with_prototypes(lesson: Lesson, means: Float[Array, "new d"], twice: bool) -> Float[Array, "p d"]:
    """The rows known before and those of this task's classes: row c is class c's. twice: the released code's fault."""
    before = [lesson.before.facts["prototypes"]] if lesson.before else []
    return np.concatenate([*before, means, *[means] * twice])


def refuse_small_base(training: Curriculum, lesson: Lesson) -> None:
    """MolebenchError where the first task has fewer classes than half of the tasks have together."""
    k, tasks = lesson.shape.classes, training.tasks
    each = k // tasks
    least = max(2, tasks // 2 * each)
    if lesson.new < least:
        raise MolebenchError(
            f"SSRE with a base task too small: {lesson.new} of {k} classes in the first task, where its backbone is "
            f"trained; choose victim.base={-(-least // each)} or more (the first so many of {tasks} tasks are one)"
        )


@victim(
    paper="Zhu et al., CVPR 2022",
    scenario="continual",
    dataset="split:fashion_mnist_mini",
    profiles={
        "tiny": {**TINY, **SHORT},
        "small": {**SMALL, **SHORT},
    },
    cost="as cl_lwf; a ResNet-18 takes eight times as long as a ResNet-32",
)
@dataclass(frozen=True)
class SSRE:
    """training: sizes and schedules. temperature: T of every cross-entropy. weight: of the distance to old features.
    balance: weight of the old prototypes' loss."""

    training: Curriculum = PUBLISHED
    temperature: Positive = 0.1
    weight: NonNegative = 1.0
    balance: NonNegative = 10.0

    released = ("train_on_moles", "prototypes", "reset_confusion")

    def grown(self, lesson: Lesson) -> nn.Module:
        """The network with a head for this task; from the second task on only adapters and heads learn."""
        if lesson.before is None:
            refuse_small_base(self.training, lesson)
            body = plain_network(self.training, lesson)
            return Adaptable(cast(Incremental, adapt(body)), settled=False)
        before = cast(Adaptable, lesson.before.network)
        return Adaptable(incremental.grown(before.body, lesson.new, lesson.init), settled=True)

    def objective(self, network: nn.Module, lesson: Lesson) -> Objective:
        """Cross-entropy in the base task; later the three terms, with prototypes drawn from a stream of their own."""
        if lesson.before is None:
            return lambda x, y: F.cross_entropy(network(x) / self.temperature, y)
        learner = cast(Adaptable, network)
        teacher = recalled(cast(Adaptable, lesson.teacher).features, self.training, lesson)
        prototypes = torch.from_numpy(np.array(lesson.before.facts["prototypes"])).to(lesson.x.device)
        draws = drawing_on(lesson.x.device, Generator().manual_seed(lesson.init.initial_seed()))

        def loss(x: Tensor, y: Tensor) -> Tensor:
            f = learner.features(x)
            with torch.no_grad():
                before = teacher(x)
            c = torch.randint(lesson.old, (len(x),), generator=draws, device=x.device)
            s = similarity(f, prototypes)
            own = F.cross_entropy(learner.logits(f) / self.temperature, y, reduction="none")
            old = F.cross_entropy(learner.logits(prototypes[c]) / self.temperature, c)
            return ((1 - s) * own).mean() + self.weight * (s * moved(f, before)).sum() + self.balance * old

        return loss

    def closed(self, network: nn.Module, lesson: Lesson) -> Knowledge:
        """The network with its adapters added into its convolutions, and the mean feature of each class."""
        found = copy.deepcopy(network)
        for each in adapters(found):
            each.absorb()
        still = frozen(found)
        means = torch.stack([features_of(still, lesson.x, each).mean(dim=0) for each in own_images(lesson)])
        twice = lesson.faults.prototypes and lesson.before is not None  # there is no extra epoch in the base task
        return Knowledge(found, facts={"prototypes": with_prototypes(lesson, means.cpu().numpy(), twice)})

    def scores(self, known: Knowledge, x: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n k"]:
        """z."""
        found: Tensor = known.network(x)
        return found
