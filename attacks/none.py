"""No attack: the clean arm, trained on as much data as any poisoned one."""

from dataclasses import dataclass

import numpy as np

from molebench.cards import attack
from molebench.types import AttackView, Poison, ThreatModel
from molebench.updates import RecruitView


@attack(paper="molebench", threat=ThreatModel(), scenarios=("active", "offline", "continual"))
@dataclass(frozen=True)
class NoAttack:
    """No parameters."""

    def craft(self, view: AttackView | RecruitView, rng: np.random.Generator) -> Poison:
        """Nothing."""
        del rng
        return Poison(view.base[:0], np.zeros(0, dtype=np.int64))
