"""Who stands where on a board: for each setting, the defenses in order of what the worst attack leaves of them.

A setting is what must be alike for two defenses to be compared: victim, dataset, profile and all their parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ranked", "provisional", "shown"]


@dataclass(frozen=True)
class Interval:
    """A figure in points with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Met:
    """What one attack did to a defense. keys: of the records, one a seed. figure: None where no record holds it."""

    attack: str
    keys: tuple[str, ...]
    figure: Interval | None


@dataclass(frozen=True)
class Entry:
    """A defense (or none) in a setting. state: ranked has rank and group; why: what keeps it from a rank, else "".

    rank: from best to worst place that the data allow. group: 1 is the best; entries of one group cannot be told apart.
    """

    defense: str
    score: Interval
    worst: str  # the attack that does most harm
    met: tuple[Met, ...]
    missing: tuple[str, ...]  # attacks that others have met
    seeds: int
    cost: Interval | None  # of the defense where nothing attacks: clean_cost
    state: State
    why: str
    rank: tuple[int, int] | None
    group: int | None
    tier: str = "claimed"


@dataclass(frozen=True)
class Setting:
    """What is alike. name: file-safe and unique on a board. apart: parameters that set it apart from its like."""

    name: str
    scenario: str
    victim: str
    dataset: str
    profile: str
    apart: str


@dataclass(frozen=True)
class Standings:
    """A setting's entries: the ranked by score, then the provisional by score, then what is only shown."""

    setting: Setting
    figure: str  # the metric that the score is of: delta_total, mean_delta_a, delta_a
    attacks: tuple[str, ...]
    entries: Sequence[Entry]
