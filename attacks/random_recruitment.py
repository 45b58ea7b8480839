"""Random recruitment: the same update with random images in place of the moles; what one more epoch does by itself.

The control of the mole attacks: as many images of every class, trained on for the same epoch in the same order. Beside
an attack it keeps that attack's random images and draws others for its moles only, once for every pair, so that its
worst pair is the worst of as many: what is left of a difference is the moles' work. The papers have no such control.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from molebench.cards import Count, attack
from molebench.errors import MolebenchError
from molebench.moles import Pair
from molebench.recruiting import by_pair, check_pool, pairs_asked, sizes_asked
from molebench.tasks import Tasks
from molebench.types import Array, ThreatModel
from molebench.updates import Recruitment, RecruitView, Update, filled, order_of


@attack(
    paper="molebench: the control that the paper lacks",
    threat=ThreatModel(may=frozenset({"recruit"}), knows=frozenset({"data"})),
    scenarios=("offline", "continual"),
    profiles={"tiny": {"n": 20}},
    cost="as mole_recruitment",
)
@dataclass(frozen=True)
class RandomRecruitment:
    """attacked: the class whose change is reported; every class where not given. confounding: the class of the images
    that stand for moles; every other one where not given. pairs: all of these, or a list such as dog<cat,car<truck.
    n: images of each class (in continual learning, of each of a task's classes). sweep_n: sizes to try in place of n,
    such as 25,50,100,200.
    """

    attacked: str = ""
    confounding: str = ""
    pairs: str = "all"
    n: Count = 100
    sweep_n: str = ""

    def check(self, view: RecruitView) -> None:
        """Refuses what cannot be drawn."""
        if view.tasks is not None:
            check_tasks(view, self.n, any((self.attacked, self.confounding, self.sweep_n, self.pairs != "all")))
            return
        pairs_asked(self.attacked, self.confounding, self.pairs, view.classes)
        check_pool(view, max(sizes_asked(self.n, self.sweep_n)))

    def craft(self, view: RecruitView, rng: np.random.Generator) -> Recruitment:
        """A random update for every pair and size, or for every update of the attack whose control this is."""
        draws = by_pair(rng)
        if view.like is not None:
            return Recruitment(tuple(without_moles(u, view.base.y, draws(*order_of(u))) for u in view.like.updates))
        self.check(view)
        if view.tasks is not None:
            return Recruitment(tuple(of_tasks(view.tasks, view.base.y, self.n, rng)))
        k, none = len(view.classes), np.zeros(0, dtype=np.int64)
        return Recruitment(
            tuple(
                filled(none, (Pair(a, c, float("nan"), n),), n, view.base.y, range(k), draws(a, c, n))
                for a, c in pairs_asked(self.attacked, self.confounding, self.pairs, view.classes)
                for n in sizes_asked(self.n, self.sweep_n)
            )
        )


def of_tasks(tasks: Tasks, labels: Array, n: int, rng: np.random.Generator) -> Iterator[Update]:
    """For every task but the first, n random images of each of its classes."""
    none = np.zeros(0, dtype=np.int64)
    for t, draws in enumerate(rng.spawn(len(tasks))):
        yield filled(none, (), n, labels, tasks.classes[t] if t else (), draws)


def check_tasks(view: RecruitView, n: int, pairs_given: bool) -> None:
    """Refuses, for a continual learner, pairs (it has none of its own) and more images than a class has."""
    if pairs_given:
        raise MolebenchError("random_recruitment has no pairs in the continual scenario; leave all but n out")
    if n > view.sizes.min():
        raise MolebenchError(f"n={n} images of every class; the smallest has {view.sizes.min()}: choose a smaller n")


def without_moles(update: Update, labels: Array, rng: np.random.Generator) -> Update:
    """The update with as many random images of each class in place of its moles; the others stay where they are."""
    index = update.index.copy()
    for c in np.unique(labels[update.index[update.mole]]):
        here = update.mole & (labels[update.index] == c)
        others = update.index[~update.mole]
        free = np.setdiff1d(np.flatnonzero(labels == c), others)
        index[here] = rng.choice(free, int(here.sum()), replace=False)
    return Update(index, np.zeros(len(index), dtype=bool), update.pairs)
