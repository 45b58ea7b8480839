"""A course: one learner, one arm, task after task, with a checkpoint after each.

At every task the order is the same: the task's training; where an attacker sent an update, one more epoch on it (the
teacher is the model after the task before, the loss is the task's, exemplars are mixed in, the optimiser is fresh, at
the task's initial rate); then everything that closes the task, once, on the network as it then is; then an exam on the
test items of all classes seen. The extra epoch changes weights and batch-norm statistics and nothing else.

Checkpoints are stages: one of the trained network, one of what is known when the task is closed. Their keys form a
chain, so that arms share all that comes before their first difference, a killed run goes on in the task it was in, and
a damaged checkpoint is made again from the one before.
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from molebench.continual_learners import BATCH, Knowledge, Lesson, Objective
from molebench.exemplars import Memory, indices
from molebench.filtering import rows
from molebench.incremental import frozen
from molebench.offline_learners import update_of
from molebench.plateau import train_to_plateau
from molebench.provenance import metered
from molebench.released import Faults
from molebench.rng import stream, torch_stream
from molebench.scenarios.rate_search import Plan, searched
from molebench.scenarios.school import School, packed, unpacked
from molebench.scenarios.trained import finite, restore, state
from molebench.splits import held_out
from molebench.stages import Arrays, key
from molebench.training import train
from molebench.types import Array, fingerprint
from molebench.updates import Update

HELD_OUT = 0.1  # of a task's images, where the rate waits for a plateau


@runtime_checkable
class Guard(Protocol):
    """What stands between an update and the learner in a defended arm."""

    @property
    def identity(self) -> list[Mapping[str, Any]]:
        """What its doings depend on."""

    @property
    def fits(self) -> bool:
        """Whether its own training takes the place of the extra epoch."""

    def filtered(self, network: nn.Module, lesson: Lesson, update: Update) -> tuple[Int[Array, " m"], list[Any]]:
        """The images of an update that are trained on, and rows of judgement."""

    def scheduled(self, network: nn.Module, lesson: Lesson, index: Int[Array, " m"]) -> Int[Array, " s"] | None:
        """What the extra epoch is trained on, in order; None where it says nothing."""

    def accepted(self, before: nn.Module, after: nn.Module, lesson: Lesson, index: Int[Array, " m"]) -> nn.Module:
        """What is left of the network after the extra epoch."""

    def remembered(self, network: nn.Module, lesson: Lesson) -> Lesson:
        """The lesson with what may be remembered of it."""

    def fitted(self, known: Knowledge, lesson: Lesson, index: Int[Array, " n"]) -> Float[Tensor, "m k"]:
        """Its own scores of the exam's items, in positions."""

    def predicted(self, p: Float[Tensor, "m k"], known: Knowledge, t: int) -> Float[Tensor, "m k"]:
        """Beliefs about the test items, in positions."""


@dataclass(frozen=True, eq=False)
class Exams:
    """predicted: the label given to each test item after each task, -1 for items of classes still to come. filtered:
    rows of molebench/filtering.py. seconds, mib: what it cost."""

    predicted: Int[Array, "t m"]
    filtered: Float[Array, "f w"]
    seconds: float
    mib: float


@dataclass(frozen=True, eq=False)
class Course:
    """One arm. updates: one a task; none in the clean arm. faults: those of the released code that concern this learner
    and this arm."""

    school: School
    name: str
    updates: tuple[Update, ...] = ()
    faults: Faults = Faults()
    guard: Guard | None = None
    held: dict[int, Knowledge] = field(default_factory=dict)  # the last one: the next task needs it

    def exams(self) -> Exams:
        """Plays the whole course, from the last checkpoint that is there."""
        found = [self.closing(t) for t in range(len(self.school.tasks))]
        return Exams(
            np.stack([each["predicted"] for each in found]),
            np.concatenate([each["filtered"] for each in found]),
            float(sum(each["seconds"] for each in found)),
            float(max(each["mib"] for each in found)),
        )

    @property
    def last_key(self) -> str:
        """Names all that this course depends on."""
        return key(self.closing_inputs(len(self.school.tasks) - 1))

    def update(self, t: int) -> Update | None:
        """What came after a task's training; None where nothing did."""
        return self.updates[t] if self.updates and len(self.updates[t]) else None

    def training_inputs(self, t: int) -> dict[str, Any]:
        """What a network depends on that has been trained on a task."""
        school = self.school
        images = school.index(t)
        return {
            **school.identity,
            "before": key(self.closing_inputs(t - 1)) if t else "",
            "task": fingerprint(images, school.pool.x[images], self.school.tasks.position[school.pool.y[images]]),
            "seed": school.seed,
            "attention_grad": self.faults.attention_grad,
        }

    def closing_inputs(self, t: int) -> dict[str, Any]:
        """What is known when a task is closed depends on."""
        school, update = self.school, self.update(t)
        sent = school.pool[update.index] if update else None
        return {
            "trained": key(self.training_inputs(t)),
            "update": fingerprint(update.index, sent.x, sent.y) if update and sent else "",
            "faults": asdict(self.faults) if update else {},
            "guard": list(self.guard.identity) if self.guard else [],
            "test": school.test.fingerprint,
        }

    def training(self, t: int) -> Arrays:
        """The network after a task's training: weights and buffers."""

        def compute() -> Arrays:
            with metered() as cost:
                lesson = self.lesson(t)
                network = self.school.learner.grown(lesson)
                self.fit(network, lesson)
            return {**state(network), "seconds": np.array(cost.seconds), "mib": np.array(cost.peak_mib)}

        label = f"task {t + 1} of {len(self.school.tasks)} ({self.name})"
        return self.school.stages.get("lessons", self.training_inputs(t), compute, label)

    def closing(self, t: int) -> Arrays:
        """What is known when a task is closed, and the exam."""

        def compute() -> Arrays:
            arrays = self.training(t)
            costs = {name: arrays.pop(name) for name in ("seconds", "mib")}
            with metered() as cost:
                lesson = self.lesson(t)
                network = self.school.learner.grown(lesson)
                restore(network, arrays)
                known, filtered, sent = self.closed(network, lesson)
                predicted = self.exam(known, lesson, sent)
            self.held.clear()
            self.held[t] = known
            return {
                **packed(known),
                "predicted": predicted,
                "filtered": filtered,
                "seconds": np.array(cost.seconds + float(costs["seconds"])),
                "mib": np.array(max(cost.peak_mib, float(costs["mib"]))),
            }

        label = f"closing of task {t + 1} of {len(self.school.tasks)} ({self.name})"
        return self.school.stages.get("closings", self.closing_inputs(t), compute, label)

    def known(self, t: int) -> Knowledge:
        """What is known after a task: in hand, or from its checkpoint."""
        if t not in self.held:
            arrays = self.closing(t)
            if t not in self.held:  # it was there and not computed
                self.held.clear()
                self.held[t] = unpacked(arrays, self.school.skeleton(t))
        return self.held[t]

    def lesson(self, t: int) -> Lesson:
        """A task as this arm's learner meets it."""
        faults = self.faults if self.update(t) else Faults(attention_grad=self.faults.attention_grad)
        return self.school.lesson(t, self.known(t - 1) if t else None, faults)

    def fit(self, network: nn.Module, lesson: Lesson) -> None:
        """A task's training, in place, on its images and the exemplars."""
        plan = self.plan(lesson.number)
        objective = plan.applied(self.school.learner).objective(network, lesson)
        kept = np.concatenate([lesson.index, indices(lesson.memory)])
        label = f"task {lesson.number + 1} of {len(self.school.tasks)} ({self.name})"
        self.trained(network, lesson, objective, plan.lr, kept, label)

    def trained(
        self, network: nn.Module, lesson: Lesson, objective: Objective, lr: float, kept: Int[Array, " n"], label: str
    ) -> None:
        """Trains in place on some images, at a rate; where it waits for a plateau, a tenth of the task is held out."""
        school, t = self.school, lesson.number
        recipe, rng = replace(school.recipe(t), lr=lr), torch_stream(school.seed, "victim training", t)
        out = self.held_out(lesson) if recipe.schedule == "plateau" else lesson.index[:0]
        kept = np.setdiff1d(kept, out) if len(out) else kept
        with school.progress(label, recipe.epochs * len(kept)) as advance:
            if len(out):
                data, held = self.images(kept), self.images(out)
                train_to_plateau(network, data, held, recipe, rng, objective, advance)
            else:
                train(network, *self.images(kept), recipe, rng, advance, objective)

    def held_out(self, lesson: Lesson) -> Int[Array, " v"]:
        """A tenth of a task's images, the same share of every class."""
        rng = stream(self.school.seed, "validation", lesson.number)
        return lesson.index[held_out(self.school.pool.y[lesson.index], HELD_OUT, rng)]

    def plan(self, t: int) -> Plan:
        """The rate of a task and the learner's trade-off: as given, or found by search, which is a stage of its own."""
        school = self.school
        if not school.learner.training.search:
            return Plan(school.recipe(t).lr)
        first = self.plan(0).lr if t else None

        def compute() -> Arrays:
            lesson = self.lesson(t)
            out = self.held_out(lesson)
            rest, label = np.setdiff1d(lesson.index, out), f"search for task {t + 1} of {len(school.tasks)}"

            def fit(network: nn.Module, objective: Objective, lr: float) -> None:
                kept = np.concatenate([rest, indices(lesson.memory)])
                self.trained(network, lesson, objective, lr, kept, f"{label}: rate {lr:g} ({self.name})")

            plan = searched(school.learner, lambda: school.learner.grown(self.lesson(t)), lesson, out, first, fit)
            return {"lr": np.array(plan.lr), "weight": np.array(np.nan if plan.weight is None else plan.weight)}

        label = f"search for task {t + 1} ({self.name})"
        found = school.stages.get("searches", self.training_inputs(t), compute, label)
        weight = float(found["weight"])
        return Plan(float(found["lr"]), None if np.isnan(weight) else weight)

    def images(self, index: Int[Array, " n"]) -> tuple[Tensor, Tensor]:
        """Images and positions of some of the pool."""
        rows = torch.from_numpy(np.array(index)).to(self.school.x.device)
        return self.school.x[rows], self.school.y[rows]

    def closed(self, network: nn.Module, lesson: Lesson) -> tuple[Knowledge, Float[Array, "f w"], Int[Array, " m"]]:
        """The extra epoch where there is an update, and then all that closes the task; the images that it was trained
        on."""
        update, learner, judged, sent = self.update(lesson.number), self.school.learner, list[Any](), lesson.index[:0]
        memory = lesson.memory
        if update and self.faults.memory:
            memory = learner.closed(copy.deepcopy(network), lesson).memory
        if update:
            sent = update.index
            if self.guard:
                sent, judged = self.guard.filtered(network, lesson, update)
            network = self.updated(network, lesson, sent, memory)
        if update and self.faults.memory:
            lesson = chosen_again(lesson, update, memory)
        elif self.guard:
            lesson = self.guard.remembered(network, lesson)
        return learner.closed(network, lesson), rows(judged, self.school.shape.classes), sent

    def updated(self, network: nn.Module, lesson: Lesson, index: Int[Array, " m"], memory: Memory) -> nn.Module:
        """The network after the extra epoch, or what a guard leaves of that."""
        if self.guard and self.guard.fits:
            return network
        before = copy.deepcopy(network) if self.guard else network
        self.extra_epoch(network, lesson, index, memory)
        return self.guard.accepted(before, network, lesson, index) if self.guard else network

    def extra_epoch(self, network: nn.Module, lesson: Lesson, index: Int[Array, " m"], memory: Memory) -> None:
        """One more epoch, in place, on the update and the exemplars."""
        school, t = self.school, lesson.number
        if self.faults.teacher:
            lesson = replace(lesson, teacher=frozen(network))
        own = lesson.index if self.faults.train_on_moles else index
        met = np.concatenate([own, indices(memory)])
        planned = self.guard.scheduled(network, lesson, met) if self.guard else None
        data = self.images(met if planned is None else planned)
        plan, order = self.plan(t), torch_stream(school.seed, "update order", t)
        objective = plan.applied(school.learner).objective(network, lesson)
        recipe = replace(update_of(school.recipe(t)), lr=plan.lr, shuffled=planned is None)
        with school.progress(f"extra epoch of task {t + 1} ({self.name})", len(data[0])) as advance:
            train(network, *data, recipe, order, advance, objective)

    def exam(self, known: Knowledge, lesson: Lesson, sent: Int[Array, " n"]) -> Int[Array, " m"]:
        """The label of every test item whose class is known; -1 for the others. sent: what the extra epoch was on."""
        school, asked = self.school, self.school.asked(lesson.number)
        if self.guard and self.guard.fits and len(sent):
            scores = self.guard.fitted(known, lesson, sent)
        else:
            scores = self.scores(known, school.test.x[asked])
        if self.guard:
            scores = self.guard.predicted(scores, known, lesson.number)
        found = np.full(len(school.test), -1, dtype=np.int64)
        found[asked] = school.tasks.order[scores.argmax(dim=1).cpu().numpy()]
        return found

    def scores(self, known: Knowledge, x: Array) -> Float[Tensor, "n s"]:
        """The learner's scores of images, in positions."""
        school, ready = self.school, replace(known, network=frozen(known.network))
        images = torch.from_numpy(np.array(x)).to(school.device)
        with torch.inference_mode():
            return finite(torch.cat([school.learner.scores(ready, part) for part in torch.split(images, BATCH)]))


def chosen_again(lesson: Lesson, update: Update, memory: Memory) -> Lesson:
    """The released code's fault: exemplars come from the update and the memory that was just chosen."""
    mine = np.unique(np.concatenate([update.index, indices(memory[lesson.old :])]))
    before = replace(lesson.before, memory=memory[: lesson.old]) if lesson.before else None
    return replace(lesson, index=mine, before=before)
