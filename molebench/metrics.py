"""From predictions to the standard figures: accuracies, Delta_a, Delta_total, each with an interval.

Delta = accuracy after - before, in percentage points: a drop is negative. Every figure is a function of
the per-item predictions of two arms on the same items; none is stored that cannot be computed again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int

from molebench.stats import percentile_interval, resamples
from molebench.types import Array

MOST_DROPPED = 0.10  # accuracy of a class before, up to which its relative change says nothing


@dataclass(frozen=True)
class Metric:
    """A figure with its interval (none where it is a plain count) and what it means."""

    value: float
    low: float | None
    high: float | None
    definition: str


DEFINITIONS = {
    "delta_total": "points of accuracy, poisoned - clean, all test items",
    "delta_a": "points of accuracy of the attacked class, after - before",
    "delta_a_rel": "percent that attacked classes gain of their accuracy, median over those above 10 % without attack",
    "delta_total_rel": "percent that classes gain of their accuracy, mean over those above 10 % without attack",
    "delta_total_rel_of_means": "percent that the mean over all classes gains of itself (the authors' released code)",
    "delta_confounding": "points of accuracy of the confounding class",
    "delta_other": "points, mean over the classes that are neither attacked nor confounding",
    "max_delta_a": "points, the attacked class that loses most, over pairs (over classes where none is targeted)",
    "p95_delta_a": "points, 5th percentile over pairs or classes of the signed Delta",
    "mean_delta_a": "points, mean over pairs or classes",
    "max_mean_delta_a": "points, the pair that loses most on average over seeds (max_delta_a: mean of each worst)",
    "max_delta_total": "points, the update that costs most of all test items (a minimum: compare with the control's)",
    "max_mean_delta_total": "points, the update that costs most on average over seeds",
    "mean_delta_total": "points of all test items, mean over updates",
    "mean_delta_confounding": "points of accuracy of the confounding class, mean over pairs",
    "mean_delta_other": "points, mean over updates and the classes in none of their pairs",
    "max_rho": "largest rho of a pair: a percentile of P(y = attacked | x) over the confounding class's pool",
    "mean_rho": "mean rho over pairs",
    "n_pairs": "pairs of an attacked and a confounding class (continual: attacked classes above 10 % without attack)",
    "n_attacked": "classes attacked (continual: those above 10 % without attack)",
    "r_slope": "slope of the line from rho to the mean score of the mole set that hurts most",
    "r_intercept": "intercept of that line",
    "r_squared": "share of the variance that this line explains",
    "accuracy_train": "share of the training pool that the victim gets right",
    "accuracy_clean": "share of test items right: clean, undefended",
    "accuracy_poisoned": "share right: poisoned, undefended",
    "accuracy_control": "share right: the attack's control instead of the attack",
    "average_incremental_accuracy": "share right of all classes seen, mean over tasks: clean, undefended",
    "forgetting": "accuracy on a task's items, best before the last task - after it, mean over tasks but the last",
    "accuracy_seed_only": "share right with the seed labels alone: the floor",
    "success_rate": "poisons among the labels bought / min(labels bought, poisons)",
    "random_success_rate": "max(poisons, queries) / (clean pool - seed labels): what chance would buy",
    "collision_ratio": "|f(x') - mu| / |f(x) - mu|, mean over poisons",
    "psnr": "dB, peak signal-to-noise ratio of the poisons, mean over poisons",
    "snr": "dB, signal-to-noise ratio of the poisons (norm of the original to norm of the noise), mean over poisons",
    "success_rate_defended": "the same, behind the defense",
    "recovery": "share of the undefended drop that the defense takes back: 1 is all (of attacked classes, if any)",
    "filter_precision": "poisons among what filters remove, at the first screening, each purchase and training",
    "filter_recall": "share of the poisons judged that are removed, over the same judgements",
    "filter_removed_clean": "share of the clean items judged that filters remove, over the same judgements",
    "filter_removed_clean_worst": "the same, of the class that loses the largest share",
    "filter_auroc": "chance that a filter's score ranks a poison above a clean item, mean over judgements",
    "trusted_images": "clean labelled images that defenses are shown, beyond what the learner has bought",
    "time_ratio": "seconds of the poisoned arm, defended / undefended, each when first computed",
    "memory_ratio": "peak resident memory of the process during the poisoned arm, defended / undefended",
    "clean_cost": "points of accuracy, defended - undefended, both clean",
}
SUFFIXES = {
    "_vs_control": ", with the control's arm for the clean one",
    "_control": ", of the control's arm",
    "_poisoned": ", of the attack's arm",
    "_defended_own": ", both arms defended",
    "_matched": ", the poisoned arm behind a random filter that drops as many of each class, the clean one undefended",
    "_defended": ", the poisoned arm defended, the clean one not",
}


@lru_cache(maxsize=1024)  # of few names, asked for very often
def definition(name: str) -> str:
    """What a metric means, its suffix included."""
    if name in DEFINITIONS:
        return DEFINITIONS[name]
    for suffix, meaning in SUFFIXES.items():
        if name.endswith(suffix):
            return DEFINITIONS[name.removesuffix(suffix)] + meaning
    raise KeyError(name)


def confusion(y: Int[Array, " m"], predicted: Int[Array, " m"], k: int) -> Int[Array, "k k"]:
    """Counts of items by true class (row) and predicted class (column)."""
    return np.bincount(y * k + predicted, minlength=k * k).reshape(k, k)


def class_accuracy(weights: Float[Array, "b m"], y: Int[Array, " m"], right: Array, k: int) -> Float[Array, "b k"]:
    """Accuracy of each class under each weighting of the items; NaN where a class has no weight."""
    member = np.eye(k, dtype=np.float32)[y]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weights @ (member * right[:, None])) / (weights @ member)


def delta_statistics(before: Float[Array, "b k"], after: Float[Array, "b k"]) -> dict[str, Float[Array, " b"]]:
    """The statistics over classes of Delta = after - before, in points, for each row."""
    delta = 100.0 * (after - before)
    return {
        "max_delta_a": np.nanmin(delta, axis=1),
        "p95_delta_a": np.nanpercentile(delta, 5, axis=1),
        "mean_delta_a": np.nanmean(delta, axis=1),
    }


def deltas(
    y: Int[Array, " m"], before: Int[Array, " m"], after: Int[Array, " m"], k: int, rng: np.random.Generator
) -> dict[str, Metric]:
    """delta_total and the statistics over classes, from two arms' predictions, with paired intervals."""
    drawn = np.concatenate([np.ones((1, len(y)), np.float32), resamples(len(y), rng)])
    right = [(p == y).astype(np.float32) for p in (before, after)]
    found = {"delta_total": 100.0 * (drawn @ (right[1] - right[0])) / len(y)}
    found |= delta_statistics(*(class_accuracy(drawn, y, r, k) for r in right))
    return {name: from_rows(name, values) for name, values in found.items()}


def recovery(
    y: Int[Array, " m"],
    clean: Int[Array, " m"],
    hit: Int[Array, " m"],
    kept: Int[Array, " m"],
    rng: np.random.Generator,
) -> Metric | None:
    """(kept - hit) / (clean - hit) of the arms' accuracies; None where the attack took nothing to take back."""
    drawn = np.concatenate([np.ones((1, len(y)), np.float32), resamples(len(y), rng)])
    taken = drawn @ ((clean == y).astype(np.float64) - (hit == y))
    if taken[0] <= 0:
        return None
    back = drawn @ ((kept == y).astype(np.float64) - (hit == y))
    return from_rows("recovery", back / np.where(taken > 0, taken, np.nan))


def accuracy(name: str, y: Int[Array, " m"], predicted: Int[Array, " m"], rng: np.random.Generator) -> Metric:
    """A share of right items, with its interval."""
    return over_items(name, (predicted == y).astype(np.float64), rng)


def over_items(name: str, values: Float[Array, " n"], rng: np.random.Generator) -> Metric:
    """The mean of one number an item, with its interval."""
    drawn = np.concatenate([np.ones((1, len(values)), np.float32), resamples(len(values), rng)])
    return from_rows(name, drawn @ values.astype(np.float64) / len(values))


def count(name: str, value: float | int) -> Metric:
    """A figure without sampling error."""
    return Metric(float(value), None, None, definition(name))


def from_rows(name: str, values: Float[Array, " b"]) -> Metric:
    """A figure of its values under each weighting: row 0 is the figure itself, the others its bootstrap."""
    low, high = percentile_interval(values[1:])
    return Metric(float(values[0]), low, high, definition(name))


def auroc(score: Float[Array, " n"], positive: Bool[Array, " n"]) -> float:
    """The chance that a positive item scores higher than a negative one, ties counted half; NaN if a kind is absent."""
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return float("nan")
    from scipy.stats import rankdata

    return float((rankdata(score)[positive].sum() - n * (n + 1) / 2) / (n * m))


def renamed(metrics: Mapping[str, Metric], suffix: str) -> dict[str, Metric]:
    """The same figures under names with a suffix, and its meaning in their definitions."""
    return {f"{n}{suffix}": Metric(m.value, m.low, m.high, definition(f"{n}{suffix}")) for n, m in metrics.items()}
