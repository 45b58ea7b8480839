"""Mole recruitment in continual learning: images of each task's classes that look like an older one come once more.

Before task t, classes a of earlier tasks and c of this one are paired by falling rho(a, c), each used once, while
rho >= rho_min; an update is N moles of every chosen c and N random images of each other class of the task. The learner
trains on it for one more epoch. Scores come from a model that has never met the learner.

`protocol=as_released` switches on every fault of the authors' released code; each is also a parameter of its own.

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment: Poisoning of Image Classifiers via Selective Batch Sampling",
arXiv:2303.17080, section 5, Tables 3 and 4.
"""

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from molebench.cards import Count, ScorerName, Share, attack
from molebench.errors import MolebenchError
from molebench.moles import Line, Percent, Protocol, percentiles, plan_pairs, published, select_moles
from molebench.released import Faults
from molebench.tasks import Tasks
from molebench.types import Array, ThreatModel
from molebench.updates import Recruitment, RecruitView, Update, filled

BIBTEX = """
@article{wisdom2023mole,
  title = {Mole Recruitment: Poisoning of Image Classifiers via Selective Batch Sampling},
  author = {Wisdom, Ethan and Gokhale, Tejas and Xiao, Chaowei and Yang, Yezhou},
  journal = {arXiv preprint arXiv:2303.17080}, year = {2023},
  eprint = {2303.17080}, archivePrefix = {arXiv}
}
"""

SAFE = 0.1  # by which a reverse rho may be larger


@attack(
    paper="Wisdom, Gokhale, Xiao and Yang, arXiv:2303.17080",
    threat=ThreatModel(may=frozenset({"recruit"}), knows=frozenset({"data"})),
    scenarios=("continual",),
    control="random_recruitment",
    cost="the scorer once; then an epoch of a few hundred images a task",
)
@dataclass(frozen=True)
class ContinualMoles:
    """rho_min: pairs of smaller rho are left out. scorer: who says P(y = a | x). percentile: of the scores, that is
    rho. r: the line for N: published (for percentiles 95, 97, 99), or slope,intercept. unit: N is a multiple of it; the
    victim's batch over the task's classes where not given. overlap: an attacked class may have several confounding
    ones in a task. safe: leaves out a pair whose reverse rho is larger by more than 0.1. no_double: attacks a class in
    one task only. protocol: as_released does all that the released code does otherwise; the parameters that follow
    are its switches, one by one. pool: train_and_test seeks moles among test images too. n_plus_one: one mole more than
    the paper's rule. teacher: just_trained distils the extra epoch from the model that was just trained. memory:
    reselected chooses exemplars again from the extra epoch's images. il2m_statistics: doubled leaves IL2M's
    rectification off. train_on_moles: false trains the extra epoch on the task's own images (DER, SSRE). prototypes:
    doubled shifts SSRE's labels. attention_grad: false makes LwM's attention pass no gradient. reset_confusion: false
    reports running averages (DER, SSRE).
    """

    rho_min: Share = 0.1
    scorer: ScorerName = "surrogate"
    percentile: Percent = 99
    r: str = "published"
    unit: Count | None = None
    overlap: bool = False
    safe: bool = False
    no_double: bool = False
    protocol: Protocol = "paper"
    pool: Literal["train", "train_and_test"] = "train"
    n_plus_one: bool = False
    teacher: Literal["previous", "just_trained"] = "previous"
    memory: Literal["untouched", "reselected"] = "untouched"
    il2m_statistics: Literal["keyed", "doubled"] = "keyed"
    train_on_moles: bool = True
    prototypes: Literal["keyed", "doubled"] = "keyed"
    attention_grad: bool = True
    reset_confusion: bool = True

    @property
    def faults(self) -> Faults:
        """What the learner is made to do as in the released code."""
        if self.protocol == "as_released":
            return Faults(**{f.name: True for f in fields(Faults)})
        return Faults(
            pool=self.pool == "train_and_test",
            teacher=self.teacher == "just_trained",
            memory=self.memory == "reselected",
            il2m_statistics=self.il2m_statistics == "doubled",
            train_on_moles=not self.train_on_moles,
            prototypes=self.prototypes == "doubled",
            attention_grad=not self.attention_grad,
            reset_confusion=not self.reset_confusion,
        )

    def check(self, view: RecruitView) -> None:
        """Refuses what cannot be planned, before anything is trained."""
        self.line()
        if view.tasks is None or len(view.tasks) < 2:
            raise MolebenchError("attack continual_moles needs two tasks or more: what it harms comes in earlier ones")

    def line(self) -> Line:
        """The line r."""
        return published(self.percentile) if self.r == "published" else Line.of(self.r)

    def craft(self, view: RecruitView, rng: np.random.Generator) -> Recruitment:
        """An update for every task; an empty one where no pair is confusable enough, and for the first."""
        self.check(view)
        if view.scores is None or view.tasks is None:
            raise MolebenchError("attack continual_moles needs a scorer and tasks; this scenario shows it none")
        rho, spent, updates = percentiles(view.scores, view.base.y, self.percentile), set[int](), list[Update]()
        for t, draws in enumerate(rng.spawn(len(view.tasks))):
            allowed = candidates(view.tasks, t, rho, spent if self.no_double else set(), self.safe)
            updates.append(self.update(view, view.scores, view.tasks.classes[t], allowed, draws))
            spent |= {pair.attacked for pair in updates[-1].pairs}
        if any(update.pairs for update in updates):
            return Recruitment(tuple(updates))
        most = float(np.nanmax(np.where(earlier(view.tasks), rho, np.nan)))
        return Recruitment((), (f"no pair has rho >= {self.rho_min:g}: the largest is {most:.3g}",))

    def update(
        self, view: RecruitView, scores: Array, classes: tuple[int, ...], allowed: Array, rng: np.random.Generator
    ) -> Update:
        """The moles of a task's pairs, and random images of its other classes."""
        y = view.base.y
        released: Protocol = "as_released" if self.n_plus_one else self.protocol
        unit = self.unit or max(view.batch // len(classes), 1)
        pairs, n = plan_pairs(
            scores, y, self.rho_min, self.percentile, self.line(), unit, 1, released, self.overlap, allowed
        )
        n = min([n, *(int((y == c).sum()) for c in classes)])
        if not pairs:
            return Update(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool))
        moles = [select_moles(scores, y, pair.attacked, pair.confounding, n) for pair in pairs]
        return filled(np.concatenate(moles), tuple(pairs), n, y, classes, rng)


def candidates(tasks: Tasks, t: int, rho: Array, spent: set[int], safe: bool) -> Array:
    """bool [attacked, confounding]: an earlier class, not yet spent, by one of this task."""
    allowed = np.zeros(rho.shape, dtype=bool)
    allowed[np.ix_(tasks.order[: tasks.old(t)], np.array(tasks.classes[t]))] = True
    allowed[list(spent)] = False
    return allowed & (rho + SAFE >= rho.T) if safe else allowed


def earlier(tasks: Tasks) -> Array:
    """bool [attacked, confounding]: the attacked class comes in an earlier task."""
    task = tasks.of(np.arange(len(tasks.order)))
    return task[:, None] < task[None, :]
