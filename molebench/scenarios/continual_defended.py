"""Updates of a continual learner behind defenses: transformed, filtered, put in order, accepted or not, predicted from.

A filter sees an update's images in random order, with labels, the network's features of them and its beliefs after the
task's training; what it has been taught in this task and remembers of earlier ones is labelled. Each image that it
removes is replaced by a random one of the same class. A schedule is shown all that the extra epoch would be trained on,
exemplars among it. `fit` takes the place of the extra epoch, and answers the exam after it. `admit` says which images
of a task may be remembered. Transforms apply to all that the learner meets, training and test images alike, for nothing
tells an update from a task.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from molebench.continual_learners import Knowledge, Lesson, over_batches
from molebench.errors import MolebenchError
from molebench.exemplars import indices
from molebench.filtering import judgement
from molebench.hooks import Sees, View
from molebench.incremental import frozen
from molebench.rng import stream
from molebench.scenarios.blended import blended
from molebench.scenarios.school import School
from molebench.scenarios.screening import refilled
from molebench.splits import some_of_each
from molebench.trial import Trial
from molebench.types import Array, Samples
from molebench.updates import Update


@dataclass(frozen=True, eq=False)
class Behind:
    """A school behind the trial's defenses: a `Guard` of its courses."""

    trial: Trial
    school: School

    @property
    def identity(self) -> list[Mapping[str, Any]]:
        """The defenses, and the seed that their draws depend on."""
        return [*self.trial.defense_identity, {"seed": self.trial.seed, "code": self.trial.code}]

    @cached_property
    def secret(self) -> str:
        """A label that no view holds: a seed that was guessed is not enough to draw the orders again."""
        return self.school.test.fingerprint

    def order(self, name: str, n: int, t: int) -> Int[Array, " n"]:
        """A permutation that tells nothing."""
        return stream(self.trial.seed, name, self.secret, t).permutation(n)

    def turn(self, t: int) -> int:
        """What a defense's draws depend on at a task; it tells nothing."""
        return int(stream(self.trial.seed, "turn", self.secret, t).integers(2**31))

    @property
    def fits(self) -> bool:
        """Whether a defense's own training takes the place of the extra epoch."""
        return self.trial.defenses.has("fit")

    def filtered(self, network: nn.Module, lesson: Lesson, update: Update) -> tuple[Int[Array, " m"], list[Any]]:
        """The update's images once the filters have seen them, and their judgement."""
        defenses, t = self.trial.defenses, lesson.number
        if not defenses.has("filter_train"):
            return update.index, []
        order = self.order("filter order", len(update), t)
        index, mole = update.index[order], update.mole[order]
        view = self.view(network, lesson, index, mole)
        keep = defenses.mask("filter_train", view, len(index), self.turn(t), {}, floor=False)
        suspicion = defenses.suspicion("filter_train", view, len(index), self.turn(t))
        row = judgement(t, self.school.pool.y[index], mole, keep, suspicion, self.school.shape.classes)
        kept = np.empty(len(index), dtype=bool)
        kept[order] = keep
        labels = self.school.pool.y[: self.school.own]
        return refilled(update.index, kept, labels, stream(self.trial.seed, "replacements", t)), [row]

    def scheduled(self, network: nn.Module, lesson: Lesson, index: Int[Array, " m"]) -> Int[Array, " s"] | None:
        """What the extra epoch is trained on, in order; None where no defense says."""
        defenses, t = self.trial.defenses, lesson.number
        if not defenses.has("schedule"):
            return None
        mixed = index[self.order("schedule order", len(index), t)]
        view, batch = self.view(network, lesson, mixed), self.school.recipe(t).batch
        planned = defenses.scheduled(lambda sees: replace(view(sees), count=batch), self.turn(t))
        return None if planned is None else np.concatenate([mixed, self.owned(lesson)])[planned]

    def accepted(self, before: nn.Module, after: nn.Module, lesson: Lesson, index: Int[Array, " m"]) -> nn.Module:
        """What the defenses leave of the network after the extra epoch."""
        if not self.trial.defenses.has("accept"):
            return after
        mixed = index[self.order("accept order", len(index), lesson.number)]
        share = self.trial.defenses.accepts(self.compared(before, after, lesson, mixed), self.turn(lesson.number))
        return blended(before, after, share)

    def compared(
        self, before: nn.Module, after: nn.Module, lesson: Lesson, index: Int[Array, " m"]
    ) -> Callable[[Sees], View]:
        """What a defense sees of a network after the extra epoch, beside what it was."""
        view, was, now = self.view(before, lesson, index), frozen(before), frozen(after)

        def shown(sees: Sees) -> View:
            found = replace(view(sees), p=self.beliefs(now, lesson, index), p_before=self.beliefs(was, lesson, index))
            if "trusted" not in sees:
                return found
            p, earlier = (self.beliefs(each, lesson, self.trusted(lesson.number)) for each in (now, was))
            return replace(found, trusted_p=p, trusted_p_before=earlier)

        return shown

    def remembered(self, network: nn.Module, lesson: Lesson) -> Lesson:
        """The lesson with those of its images alone that the defenses let into the memory."""
        defenses, t = self.trial.defenses, lesson.number
        if not defenses.has("admit"):
            return lesson
        order = self.order("admit order", len(lesson.index), t)
        keep = defenses.mask("admit", self.view(network, lesson, lesson.index[order]), len(order), self.turn(t), {})
        return replace(lesson, index=lesson.index[np.sort(order[keep])])

    def fitted(self, known: Knowledge, lesson: Lesson, index: Int[Array, " n"]) -> Float[Tensor, "m s"]:
        """A defense's own answers to the exam: what the learner owns and the update are labelled."""
        school, t = self.school, lesson.number
        asked, own = school.asked(t), np.concatenate([self.owned(lesson), index])
        mixed, mine = (self.order(name, n, t) for name, n in (("fit order", len(asked)), ("own", len(own))))
        x, taught = school.test.x[asked[mixed]], own[mine]
        labelled = {"labelled_x": school.pool.x[taught], "labelled_y": school.pool.y[taught]}
        z, labelled_z = self.features(known, x), self.features(known, school.pool.x[taught])
        view = View(x, z, school.shape.classes, labelled_z=labelled_z, **labelled)
        p = self.trial.defenses.one("fit", lambda sees: view, self.turn(t))
        return self.by_position(p, mixed, t)

    def predicted(self, p: Float[Tensor, "m s"], known: Knowledge, t: int) -> Float[Tensor, "m s"]:
        """Scores of the exam's items, or what a defense makes of the beliefs behind them."""
        if not self.trial.defenses.has("predict"):
            return p
        school = self.school
        asked = school.asked(t)
        mixed = self.order("test order", len(asked), t)
        x = school.test.x[asked[mixed]]
        beliefs = self.by_label(p[torch.from_numpy(mixed)].softmax(dim=1))
        view = View(x, self.features(known, x), beliefs.shape[1], p=beliefs)
        return self.by_position(self.trial.defenses.one("predict", lambda sees: view, self.turn(t)), mixed, t)

    def by_position(self, p: Array | None, mixed: Int[Array, " m"], t: int) -> Float[Tensor, "m s"]:
        """A defense's beliefs about shuffled items, in the exam's order, and of the classes known by position."""
        if p is None:
            raise MolebenchError("no defense answers here")
        back = p[np.argsort(mixed)][:, self.school.tasks.order[: self.school.tasks.seen(t)]]
        return torch.from_numpy(np.ascontiguousarray(back)).to(self.school.device)

    def features(self, known: Knowledge, x: Array) -> Float[Array, "n d"]:
        """The network's features of images."""
        images = torch.from_numpy(np.array(x)).to(self.school.device)
        found = over_batches(frozen(known.network).features, images, np.arange(len(x)))  # type: ignore[arg-type]
        return found.cpu().numpy()

    def by_label(self, p: Float[Tensor, "m s"]) -> Float[Array, "m k"]:
        """Beliefs about classes by position, as beliefs about all of the dataset's labels."""
        order = self.school.tasks.order
        found = np.zeros((len(p), len(order)), dtype=np.float32)
        found[:, order[: p.shape[1]]] = p.cpu().numpy()
        return found

    def beliefs(self, network: nn.Module, lesson: Lesson, index: Int[Array, " n"]) -> Float[Array, "n k"]:
        """What a network that is ready believes of some of the pool."""
        return self.by_label(over_batches(network, lesson.x, index).softmax(dim=1))

    def owned(self, lesson: Lesson) -> Int[Array, " n"]:
        """What the learner has been taught in this task and remembers of earlier ones."""
        return np.concatenate([lesson.index, indices(lesson.memory)])

    def trusted(self, t: int) -> Int[Array, " t"]:
        """Images of the classes known at a task that defenses are shown as clean: as many of each as they ask for."""
        own = np.flatnonzero(self.school.task <= t)
        drawn = stream(self.trial.seed, "trusted", self.secret)
        return own[some_of_each(self.school.pool.y[own], self.trial.defenses.trusted, drawn)]

    def view(
        self, network: nn.Module, lesson: Lesson, index: Int[Array, " m"], mole: Array | None = None
    ) -> Callable[[Sees], View]:
        """What a defense sees of an update's images; `mole` marks moles, for the oracle alone."""
        judged: Any = frozen(network)
        known, pool = self.owned(lesson), self.school.pool

        def features(rows: Int[Array, " n"]) -> Array:
            return over_batches(judged.features, lesson.x, rows).cpu().numpy()

        view = View(
            pool.x[index],
            features(index),
            len(self.school.tasks.order),
            y=pool.y[index],
            p=self.beliefs(judged, lesson, index),
            labelled_x=pool.x[known],
            labelled_z=features(known),
            labelled_y=pool.y[known],
            labelled_p=self.beliefs(judged, lesson, known),
        )

        def shown(sees: Sees) -> View:
            own: dict[str, Any] = {"poison": mole} if "ground_truth" in sees and mole is not None else {}
            if "trusted" in sees:
                rows = self.trusted(lesson.number)
                own |= {"trusted_x": pool.x[rows], "trusted_z": features(rows), "trusted_y": pool.y[rows]}
            return replace(view, **own)

        return shown


def transformed(trial: Trial, school: School) -> School:
    """The school with all images behind the defenses' transforms, which see them shuffled."""
    if not trial.defenses.has("transform"):
        return school

    def changed(samples: Samples, when: str) -> Samples:
        order = stream(trial.seed, "transform order", when, school.test.fingerprint).permutation(len(samples))
        x = np.empty_like(samples.x)
        x[order] = trial.defenses.transformed(samples.x[order], when, len(trial.dataset.classes))
        return Samples(x, samples.y)

    return replace(school, pool=changed(school.pool, "pool"), test=changed(school.test, "test"))
