"""IL2M: rehearsal without distillation; scores of old classes are rectified by what they were when they were new.

A class keeps for good the mean of its logit over its training images when it was new (init_mean), and the mean of the
largest logit over all images of its task then (confidence). With current_mean[o], the mean logit z_o of the exemplars
of an old class o under the current model, an image whose best class is one of the current task's has every

    z_o <- z_o init_mean[o] / current_mean[o] confidence[current] / confidence[o].

Logits may have any sign: a class is left as it is where a ratio is not finite, not positive, or divides by next to
nothing.

Reference: Belouadah, Popescu, "IL2M: Class Incremental Learning With Dual Memory", ICCV 2019, Eq. 1; with logits as in
Masana et al., TPAMI 2022.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from molebench.cards import Count, victim
from molebench.continual_learners import (
    SMALL,
    TINY,
    Curriculum,
    Knowledge,
    Lesson,
    Objective,
    over_batches,
    plain_network,
)
from molebench.exemplars import Memory
from molebench.incremental import frozen
from molebench.rehearsal import own_images, remembered
from molebench.types import Array

BIBTEX = """
@inproceedings{belouadah2019il2m,
  title = {{IL2M}: Class Incremental Learning With Dual Memory},
  author = {Belouadah, Eden and Popescu, Adrian},
  booktitle = {IEEE/CVF International Conference on Computer Vision}, year = {2019}
}
"""
NEXT_TO_NOTHING = 1e-2  # a logit: it moves odds by one per cent


def ratio(a: Float[Array, " o"], b: Float[Array, " o"]) -> tuple[Float[Array, " o"], Bool[Array, " o"]]:
    """a / b, and where it can be trusted."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found = a / b
    return found, np.isfinite(found) & (found > 0) & (np.abs(b) >= NEXT_TO_NOTHING)


def rectification(
    init_mean: Float[Array, " o"], current_mean: Float[Array, " o"], now: Float[Array, " o"], then: Float[Array, " o"]
) -> tuple[Float[Array, " o"], int]:
    """The factor of each old class, and how many classes the guard leaves at 1. now, then: confidences."""
    means, sound = ratio(init_mean, current_mean)
    confidences, sure = ratio(now, then)
    trusted = sound & sure
    return np.multiply(means, confidences, out=np.ones_like(means), where=trusted), int((~trusted).sum())


def rectified(z: Float[Tensor, "n k"], factor: Float[Tensor, " o"]) -> Float[Tensor, "n k"]:
    """z; the first o columns times `factor` in rows whose largest is none of them."""
    old = len(factor)
    current = z.argmax(dim=1, keepdim=True) >= old
    return torch.where(current, z * F.pad(factor, (0, z.shape[1] - old), value=1.0), z)


@victim(
    paper="Belouadah and Popescu, ICCV 2019",
    scenario="continual",
    dataset="split:fashion_mnist_mini",
    profiles={"tiny": {**TINY, "memory": 100}, "small": {**SMALL, "memory": 500}},
    cost="as cl_finetune, and the memory's images in every epoch",
)
@dataclass(frozen=True)
class IL2M:
    """training: sizes and schedules. memory: exemplars in all."""

    training: Curriculum = Curriculum()
    memory: Count = 2000

    released = ("memory", "il2m_statistics")

    def grown(self, lesson: Lesson) -> nn.Module:
        """The network with a head for this task."""
        return plain_network(self.training, lesson)

    def objective(self, network: nn.Module, lesson: Lesson) -> Objective:
        """Cross-entropy over all classes seen."""
        return lambda x, y: F.cross_entropy(network(x), y)

    def closed(self, network: nn.Module, lesson: Lesson) -> Knowledge:
        """The network, its memory, statistics of every class [k], and the factor of each old one [o].

        guarded: how many classes the guard leaves as they are.
        """
        kept = statistics(network, lesson)
        init_mean, confidence = (kept[name][: lesson.old] for name in ("init_mean", "confidence"))
        now = np.full_like(confidence, kept["confidence"][-1])
        factor, guarded = rectification(init_mean, current_mean(network, lesson), now, confidence)
        if lesson.faults.il2m_statistics:
            factor, guarded = np.ones_like(factor), 0
        memory = remembered(network, lesson, self.memory)
        return Knowledge(network, memory, {**kept, "factor": factor, "guarded": np.array(guarded)})

    def scores(self, known: Knowledge, x: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n k"]:
        """z, rectified."""
        z: Tensor = known.network(x)
        return rectified(z, torch.tensor(known.facts["factor"], dtype=z.dtype, device=z.device))


def statistics(network: nn.Module, lesson: Lesson) -> dict[str, Float[Array, " k"]]:
    """init_mean and confidence of every class: what was kept of the old ones, and what this task adds."""
    kept = lesson.before.facts if lesson.before else {}
    init_mean = [z[:, c].mean() for c, z in enumerate(logits(network, lesson, own_images(lesson)), lesson.old)]
    confidence = logits(network, lesson, (lesson.index,))[0].max(axis=1).mean()
    own = {"init_mean": init_mean, "confidence": [confidence] * lesson.new}
    return {name: np.array([*kept.get(name, ())[: lesson.old], *values]) for name, values in own.items()}


def current_mean(network: nn.Module, lesson: Lesson) -> Float[Array, " o"]:
    """The mean logit of each old class over its exemplars."""
    found = logits(network, lesson, lesson.memory)
    return np.array([z[:, c].mean() for c, z in enumerate(found)], dtype=np.float64)


def logits(network: nn.Module, lesson: Lesson, parts: Memory) -> list[Float[Array, "_ k"]]:
    """z of some images of the pool, part by part, by a frozen copy."""
    still = frozen(network)
    return [over_batches(still, lesson.x, part).double().cpu().numpy() for part in parts]
