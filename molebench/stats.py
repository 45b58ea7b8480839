"""Uncertainty: the paired bootstrap over test items, Wilson's interval of a share, and Student's over seeds.

Within a record, two arms are judged on the same items: items are resampled, and every arm with them, so that
what both arms get right or wrong cancels. Over seeds, each seed is a full retraining on its own splits; with
a handful of them a percentile bootstrap is too narrow, so the interval is Student's t on the seeds' values.
"""

from collections.abc import Sequence
from statistics import NormalDist

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
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, mean, mean
    from scipy.stats import t  # slow to import

    half = float(t.ppf((1 + level) / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half
