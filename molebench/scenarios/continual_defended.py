"""Updates of a continual learner behind defenses: transformed, filtered, accepted or not, and predicted from.

A filter sees an update's images in random order, with labels, the network's features of them and its beliefs after the
task's training; what it has been taught in this task and remembers of earlier ones is labelled. Each image that it
removes is replaced by a random one of the same class. Transforms apply to all that the learner meets, training and test
images alike, for nothing tells an update from a task.
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
from molebench.exemplars import indices
from molebench.hooks import Sees, View
from molebench.incremental import frozen
from molebench.rng import stream
from molebench.scenarios.school import School
from molebench.scenarios.screening import judgement, refilled
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

    def admitted(self, network: nn.Module, lesson: Lesson, update: Update) -> tuple[Int[Array, " m"], list[Any]]:
        """The update's images once the filters have seen them, and their judgement."""
        defenses, t = self.trial.defenses, lesson.number
        if not defenses.has("filter_train"):
            return update.index, []
        order = self.order("filter order", len(update), t)
        index, mole = update.index[order], update.mole[order]
        view = self.view(network, lesson, index, mole)
        keep = defenses.mask("filter_train", view, len(index), self.turn(t), {}, floor=False)
        row = judgement(t, keep, mole, defenses.suspicion("filter_train", view, len(index), self.turn(t)))
        kept = np.empty(len(index), dtype=bool)
        kept[order] = keep
        labels = self.school.pool.y[: self.school.own]
        return refilled(update.index, kept, labels, stream(self.trial.seed, "replacements", t)), [row]

    def accepts(self, network: nn.Module, lesson: Lesson, index: Int[Array, " m"]) -> bool:
        """Whether the defenses keep the network after the extra epoch."""
        if not self.trial.defenses.has("accept"):
            return True
        mixed = index[self.order("accept order", len(index), lesson.number)]
        return self.trial.defenses.accepts(self.view(network, lesson, mixed, None), self.turn(lesson.number))

    def predicted(self, p: Float[Tensor, "m s"], known: Knowledge, t: int) -> Float[Tensor, "m s"]:
        """Scores of the exam's items, or what a defense makes of the beliefs behind them."""
        if not self.trial.defenses.has("predict"):
            return p
        school = self.school
        asked = np.flatnonzero(school.tasks.of(school.test.y) <= t)
        mixed = self.order("test order", len(asked), t)
        x = school.test.x[asked[mixed]]
        images = torch.from_numpy(np.array(x)).to(p.device)
        z = over_batches(known.network.features, images, np.arange(len(x)))  # type: ignore[arg-type]
        beliefs = self.by_label(p[torch.from_numpy(mixed)].softmax(dim=1))
        view = View(x, z.cpu().numpy(), beliefs.shape[1], p=beliefs)
        changed = self.trial.defenses.one("predict", lambda sees: view, self.turn(t))
        if changed is None:
            return p
        back = changed[np.argsort(mixed)][:, school.tasks.order[: p.shape[1]]]
        return torch.from_numpy(np.ascontiguousarray(back)).to(p.device)

    def by_label(self, p: Float[Tensor, "m s"]) -> Float[Array, "m k"]:
        """Beliefs about classes by position, as beliefs about all of the dataset's labels."""
        order = self.school.tasks.order
        found = np.zeros((len(p), len(order)), dtype=np.float32)
        found[:, order[: p.shape[1]]] = p.cpu().numpy()
        return found

    def view(
        self, network: nn.Module, lesson: Lesson, index: Int[Array, " m"], mole: Array | None
    ) -> Callable[[Sees], View]:
        """What a defense sees of an update's images; `mole` marks moles, for the oracle alone."""
        judged: Any = frozen(network)
        known = np.concatenate([lesson.index, indices(lesson.memory)])
        pool = self.school.pool

        def features(rows: Int[Array, " n"]) -> Array:
            return over_batches(judged.features, lesson.x, rows).cpu().numpy()

        view = View(
            pool.x[index],
            features(index),
            len(self.school.tasks.order),
            y=pool.y[index],
            p=self.by_label(over_batches(judged, lesson.x, index).softmax(dim=1)),
            labelled_x=pool.x[known],
            labelled_z=features(known),
            labelled_y=pool.y[known],
        )
        return lambda sees: replace(view, poison=mole) if "ground_truth" in sees and mole is not None else view


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
