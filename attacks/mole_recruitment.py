"""Mole recruitment: valid images that confuse two classes, taken from the pool as they are, for one more epoch.

For an attacked class a and a confounding class c: the N images of c that the victim most takes for a (the moles), and N
random images of every other class (Eq. 1 and 2). Nothing is changed, mislabelled or out of balance; what differs from
an honest update is which images of c came.

Adaptive (these suppose that the attacker knows the defense): `most` leaves out the images that a filter of wrong-class
beliefs would remove; `spread` thins the moles, so that no batch stands out: N of them and (spread - 1) N random images
of c, spread N of every other class.

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment: Poisoning of Image Classifiers via Selective Batch Sampling",
arXiv:2303.17080, sections 3 and 4.1; Figs. 3 and 4.
"""

from dataclasses import dataclass

import numpy as np

from molebench.cards import Count, attack
from molebench.errors import MolebenchError
from molebench.moles import Cap, Pair, Percent, check_cap, percentiles, select_all
from molebench.recruiting import by_pair, check_pool, pairs_asked, sizes_asked
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
    profiles={"tiny": {"n": 20}},
    cost="one epoch of k N images and a test a pair: 3 s for 1 000 and 10 000 images of 28x28, ResNet-18, two cores",
)
@dataclass(frozen=True)
class MoleRecruitment:
    """attacked: the class to harm; every class where not given. confounding: the class of the moles; every other one
    where not given. pairs: all of these, or a list such as dog<cat,car<truck (attacked<confounding). n: moles, and
    random images of each other class. sweep_n: sizes to try in place of n, such as 25,50,100,200. percentile: of the
    scores, that is reported as rho; the attack does not depend on it. most: the largest P of any wrong class that a
    mole may have. spread: how many times as large as n images of every class the update is, for the same n moles.
    """

    attacked: str = ""
    confounding: str = ""
    pairs: str = "all"
    n: Count = 100
    sweep_n: str = ""
    percentile: Percent = 99
    most: Cap = 1.0
    spread: Count = 1

    def check(self, view: RecruitView) -> None:
        """Refuses what cannot be recruited, before the victim is trained."""
        pairs_asked(self.attacked, self.confounding, self.pairs, view.classes)
        check_pool(view, max(sizes_asked(self.n, self.sweep_n)) * self.spread)

    def craft(self, view: RecruitView, rng: np.random.Generator) -> Recruitment:
        """An update for every pair and size."""
        if view.scores is None:
            raise MolebenchError("attack mole_recruitment needs the scores of a victim; this scenario shows it none")
        self.check(view)
        sizes, k = sizes_asked(self.n, self.sweep_n), len(view.classes)
        y, draws = view.base.y, by_pair(rng)
        pairs = pairs_asked(self.attacked, self.confounding, self.pairs, view.classes)
        check_cap(view.scores, y, [c for _, c in pairs], max(sizes), self.most)
        moles, rho = select_all(view.scores, y, max(sizes), self.most), percentiles(view.scores, y, self.percentile)
        updates = [
            filled(
                moles[a, c, :n],
                (Pair(a, c, float(rho[a, c]), n),),
                n * self.spread,
                y,
                range(k),
                draws(a, c, n),
                beside=n * (self.spread - 1),
            )
            for a, c in pairs
            for n in sizes
        ]
        return Recruitment(tuple(updates))
