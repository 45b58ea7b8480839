"""What a scenario is given for one cell, and what it gives back. The runner fills the first, records the second."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int

from molebench.hooks import Pipeline
from molebench.metrics import Metric
from molebench.progress import Progress
from molebench.stages import Stages
from molebench.types import Array, Dataset, Poison, ThreatModel


@dataclass(frozen=True, eq=False)
class Actor:
    """An attack ready to craft: what it is, what it may do, and what its cached poison depends on."""

    name: str
    craft: Callable[..., Poison]
    threat: ThreatModel
    identity: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Trial:
    """Everything one cell needs. extractor: f, with the identity of its weights and code for stage keys.

    control: the attack that shows what the poison would do without its method, or None. code: hashes of the
    scenario's and victim's code. versions: of the computing libraries.
    """

    dataset: Dataset
    attack: Actor
    control: Actor | None
    victim: Any
    extractor: Callable[..., Any]
    extractor_identity: Mapping[str, Any]
    defenses: Pipeline
    defense_identity: tuple[Mapping[str, Any], ...]
    seed: int
    stages: Stages
    progress: Progress
    code: str
    versions: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class ArmOutcome:
    """Predictions of one arm on the common test items, and its trace by training."""

    predicted: Int[Array, " m"]
    trace: Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a scenario found. y: labels of the test items that every arm was judged on."""

    y: Int[Array, " m"]
    arms: Mapping[str, ArmOutcome]
    metrics: Mapping[str, Metric]
    poison: Poison
    violations: list[str]
    splits: Mapping[str, str]  # name -> fingerprint of the samples that this trial used
    sizes: Mapping[str, int]
    poison_facts: Mapping[str, Array] = field(default_factory=dict)
    illustration: Mapping[str, Array] = field(default_factory=dict)  # the arrays that only pictures need
    warnings: list[str] = field(default_factory=list)


def fact_summary(facts: Mapping[str, Array]) -> dict[str, dict[str, float]]:
    """Mean, median, smallest and largest of each fact over poisons."""
    shown = {name: np.asarray(values, dtype=np.float64) for name, values in facts.items() if len(values)}
    return {
        name: {"mean": float(v.mean()), "median": float(np.median(v)), "min": float(v.min()), "max": float(v.max())}
        for name, v in shown.items()
    }
