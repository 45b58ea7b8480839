"""Uncertainty: the paired bootstrap over test items, Wilson's interval of a share, and Student's over seeds or trials.

Within a record, two arms are judged on the same items: items are resampled, and every arm with them, so that
what both arms get right or wrong cancels. Over seeds, each seed is a full retraining on its own splits; with
a handful of them a percentile bootstrap is too narrow, so the interval is Student's t on the seeds' values.
Where several draws were tried on each of several trained models, the models are what is independent, and the variance
is split between models and draws.
"""

import math
from collections.abc import Hashable, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from molebench.types import Array

LEVEL = 0.95
RESAMPLES = 2000


def resamples(n: int, rng: np.random.Generator, times: int = RESAMPLES) -> Float[Array, "b n"]:
    """How often each of n items is drawn in each bootstrap sample: rows are multinomial counts summing to n."""
    return rng.multinomial(n, np.full(n, 1.0 / n), size=times).astype(np.float32)


def percentile_interval(values: Float[Array, " b"], level: float = LEVEL) -> tuple[float, float]:
    """The central `level` of bootstrap values."""
    tail = 100 * (1 - level) / 2
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return float(low), float(high)


def wilson_interval(share: Float[Array, " t"], n: int, level: float = LEVEL) -> tuple[Array, Array]:
    """(low, high) of shares of n items that were counted right: never outside 0-1, never empty at 0 or 1.

    (p + z^2/2n -+ z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n), E. B. Wilson, JASA 1927.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle = share + z * z / (2 * n)
    half = z * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def seed_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float, float]:
    """(mean, low, high) over seeds: mean -+ t_(n-1) s / sqrt(n). One seed has no interval: low = high = mean."""
    n, mean = len(values), average(values)
    if n < 2:
        return mean, mean, mean
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = quantile(level, n - 1) * deviation / math.sqrt(n)
    return mean, mean - half, mean + half


def average(values: Sequence[float]) -> float:
    """Of a handful: NumPy takes ten times as long for it, and a board asks a hundred thousand times."""
    return math.fsum(values) / len(values)


@lru_cache(maxsize=256)
def quantile(level: float, freedom: int) -> float:
    """Student's t between which and its negative lies this share; a board asks for a few of them very often."""
    from scipy.special import stdtrit  # scipy.stats has it too, and takes a second to import

    return float(stdtrit(freedom, (1 + level) / 2))


def trial_interval(
    values: Sequence[float], models: Sequence[Hashable], level: float = LEVEL
) -> tuple[float, float, float]:
    """(mean, low, high) over trials; models: whose each value is. Of several models, Student's over the mean of each.

    Draws of one model share its training and so are no trials of their own; where there is one model, they are all
    there is, and the interval is over them.
    """
    return seed_interval(of_models(values, models), level)


def trial_mean(values: Sequence[float], models: Sequence[Hashable]) -> float:
    """The mean alone."""
    return average(of_models(values, models))


def of_models(values: Sequence[float], models: Sequence[Hashable]) -> Sequence[float]:
    """The mean of each model; of one model, its draws."""
    each = list(by_model(values, models).values())
    return [average(own) for own in each] if len(each) > 1 else values


def by_model(values: Sequence[float], models: Sequence[Hashable]) -> dict[Hashable, list[float]]:
    """The values of each model, in order of appearance."""
    found: dict[Hashable, list[float]] = {}
    for value, model in zip(values, models, strict=True):
        found.setdefault(model, []).append(value)
    return found


class VarianceSplit(NamedTuple):
    """The grand mean, and the variances of x_ij = mean + a_i + e_ij: of a (between groups) and of e (within them)."""

    mean: float
    between: float
    within: float


def variance_split(groups: Sequence[Sequence[float]]) -> VarianceSplit:
    """The one-way random-effects split by analysis of variance, for k groups of n_i of all n values x_ij.

        within = sum_ij (x_ij - x_i)^2 / (n - k)
        between = (sum_i n_i (x_i - x)^2 / (k - 1) - within) / n_0,    n_0 = (n - sum_i n_i^2 / n) / (k - 1)

    Both are unbiased, whether or not the groups are of one size; a negative `between` is reported as 0.
    Searle, Casella, McCulloch, "Variance Components", Wiley 1992, chapter 3.
    """
    sizes, k = np.array([len(group) for group in groups]), len(groups)
    n = int(sizes.sum())
    if k < 2 or n <= k:
        raise ValueError(f"a split needs two groups and one of them two values; {k} groups of {sizes.tolist()} came")
    means = np.array([np.mean(group) for group in groups])
    mean = float(np.average(means, weights=sizes))
    within = sum(float(np.square(np.asarray(g) - m).sum()) for g, m in zip(groups, means, strict=True)) / (n - k)
    among = float(sizes @ np.square(means - mean)) / (k - 1)
    usual = (n - float(np.square(sizes).sum()) / n) / (k - 1)
    return VarianceSplit(mean, max((among - within) / usual, 0.0), within)


def robust_z(
    values: Float[Array, " n"], usual: Float[Array, " m"] | None = None, least: float = float(np.finfo(np.float32).eps)
) -> Float[Array, " n"]:
    """How many robust standard deviations (1.4826 MAD) each value is above the median of the usual ones: of all where
    not given. least: the smallest standard deviation."""
    among = values if usual is None else usual
    middle = np.median(among)
    return (values - middle) / max(1.4826 * float(np.median(np.abs(among - middle))), least)
