"""The figures of an active-learning cell, from its arms: Deltas, success, what a defense costs and saves.

Reference: Mueller, Boettinger, arXiv:2101.10792, Table 1, for the success rates; the rest is the benchmark's.
"""

from collections.abc import Mapping

import numpy as np

from molebench import metrics
from molebench.filtering import of_a_defense
from molebench.metrics import Metric
from molebench.rng import stream
from molebench.scenarios.query_loop import Arm
from molebench.trial import Trial
from molebench.types import Array, Poison


def success_rate(arm: Arm, poisons: int) -> float:
    """Poisons among the labels bought, of as many as could be (the paper's 'attack success rate')."""
    return float(arm.poisoned.sum()) / max(min(len(arm.queried), poisons), 1)


def random_success_rate(poisons: int, queries: int, clean_pool: int, seed_size: int) -> float:
    """The success rate of random queries: max(poisons, queries) / (clean pool - seed labels).

    The paper's poisons / (clean pool - seed labels) where there are as many poisons as queries, as in its table;
    with fewer poisons the success rate's denominator is smaller, and chance rises with it.
    """
    return max(poisons, queries) / max(clean_pool - seed_size, 1)


def figures(
    trial: Trial, y: Array, arms: Mapping[str, Arm], poison: Poison, facts: Mapping[str, Array], clean_pool: int
) -> dict[str, Metric]:
    """Every metric of the scenario, from the arms' predictions."""
    k, rng = len(trial.dataset.classes), stream(trial.seed, "bootstrap")
    clean, hit = arms["clean_undefended"], arms["poisoned_undefended"]
    found = metrics.deltas(y, clean.predicted, hit.predicted, k, rng)
    found["accuracy_clean"] = metrics.accuracy("accuracy_clean", y, clean.predicted, rng)
    found["accuracy_poisoned"] = metrics.accuracy("accuracy_poisoned", y, hit.predicted, rng)
    found["accuracy_seed_only"] = metrics.accuracy("accuracy_seed_only", y, clean.seed_predicted, rng)
    if control := arms.get("control_undefended"):
        found["accuracy_control"] = metrics.accuracy("accuracy_control", y, control.predicted, rng)
        found |= metrics.renamed(metrics.deltas(y, control.predicted, hit.predicted, k, rng), "_vs_control")
    if len(poison):
        chance = random_success_rate(len(poison), len(hit.queried), clean_pool, trial.victim.seed_size)
        found["success_rate"] = metrics.count("success_rate", success_rate(hit, len(poison)))
        found["random_success_rate"] = metrics.count("random_success_rate", chance)
        for name in ("collision_ratio", "psnr", "snr"):
            if name in facts:
                found[name] = metrics.over_items(name, facts[name], rng)
    return found | defended_figures(y, arms, k, len(poison), rng, trial.trusted)


def defended_figures(
    y: Array, arms: Mapping[str, Arm], k: int, poisons: int, rng: np.random.Generator, trusted: int
) -> dict[str, Metric]:
    """What a defense costs and saves; nothing where there is none."""
    if "poisoned_defended" not in arms:
        return {}
    clean, kept = arms["clean_undefended"].predicted, arms["poisoned_defended"].predicted
    own = arms["clean_defended"].predicted
    found = metrics.renamed(metrics.deltas(y, clean, kept, k, rng), "_defended")
    found |= metrics.renamed(metrics.deltas(y, own, kept, k, rng), "_defended_own")
    cost = metrics.deltas(y, clean, own, k, rng)["delta_total"]
    hit = arms["poisoned_undefended"].predicted
    if back := metrics.recovery(y, clean, hit, kept, rng):
        found["recovery"] = back
    if matched := arms.get("poisoned_matched"):
        found |= metrics.renamed(metrics.deltas(y, clean, matched.predicted, k, rng), "_matched")
        if back := metrics.recovery(y, clean, hit, matched.predicted, rng):
            found |= metrics.renamed({"recovery": back}, "_matched")
    found["clean_cost"] = Metric(cost.value, cost.low, cost.high, metrics.definition("clean_cost"))
    defended, undefended = arms["poisoned_defended"], arms["poisoned_undefended"]
    found["success_rate_defended"] = metrics.count("success_rate_defended", success_rate(defended, poisons))
    seconds, mib = (defended.seconds, undefended.seconds), (defended.mib, undefended.mib)
    return found | of_a_defense(seconds, mib, defended.filtered, trusted)
