"""Unperturbed: the very base images of a feature collision, injected as they are; what 500 more items do alone.

The control of `feature_collision`: same bases, same classes, same count, no perturbation. What remains of a
drop in accuracy here is not the collision's work.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from molebench.aims import Target
from molebench.cards import Count, attack
from molebench.collision import chosen_bases
from molebench.types import AttackView, Poison, ThreatModel


@attack(
    paper="molebench: the control that the paper lacks",
    threat=ThreatModel(may=frozenset({"inject"}), knows=frozenset({"data", "extractor"})),
    scenarios=("active",),
    profiles={"tiny": {"n_poison": 40}},
)
@dataclass(frozen=True)
class Unperturbed:
    """n_poison: number of images. target: the point whose nearest images are taken.
    base: the images nearest to the target or random ones. balance: as many of every class.
    """

    n_poison: Count = 500
    target: Target = "zero"
    base: Literal["closest", "random"] = "closest"
    balance: bool = True

    def craft(self, view: AttackView, rng: np.random.Generator) -> Poison:
        """The chosen bases, unchanged."""
        bases, index, _ = chosen_bases(view, self.n_poison, self.target, self.base == "closest", self.balance, rng)
        facts = {"collision_ratio": np.ones(len(bases))} if view.extractor else {}
        return Poison(bases, index, facts)
