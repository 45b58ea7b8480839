"""The figures of an offline cell: what each update did to the attacked class, the confounding one, the others and all.

Every figure is a function of the predictions before and after, under weights of the test items: row 0 of the weights is
the figure itself, the other rows are bootstrap samples, the same for every figure, so that all differences are paired.

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment", arXiv:2303.17080, Table 1 for the statistics over pairs; the
control and what comes with it is the benchmark's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Integer

from molebench import metrics
from molebench.filtering import of_a_defense
from molebench.metrics import Metric
from molebench.moles import fit_r
from molebench.rng import stream
from molebench.stats import resamples
from molebench.trial import Trial, UpdateArm
from molebench.types import Array
from molebench.updates import Update

# a row of `after` for each figure, and the row of what it is compared with
COMPARED = {
    "": ("poisoned_undefended", "before"),
    "_vs_control": ("poisoned_undefended", "control_undefended"),
    "_control": ("control_undefended", "before"),
    "_defended": ("poisoned_defended", "before"),
    "_defended_own": ("poisoned_defended", "clean_defended"),
    "_matched": ("poisoned_matched", "before"),
}


@dataclass(frozen=True, eq=False)
class Shifts:
    """Deltas in points under each weighting: of the attacked and confounding class of every pair, of the mean of the
    classes in no pair of an update, and of all test items."""

    attacked: Float[Array, "b e"]
    confounding: Float[Array, "b e"]
    other: Float[Array, "b u"]
    total: Float[Array, "b u"]


def figures(
    trial: Trial,
    y: Int[Array, " m"],
    before: Integer[Array, " m"],
    arms: Mapping[str, UpdateArm],
    updates: Sequence[Update],
    mean_scores: Sequence[Sequence[float]],
    fit: float,
) -> dict[str, Metric]:
    """Every metric of the scenario. fit: train accuracy of the victim. mean_scores: of each update's pairs."""
    weights = weightings(len(y), stream(trial.seed, "bootstrap"))
    k = len(trial.dataset.classes)
    found = {
        "accuracy_clean": accuracy("accuracy_clean", weights, (before == y)[None]),
        "accuracy_train": metrics.count("accuracy_train", fit),
    }
    if not updates:
        return found
    right = {"before": (before == y)[None], **{name: arm.predicted == y for name, arm in arms.items()}}
    found["accuracy_poisoned"] = accuracy("accuracy_poisoned", weights, right["poisoned_undefended"])
    if "control_undefended" in right:
        found["accuracy_control"] = accuracy("accuracy_control", weights, right["control_undefended"])
    shifted = {
        suffix: shifts(weights, y, right[reference], right[arm], updates, k)
        for suffix, (arm, reference) in COMPARED.items()
        if arm in right and reference in right
    }
    for suffix, each in shifted.items():
        found |= {f"{name}{suffix}": figure for name, figure in statistics(each, updates, suffix).items()}
    found["n_pairs"] = metrics.count("n_pairs", len({(p.attacked, p.confounding) for u in updates for p in u.pairs}))
    found["n_attacked"] = metrics.count("n_attacked", len({p.attacked for u in updates for p in u.pairs}))
    return (
        found
        | rho_figures(updates)
        | line_figures(shifted[""], updates, mean_scores)
        | defended_figures(weights, right, arms, shifted, trial.trusted)
    )


def weightings(n: int, rng: np.random.Generator) -> Float[Array, "b n"]:
    """How often each item counts: once, then as in each bootstrap sample."""
    return np.concatenate([np.ones((1, n), np.float32), resamples(n, rng)])


def accuracy(name: str, weights: Float[Array, "b m"], right: Array) -> Metric:
    """The mean accuracy over updates."""
    return metrics.from_rows(name, weights @ right.mean(axis=0, dtype=np.float32) / weights.shape[1])


def shifts(
    weights: Float[Array, "b m"], y: Int[Array, " m"], before: Array, after: Array, updates: Sequence[Update], k: int
) -> Shifts:
    """Deltas of all updates at once, class by class: no array is larger than weightings times pairs."""
    pairs = [(u, p.attacked, p.confounding) for u, update in enumerate(updates) for p in update.pairs]
    which, attacked, confounding = np.array(pairs, dtype=np.int64).reshape(-1, 3).T
    used = np.zeros((len(updates), k), dtype=bool)
    used[which, attacked] = used[which, confounding] = True
    a, c = (np.full((len(weights), len(pairs)), np.nan, dtype=np.float32) for _ in range(2))
    other, total = (np.zeros((len(weights), len(updates)), dtype=np.float32) for _ in range(2))
    there = np.unique(y)
    for label in there:
        mine = y == label
        change = after[:, mine].astype(np.float32) - before[:, mine]  # 1 newly right, -1 newly wrong
        shift = 100.0 * (weights[:, mine] @ change.T)
        count = weights[:, mine].sum(axis=1, keepdims=True)
        delta = shift / np.where(count > 0, count, np.nan)
        a[:, attacked == label] = delta[:, which[attacked == label]]
        c[:, confounding == label] = delta[:, which[confounding == label]]
        total += shift
        other += np.where(used[:, label], 0.0, np.nan_to_num(delta)) / np.maximum((~used[:, there]).sum(axis=1), 1)
    return Shifts(a, c, other, total / len(y))


def statistics(found: Shifts, updates: Sequence[Update], suffix: str) -> dict[str, Metric]:
    """One pair's deltas as they are; of several, the extremes and means over pairs."""
    if len(updates) == 1 and found.attacked.shape[1] == 1:
        one = {
            "delta_a": found.attacked[:, 0],
            "delta_confounding": found.confounding[:, 0],
            "delta_other": found.other[:, 0],
            "delta_total": found.total[:, 0],
        }
        return {name: metrics.from_rows(f"{name}{suffix}", rows) for name, rows in one.items() if np.isfinite(rows[0])}
    rows = over_updates(found) if len(updates) > 1 else {"delta_total": found.total[:, 0]}
    if np.isfinite(found.attacked[0]).any():
        rows |= over_pairs(found)
    return {name: metrics.from_rows(f"{name}{suffix}", values) for name, values in rows.items()}


def over_updates(found: Shifts) -> dict[str, Float[Array, " b"]]:
    """The worst and the mean total."""
    return {"max_delta_total": found.total.min(axis=1), "mean_delta_total": found.total.mean(axis=1)}


def over_pairs(found: Shifts) -> dict[str, Float[Array, " b"]]:
    """Statistics over pairs: signed, so that the largest drop is the minimum and the 95th percentile the 5th.

    A class without test items has no Delta, and its pairs are left out.
    """
    attacked, confounding = (each[:, np.isfinite(each[0])] for each in (found.attacked, found.confounding))
    rows = {
        "max_delta_a": np.nanmin(attacked, axis=1),
        "p95_delta_a": np.nanpercentile(attacked, 5, axis=1),
        "mean_delta_a": np.nanmean(attacked, axis=1),
        "mean_delta_other": found.other.mean(axis=1),
    }
    return rows | ({"mean_delta_confounding": np.nanmean(confounding, axis=1)} if confounding.shape[1] else {})


def rho_figures(updates: Sequence[Update]) -> dict[str, Metric]:
    """How confusable the pairs are, where the attack knows."""
    rho = [p.rho for u in updates for p in u.pairs if np.isfinite(p.rho)]
    return {
        name: metrics.count(name, float(of(rho))) for name, of in (("max_rho", np.max), ("mean_rho", np.mean)) if rho
    }


def line_figures(found: Shifts, updates: Sequence[Update], mean_scores: Sequence[Sequence[float]]) -> dict[str, Metric]:
    """The line rho -> mu and its R^2, where several sizes were tried of every pair and rho is known (Fig. 5, right)."""
    if any(len(u.pairs) != 1 or not np.isfinite(u.pairs[0].rho) for u in updates):
        return {}
    best = best_sets(found.attacked[0], updates, [scores[0] for scores in mean_scores])
    if len(best) == len(updates) or len({rho for rho, _ in best}) < 2:
        return {}
    line = fit_r(*(np.array(column) for column in zip(*best, strict=True)))
    named = {"r_slope": line.slope, "r_intercept": line.intercept, "r_squared": line.r_squared}
    return {name: metrics.count(name, value) for name, value in named.items() if np.isfinite(value)}


def best_sets(
    delta_a: Float[Array, " u"], updates: Sequence[Update], mean_scores: Sequence[float]
) -> list[tuple[float, float]]:
    """(rho, mu) of each pair: mu is the mean score of its mole set that hurt most, the smallest of equals."""
    rows = [
        (u.pairs[0][:2], float(d), len(u), u.pairs[0].rho, s)
        for u, d, s in zip(updates, delta_a, mean_scores, strict=True)
    ]
    rows.sort(key=lambda row: (row[0], row[1], row[2]))
    first = [next(group) for _, group in groupby(rows, key=lambda row: row[0])]
    return [(rho, score) for _, _, _, rho, score in first]


def defended_figures(
    weights: Float[Array, "b m"],
    right: Mapping[str, Array],
    arms: Mapping[str, UpdateArm],
    shifted: Mapping[str, Shifts],
    trusted: int,
) -> dict[str, Metric]:
    """What a defense costs and saves; nothing where there is none."""
    if "poisoned_defended" not in arms:
        return {}
    found: dict[str, Any] = {}
    if "clean_defended" in right:
        cost = (right["clean_defended"].astype(np.float32) - right["control_undefended"]).mean(axis=0)
        found["clean_cost"] = metrics.from_rows("clean_cost", 100.0 * (weights @ cost) / weights.shape[1])
    if "_vs_control" in shifted and np.isfinite(shifted[""].attacked[0]).any():
        taken = -np.nanmean(shifted["_vs_control"].attacked, axis=1)
        for suffix in ("_defended", "_matched"):
            if taken[0] > 0 and suffix in shifted:
                hit, kept = (np.nanmean(shifted[s].attacked, axis=1) for s in ("", suffix))
                name = f"recovery{suffix}".removesuffix("_defended")
                found[name] = metrics.from_rows(name, (kept - hit) / np.where(taken > 0, taken, np.nan))
    defended, undefended = arms["poisoned_defended"], arms["poisoned_undefended"]
    seconds, mib = (defended.seconds, undefended.seconds), (defended.mib, undefended.mib)
    return found | of_a_defense(seconds, mib, defended.filtered, trusted)
