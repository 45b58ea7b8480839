"""DER, dynamically expandable representation: a backbone for every task, older ones frozen; an exemplar memory.

    L = CE(z, y) + weight CE(auxiliary logits, y')        y' = 0 for every old class, else y - old + 1

After the training of a task its new classes' rows of the classifier are scaled by mean |old row| / mean |new row|, so
that they are no longer than the old ones (weight alignment). Where training was so short that they are the shorter ones
already, there is no bias towards them to take away, and scaling up would make one. The paper's masks, which prune a
backbone, are left out, as in the code behind the published numbers; that code aligns where the paper finetunes on a
balanced memory.

Reference: Yan, Xie, He, "DER: Dynamically Expandable Representation for Class Incremental Learning", CVPR 2021;
weight alignment: Zhao, Xiao, Gan, Zhang, Xia, "Maintaining Discrimination and Fairness in Class Incremental Learning",
CVPR 2020.
"""

import copy
import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from molebench.cards import Count, NonNegative, victim
from molebench.continual_learners import SMALL, TINY, Curriculum, Knowledge, Lesson, Objective, plain_network
from molebench.expandable import Expandable, expanded, first
from molebench.incremental import frozen
from molebench.rehearsal import remembered

BIBTEX = """
@inproceedings{yan2021der,
  title = {{DER}: Dynamically Expandable Representation for Class Incremental Learning},
  author = {Yan, Shipeng and Xie, Jiangwei and He, Xuming},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  pages = {3014--3023},
  year = {2021}
}
"""

PUBLISHED = Curriculum(
    epochs=200,
    later_epochs=170,
    lr=0.1,
    weight_decay=5e-4,
    later_weight_decay=2e-4,
    schedule="step",
    milestones="60,120,170",
    later_milestones="80,120,150",
)


def grouped(y: Int[Tensor, " n"], old: int) -> Int[Tensor, " n"]:
    """Targets of the auxiliary head: every old class is 0, the task's own are 1, 2, ..."""
    return (y - old + 1).clamp(min=0)


def aligned(weight: Float[Tensor, "k d"], old: int, most: float) -> Float[Tensor, "k d"]:
    """A classifier's rows, those of new classes scaled so that their mean L2 norm is that of the old ones; by a factor
    of at most `most`."""
    norms = weight.norm(dim=1)
    return torch.cat([weight[:old], weight[old:] * (norms[:old].mean() / norms[old:].mean()).clamp(max=most)])


@victim(
    paper="Yan, Xie and He, CVPR 2021",
    scenario="continual",
    dataset="split:fashion_mnist_mini",
    profiles={
        "tiny": {**TINY, "later_epochs": None, "memory": 100},
        "small": {**SMALL, "later_epochs": None, "memory": 500},
    },
    cost="as cl_finetune on task and memory, and a pass of every older backbone for each image",
)
@dataclass(frozen=True)
class DER:
    """training: sizes and schedules. memory: exemplars in all. weight: of the auxiliary loss. align: shrink takes bias
    towards new classes away; always also lengthens rows that are the shorter ones, which is the rule to the letter.
    """

    training: Curriculum = PUBLISHED
    memory: Count = 2000
    weight: NonNegative = 1.0
    align: Literal["shrink", "always"] = "shrink"

    released = ("train_on_moles", "reset_confusion")

    def grown(self, lesson: Lesson) -> nn.Module:
        """The network with a backbone for this task; the first task's has no auxiliary head."""
        if lesson.before is None:
            return first(plain_network(self.training, lesson))
        return expanded(cast(Expandable, lesson.before.network), lesson.new, lesson.init)

    def objective(self, network: nn.Module, lesson: Lesson) -> Objective:
        """Cross-entropy over all classes seen, and the auxiliary head's."""
        learner = cast(Expandable, network)
        older = [frozen(each) for each in learner.older]  # they do not move: folded once, asked for every batch

        def loss(x: Tensor, y: Tensor) -> Tensor:
            f = learner.joined(x, older)
            own = F.cross_entropy(learner.logits(f), y)
            if not older:
                return own
            return own + self.weight * F.cross_entropy(learner.auxiliary(f), grouped(y, lesson.old))

        return loss

    def closed(self, network: nn.Module, lesson: Lesson) -> Knowledge:
        """The network with aligned weights, and the memory, herded by all backbones' features."""
        found = cast(Expandable, copy.deepcopy(network))
        if lesson.old:
            most = 1.0 if self.align == "shrink" else math.inf
            with torch.no_grad():
                found.classifier.weight.copy_(aligned(found.classifier.weight, lesson.old, most))
        return Knowledge(found, remembered(network, lesson, self.memory))

    def scores(self, known: Knowledge, x: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n k"]:
        """z."""
        found: Tensor = known.network(x)
        return found
