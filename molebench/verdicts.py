"""Verdicts: a measured figure beside a published number.

Let [l, h] be the measured 95 % interval and r what rounding takes from the published number p. The verdict is

    agrees    l - r <= p <= h + r, otherwise
    higher    what was measured lies above p,
    lower     ... below p.

A figure without an interval (a count of one seed) has m -+ its tolerance for [l, h].
"""

from collections.abc import Sequence

from molebench.published import FACTS, PublishedRow, meaning
from molebench.record import MetricValue, Record
from molebench.report import number, over_seeds
from molebench.stats import seed_interval

SHARE_OF_LABELS = 0.01  # tolerance of a success rate: one point
OF_THE_VALUE = 0.05  # tolerance of a norm or a duration


def all_figures(row: PublishedRow) -> dict[str, float]:
    """A row's numbers, and the drop that its two accuracies make."""
    figures = dict(row.figures)
    if "delta_total" not in figures and {"accuracy_clean", "accuracy_poisoned"} <= figures.keys():
        drop = {"delta_total": 100 * (figures["accuracy_poisoned"] - figures["accuracy_clean"])}
        first = {name: figures.pop(name) for name in ("accuracy_clean", "accuracy_poisoned")}
        return first | drop | figures
    return figures


def measured(group: Sequence[Record], name: str) -> MetricValue | None:
    """A figure of a group of seeds; None where records do not hold it."""
    if name not in FACTS:
        return over_seeds(group).get(name)
    values = [value for record in group if (value := fact(record, name)) is not None]
    if not values:
        return None
    mean, low, high = seed_interval(values)
    several = len(values) > 1
    return MetricValue(
        value=mean, low=low if several else None, high=high if several else None, definition=meaning(name)
    )


def fact(record: Record, name: str) -> float | None:
    """A figure that stands outside a record's metrics."""
    if name == "n_poison":
        return float(record.poison.n)
    kept = {"noise_norm": "l2", "seconds_per_sample": "seconds"}.get(name, "")
    return record.poison.facts.get(kept, {}).get("mean")


def verdict(name: str, figure: MetricValue, published: float, decimals: int) -> tuple[str, str]:
    """(agrees | higher | lower, by how much) of a measured figure beside a published one."""
    spare = tolerance(name, figure.value)
    low = figure.value - spare if figure.low is None else figure.low
    high = figure.value + spare if figure.high is None else figure.high
    slack = rounding(name, decimals) + 1e-9  # a published 0.013 is 0.0125 rounded: the bound itself agrees
    if low - slack <= published <= high + slack:
        return "agrees", ""
    apart = abs(figure.value - published)
    share = name.startswith("accuracy") or "rate" in name or name == "collision_ratio"
    points = 100 * apart if share else apart
    few = f"{points:.1f}" if points >= 1 else f"{points:.2g}"
    amount = f"{few} points" if share or "delta" in name else number(apart, name)
    return ("higher" if figure.value > published else "lower"), f"by {amount}"


def tolerance(name: str, value: float) -> float:
    """What a figure without an interval may be off: counts nothing, beyond the published rounding."""
    if name in ("success_rate", "success_rate_defended"):
        return SHARE_OF_LABELS
    return OF_THE_VALUE * abs(value) if name in ("noise_norm", "input_norm", "seconds_per_sample") else 0.0


def rounding(name: str, decimals: int) -> float:
    """What rounding takes from a published number; a drop in points is made of two fractions."""
    half = 0.5 * 10**-decimals
    return 2 * 100 * half if name == "delta_total" else half
