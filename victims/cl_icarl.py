"""Rehearsal of herded exemplars, and prediction by the class whose exemplars' mean is nearest (iCaRL).

    L = CE(z, y) + weight BCE(z_old, s(z'_old)),  z' of the frozen model of task t - 1, s the sigmoid

trains the features; the head serves training only. With `loss=bce`, as published, the first term is BCE too: one-hot
over the classes that are new. A class's prototype is the mean of its exemplars' L2-normalised features under the
current model, computed again whenever a task closes; an image is of the class whose prototype has the largest cosine.

Reference: Rebuffi, Kolesnikov, Sperl, Lampert, "iCaRL: Incremental Classifier and Representation Learning", CVPR 2017,
algorithms 1-5; cross-entropy as in Masana et al., TPAMI 2022.
"""

from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from molebench.cards import Count, NonNegative, victim
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
from molebench.distillation import bce
from molebench.exemplars import class_means, indices
from molebench.incremental import Incremental, frozen
from molebench.recall import recalled
from molebench.rehearsal import remembered

BIBTEX = """
@inproceedings{rebuffi2017icarl,
  title = {{iCaRL}: Incremental Classifier and Representation Learning},
  author = {Rebuffi, Sylvestre-Alvise and Kolesnikov, Alexander and Sperl, Georg and Lampert, Christoph H.},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition}, year = {2017}
}
"""


def cosines(f: Float[Tensor, "n d"], prototypes: Float[Tensor, "k d"]) -> Float[Tensor, "n k"]:
    """How near each prototype (of length 1) is: the largest cosine is the least distance of normalised features."""
    return F.normalize(f, dim=1) @ prototypes.T


def new_classes(z: Float[Tensor, "n k"], y: Int[Tensor, " n"], old: int) -> Float[Tensor, ""]:
    """BCE of the new classes' logits with one-hot labels; an exemplar of an old class is none of them."""
    return bce(z[:, old:], F.one_hot(y, z.shape[1])[:, old:].to(z.dtype))


@victim(
    paper="arXiv:1611.07725",
    scenario="continual",
    dataset="split:fashion_mnist_mini",
    profiles={"tiny": {**TINY, "memory": 100}, "small": {**SMALL, "memory": 500}},
    cost="as cl_finetune, a pass of the model before for each image, and the memory's images in every epoch",
)
@dataclass(frozen=True)
class ICaRL:
    """training: sizes and schedules. memory: exemplars in all. weight: of the distillation (lambda). loss: of the
    classes; ce over all seen, bce as published.
    """

    training: Curriculum = Curriculum()
    memory: Count = 2000
    weight: NonNegative = 1.0
    loss: Literal["ce", "bce"] = "ce"

    released = ("memory",)

    def grown(self, lesson: Lesson) -> nn.Module:
        """The network with a head for this task."""
        return plain_network(self.training, lesson)

    def objective(self, network: nn.Module, lesson: Lesson) -> Objective:
        """The classes' loss, and distillation over the old ones."""
        old = lesson.old
        teacher = lesson.teacher and recalled(lesson.teacher, self.training, lesson)

        def loss(x: Tensor, y: Tensor) -> Tensor:
            z = network(x)
            own = F.cross_entropy(z, y) if self.loss == "ce" else new_classes(z, y, old)
            if teacher is None:
                return own
            with torch.no_grad():
                believed = teacher(x)[:, :old].sigmoid()
            return own + self.weight * bce(z[:, :old], believed)

        return loss

    def closed(self, network: nn.Module, lesson: Lesson) -> Knowledge:
        """The network, its memory, and each class's prototype [k, d]."""
        memory = remembered(network, lesson, self.memory)
        f = features_of(frozen(network), lesson.x, indices(memory))
        prototypes = class_means(f, [len(each) for each in memory])
        return Knowledge(network, memory, {"prototypes": prototypes.cpu().numpy()})

    def scores(self, known: Knowledge, x: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n k"]:
        """The cosine with each prototype."""
        f = cast(Incremental, known.network).features(x)
        return cosines(f, torch.tensor(known.facts["prototypes"], dtype=f.dtype, device=f.device))
