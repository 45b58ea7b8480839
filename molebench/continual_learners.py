"""What every class-incremental learner shares: how long and how fast it trains, and what it carries from task to task.

A learner is asked four things, in this order, at every task: what network learns the task (`grown`), what a batch of
it costs (`objective`), what it knows once the task is closed (`closed`), and how it scores classes (`scores`). None of
them but training changes what it is given; `Knowledge` is all that passes from one task to the next.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int, UInt8
from torch import Generator, Tensor, nn

from molebench import backbones
from molebench.cards import Count, NonNegative, Positive, Share, Whole
from molebench.classifiers import Shape, initialised, statistics
from molebench.errors import MolebenchError
from molebench.exemplars import Memory
from molebench.incremental import Incremental, grown
from molebench.offline_learners import Augment, augments
from molebench.released import Faults
from molebench.training import Recipe
from molebench.types import Array

Objective = Callable[[UInt8[Tensor, "n h w c"], Int[Tensor, " n"]], Float[Tensor, ""]]
OFTEN = 10_000  # images: compiling takes as long as is gained on them, five seconds
BATCH = 500  # of a forward pass; no figure depends on it
# sizes and schedules alone: minutes a run on two cores, and seconds
SMALL: dict[str, Any] = {"pool": 5000, "exam": 4000, "epochs": 4, "batch": 32, "lr": 0.05, "schedule": "linear"}
TINY: dict[str, Any] = {"pool": 500, "epochs": 3, "batch": 25, "lr": 0.05, "schedule": "linear"}


@dataclass(frozen=True)
class Curriculum:
    """tasks: the dataset's classes are split into so many. base: the first so many tasks are learnt as one.
    backbone: of the network. epochs: of the first task. later_epochs: of each later one; as many where not given.
    batch: images a step. lr: initial rate of the first task. later_lr: of each later one; the same where not given.
    optimiser: of the weights. momentum: of SGD. weight_decay: strength of the L2 penalty. later_weight_decay: of later
    tasks; the same where not given. schedule: of the rate; plateau is a third of it after ten epochs without gain on a
    tenth of the images held out, and the end below 1e-4; step a tenth from each milestone on; linear falls to zero.
    milestones: epochs of the first task, such as 60,120,170. later_milestones: of later tasks; the same where not
    given. augment: crops and flips (auto: for colour images). arithmetic: of the backbone; bfloat16 is faster where the
    processor has it. pool: most training images, the same share of every class; all where not given. exam: most test
    items, likewise. search: finds rate and trade-off of each task by grid. seed: fixes the model alone; the cell's seed
    where not given.
    """

    tasks: Count = 5
    base: Count = 1
    backbone: backbones.Name = "resnet32"
    epochs: Count = 200
    later_epochs: Count | None = None
    batch: Count = 128
    lr: Positive = 0.1
    later_lr: Positive | None = None
    optimiser: Literal["sgd", "adam"] = "sgd"
    momentum: Share = 0.9
    weight_decay: NonNegative = 2e-4
    later_weight_decay: NonNegative | None = None
    schedule: Literal["plateau", "step", "linear", "constant"] = "plateau"
    milestones: str = ""
    later_milestones: str = ""
    augment: Augment = "auto"
    arithmetic: backbones.Arithmetic = "float32"
    pool: Count | None = None
    exam: Count | None = None
    search: bool = False
    seed: Whole | None = None

    def recipe(self, task: int, shape: Shape) -> Recipe:
        """How a task is trained."""
        later = task > 0
        return Recipe(
            (later and self.later_epochs) or self.epochs,
            self.batch,
            (later and self.later_lr) or self.lr,
            self.optimiser,
            self.momentum,
            self.later_weight_decay if later and self.later_weight_decay is not None else self.weight_decay,
            self.schedule,
            epochs_listed((later and self.later_milestones) or self.milestones),
            augments(self.augment, shape),
        )


def epochs_listed(text: str) -> tuple[float, ...]:
    """'60,120,170' as numbers."""
    try:
        return tuple(float(part) for part in text.split(",") if part)
    except ValueError:
        raise MolebenchError(f"victim.milestones={text!r}; expected epochs such as 60,120,170") from None


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What a learner carries from task to task. memory: indices into the pool by class. facts: what else it keeps, as
    arrays by name (statistics, prototypes)."""

    network: nn.Module
    memory: Memory = ()
    facts: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Lesson:
    """One task as a learner meets it. x, y: the whole training pool and the position of each label. index: the task's
    own images. old, new: classes before, and in it. before: what is known so far; None at the first. teacher: a frozen
    copy of the network before. faults: of the released code, to be reproduced. init: draws new weights.
    """

    number: int
    old: int
    new: int
    shape: Shape
    x: UInt8[Tensor, "p h w c"]
    y: Int[Tensor, " p"]
    index: Int[Array, " n"]
    before: Knowledge | None
    teacher: nn.Module | None
    faults: Faults
    init: Generator

    @property
    def seen(self) -> int:
        """Classes known once it is learnt."""
        return self.old + self.new

    @property
    def memory(self) -> Memory:
        """The exemplars of earlier classes; none where nothing is kept."""
        return self.before.memory if self.before else ()


@runtime_checkable
class ContinualLearner(Protocol):
    """What the scenario needs of a victim. One that the authors' released code has wrong names its faults in a class
    attribute `released`: the switches of molebench/released.py that concern it."""

    @property
    def training(self) -> Curriculum:
        """Sizes and schedules."""

    def grown(self, lesson: Lesson) -> nn.Module:
        """The network that learns this task, from `lesson.before.network` alone; closing it does not change its
        structure."""

    def objective(self, network: nn.Module, lesson: Lesson) -> Objective:
        """The loss of a batch: images as stored, and positions."""

    def closed(self, network: nn.Module, lesson: Lesson) -> Knowledge:
        """Everything that closes a task, once, on the network as it then is."""

    def scores(self, known: Knowledge, x: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n k"]:
        """A score of every class seen, the highest predicted; `known` holds a frozen network."""


def plain_network(training: Curriculum, lesson: Lesson, freeze_old_heads: bool = False) -> Incremental:
    """The network before, its head grown by this task's classes; at the first task a new one."""
    if lesson.before is None:
        body = initialised(
            lambda: backbones.backbone(training.backbone, lesson.shape, training.arithmetic), lesson.init
        )
        if compiling_pays(training, lesson):
            from molebench.winograd import with_tiles  # which brings the compiler

            with_tiles(body)
        first = Incremental(body, *statistics(lesson.x[lesson.index].cpu().numpy()))  # type: ignore[arg-type]
        return grown(first.to(lesson.x.device), lesson.new, lesson.init)
    found = grown(cast(Incremental, lesson.before.network), lesson.new, lesson.init)
    if freeze_old_heads:
        found.heads[:-1].requires_grad_(False)
    return found


def compiling_pays(training: Curriculum, first: Lesson) -> bool:
    """Whether so many images are trained on, if there are as many of each class as in the first task, that compiling
    convolutions pays. What decides is what names a checkpoint: parameters, and the images of its tasks."""
    images = training.epochs * len(first.index) * first.shape.classes // first.new
    return training.arithmetic == "float32" and first.x.device.type == "cpu" and images >= OFTEN


def features_of(network: Any, x: UInt8[Tensor, "p h w c"], index: Int[Array, " n"]) -> Float[Tensor, "n d"]:
    """f of some images of the pool, by a frozen network."""
    return over_batches(network.features, x, index)


def over_batches(ask: Callable[[Tensor], Tensor], x: UInt8[Tensor, "p h w c"], index: Int[Array, " n"]) -> Tensor:
    """What a frozen network says of some images of the pool, row by row."""
    with torch.inference_mode():
        return torch.cat([ask(x[part]) for part in torch.split(torch.from_numpy(index.copy()).to(x.device), BATCH)])
