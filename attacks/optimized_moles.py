"""Optimised mole recruitment: the best pairs compounded in one update, as many moles of each as should hurt most.

Pairs are ranked by rho, the 99th percentile of P(y = a | x in c), and taken greedily while no class is in two of them
and rho >= rho_min. For each, N is the size at which the moles' mean score falls to r(rho); the update holds the mean of
these N, rounded to a multiple of `unit`, as moles of every chosen c and as random images of every other class
(Eq. 5 and 6).

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment: Poisoning of Image Classifiers via Selective Batch Sampling",
arXiv:2303.17080, section 4.3, Tables 2 and 5.
"""

from dataclasses import dataclass

import numpy as np

from molebench.cards import Count, Share, Whole, attack
from molebench.errors import MolebenchError
from molebench.moles import Line, Percent, Protocol, percentiles, plan_pairs, published, select_moles
from molebench.recruiting import check_pool
from molebench.types import ThreatModel
from molebench.updates import Recruitment, RecruitView, filled

BIBTEX = """
@article{wisdom2023mole,
  title = {Mole Recruitment: Poisoning of Image Classifiers via Selective Batch Sampling},
  author = {Wisdom, Ethan and Gokhale, Tejas and Xiao, Chaowei and Yang, Yezhou},
  journal = {arXiv preprint arXiv:2303.17080}, year = {2023},
  eprint = {2303.17080}, archivePrefix = {arXiv}
}
"""


@attack(
    paper="Wisdom, Gokhale, Xiao and Yang, arXiv:2303.17080",
    threat=ThreatModel(may=frozenset({"recruit"}), knows=frozenset({"data", "victim"})),
    scenarios=("offline",),
    control="random_recruitment",
    profiles={"tiny": {"unit": 10}},
    cost="one update, whatever the number of pairs",
)
@dataclass(frozen=True)
class OptimizedMoles:
    """rho_min: pairs of smaller rho are left out. percentile: of the scores, that is rho. r: the line for N:
    published (for percentiles 95, 97, 99), or slope,intercept as a sweep of n measures them.
    unit: the common size is a multiple of it. min_units: the least multiple; with 0 nothing may be recruited at all.
    protocol: as_released takes one mole more than the paper's rule. overlap: a class may be in several pairs, as the
    paper suggests for future work, but confounding in one only.
    """

    rho_min: Share = 0.1
    percentile: Percent = 99
    r: str = "published"
    unit: Count = 50
    min_units: Whole = 1
    protocol: Protocol = "paper"
    overlap: bool = False

    def check(self, view: RecruitView) -> None:
        """Refuses what cannot be planned, before the victim is trained."""
        self.line()
        check_pool(view, max(self.unit * self.min_units, 1))

    def line(self) -> Line:
        """The line r."""
        return published(self.percentile) if self.r == "published" else Line.of(self.r)

    def craft(self, view: RecruitView, rng: np.random.Generator) -> Recruitment:
        """One update with the moles of every chosen pair; none, and why, where no pair is confusable enough."""
        if view.scores is None:
            raise MolebenchError("attack optimized_moles needs the scores of a victim; this scenario shows it none")
        self.check(view)
        scores, y, k = view.scores, view.base.y, len(view.classes)
        pairs, n = plan_pairs(
            scores,
            y,
            self.rho_min,
            self.percentile,
            self.line(),
            self.unit,
            self.min_units,
            self.protocol,
            self.overlap,
        )
        if not pairs:
            most = float(np.nanmax(percentiles(scores, y, self.percentile)))
            return Recruitment((), (f"no pair has rho >= {self.rho_min:g}: the largest is {most:.3g}",))
        check_pool(view, n)
        moles = [select_moles(scores, y, pair.attacked, pair.confounding, n) for pair in pairs] if n else []
        found = np.concatenate([*moles, np.zeros(0, dtype=np.int64)])
        return Recruitment((filled(found, tuple(pairs), n, y, range(k), rng),))
