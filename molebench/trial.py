"""What a scenario is given for one cell, and what it gives back. The runner fills the first, records the second."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Integer

from molebench.filtering import rows
from molebench.hooks import Pipeline
from molebench.metrics import Metric
from molebench.progress import Progress
from molebench.released import Faults
from molebench.scoring import Score
from molebench.stages import Stages
from molebench.types import Array, Dataset, Poison, ThreatModel
from molebench.updates import Recruitment, Update
from molebench.weights import Weights


@dataclass(frozen=True, eq=False)
class Actor:
    """An attack ready to craft: what it is, what it may do, and what its cached poison depends on.

    check: refuses what the attack cannot do, where it can tell before anything is computed. faults: of the released
    code, that it asks to be reproduced.
    """

    name: str
    craft: Callable[..., Poison | Recruitment]
    threat: ThreatModel
    identity: Mapping[str, Any]
    check: Callable[..., None] | None = None
    faults: Faults = Faults()


@dataclass(frozen=True, eq=False)
class Trial:
    """Everything one cell needs. extractor: f, where the victim has one, with the identity of its weights and code for
    stage keys. victim_identity: what a trained victim depends on.

    control: the attack that shows what the poison would do without its method, or None. scorer: who says P(y | x) where
    the attack asks somebody else than the victim. matched: where defenses filter, the same trial with a random filter
    in their place that removes as many of each class. code: hashes of the
    scenario's and victim's code. versions: of the computing libraries.
    """

    dataset: Dataset
    attack: Actor
    control: Actor | None
    victim: Any
    victim_identity: Mapping[str, Any]
    extractor: Any
    extractor_identity: Mapping[str, Any]
    defenses: Pipeline
    defense_identity: tuple[Mapping[str, Any], ...]
    seed: int
    stages: Stages
    progress: Progress
    code: str
    versions: Mapping[str, str]
    scorer: Score | None = None
    scorer_identity: Mapping[str, Any] = field(default_factory=dict)
    scorer_weights: Weights | None = None
    matched: "Trial | None" = None

    @property
    def trusted(self) -> int:
        """Clean labelled images that the defenses are shown."""
        return self.defenses.trusted * len(self.dataset.classes)


@dataclass(frozen=True, eq=False)
class ArmOutcome:
    """Predictions of one arm on the common test items, and its trace by training."""

    predicted: Int[Array, " m"]
    trace: Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class UpdateArm:
    """Predictions after each update of one arm, on the common test items; filtered: rows of molebench/filtering.py.

    seconds, mib: what it cost, over all updates.
    """

    predicted: Integer[Array, "u m"]
    filtered: Float[Array, "f w"]
    seconds: float
    mib: float

    @classmethod
    def of(cls, found: Sequence[Mapping[str, Array]], items: int, classes: int) -> "UpdateArm":
        """An arm of its updates' cached arrays, a byte an item where there are few classes."""
        empty, small = rows((), classes), np.uint8 if classes <= 256 else np.int64
        return cls(
            np.array([each["predicted"].astype(small) for each in found], dtype=small).reshape(-1, items),
            np.concatenate([empty, *(each.get("filtered", empty) for each in found)]),
            float(sum(each["seconds"] for each in found)),
            float(max((each["mib"] for each in found), default=0.0)),
        )


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a scenario found. y: labels of the test items that every arm was judged on.

    updates, update_arms, update_scores: where a victim was updated, each update, the arms by name, and for each pair of
    each update the mean score of its moles. trusted: of how many items somebody was shown what nobody could know.
    """

    y: Int[Array, " m"]
    arms: Mapping[str, ArmOutcome]
    metrics: Mapping[str, Metric]
    poison: Poison | Recruitment
    violations: list[str]
    splits: Mapping[str, str]  # name -> fingerprint of the samples that this trial used
    sizes: Mapping[str, int]
    poison_facts: Mapping[str, Array] = field(default_factory=dict)
    illustration: Mapping[str, Array] = field(default_factory=dict)  # the arrays that only pictures need
    warnings: list[str] = field(default_factory=list)
    updates: tuple[Update, ...] = ()
    update_arms: Mapping[str, UpdateArm] = field(default_factory=dict)
    update_scores: Sequence[Sequence[float]] = ()
    trusted: Mapping[str, int] = field(default_factory=dict)


def fact_summary(facts: Mapping[str, Array]) -> dict[str, dict[str, float]]:
    """Mean, median, smallest and largest of each fact over poisons."""
    shown = {name: np.asarray(values, dtype=np.float64) for name, values in facts.items() if len(values)}
    return {
        name: {"mean": float(v.mean()), "median": float(np.median(v)), "min": float(v.min()), "max": float(v.max())}
        for name, v in shown.items()
    }
