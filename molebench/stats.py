"""Uncertainty: the paired bootstrap over test items, and Student's interval over seeds.

Within a record, two arms are judged on the same items: items are resampled, and every arm with them, so that
what both arms get right or wrong cancels. Over seeds, each seed is a full retraining on its own splits; with
a handful of them a percentile bootstrap is too narrow, so the interval is Student's t on the seeds' values.
"""

from collections.abc import Sequence

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


def mean_interval(
    values: Float[Array, " n"], rng: np.random.Generator, level: float = LEVEL
) -> tuple[float, float, float]:
    """(mean, low, high) of one number an item, by the bootstrap over items."""
    means = resamples(len(values), rng) @ values.astype(np.float64) / len(values)
    return (float(values.mean()), *percentile_interval(means, level))


def seed_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float, float]:
    """(mean, low, high) over seeds: mean -+ t_(n-1) s / sqrt(n). One seed has no interval: low = high = mean."""
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, mean, mean
    half = float(t.ppf((1 + level) / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half
