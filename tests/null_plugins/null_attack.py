"""An attack that sends nothing."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from molebench.cards import attack
from molebench.types import Poison, Samples, ThreatModel


@attack(paper="none", threat=ThreatModel(may=frozenset({"recruit"})), scenarios=("null",))
@dataclass(frozen=True)
class NullAttack:
    """n: does nothing, differently."""

    n: int = 0

    def craft(self, view: Any, rng: Any) -> Poison:
        """No poison."""
        del view, rng
        return Poison(Samples(np.zeros((0, 1, 1, 1), np.uint8), np.zeros(0, np.int64)), np.zeros(0, np.int64))
