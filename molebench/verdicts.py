"""Verdicts: a measured figure beside a published number.

Let [l, h] be the measured 95 % interval, p the published number, r what rounding takes from it and s its own spread
(the paper's standard deviation, where it gives one). The verdict is

    inside     l - r - s <= p <= h + r + s, otherwise
    outside    what was measured lies higher or lower than p.

A figure without an interval (a count of one seed) has m -+ its tolerance for [l, h].
"""

from collections.abc import Mapping, Sequence

import numpy as np

from molebench.classnames import pair_list
from molebench.errors import MolebenchError
from molebench.pair_deltas import ARMS, Effect, effects, model
from molebench.published import FACTS, PublishedRow, meaning
from molebench.record import MetricValue, Record
from molebench.report import number, over_seeds
from molebench.stats import seed_interval, trial_interval
from molebench.store import Store, load_predictions

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
    """A figure of a group of trials; None where records do not hold it."""
    if name not in FACTS:
        return over_seeds(group).get(name)
    known = [(value, model(record)) for record in group if (value := fact(record, name)) is not None]
    return over_trials(name, *zip(*known, strict=True)) if known else None


def over_trials(name: str, values: Sequence[float], models: Sequence[int]) -> MetricValue:
    """The mean of one number a trial, with an interval where there are several."""
    mean, low, high = trial_interval(values, models)
    several = len(values) > 1
    return MetricValue(
        value=mean, low=low if several else None, high=high if several else None, definition=meaning(name)
    )


def fact(record: Record, name: str) -> float | None:
    """A figure that stands outside a record's metrics."""
    if name == "n_poison":
        return float(record.poison.n)
    if name == "n_moles" or name.startswith("rho_"):
        return of_one_update(record, name)
    kept = {"noise_norm": "l2", "seconds_per_sample": "seconds"}.get(name, "")
    return record.poison.facts.get(kept, {}).get("mean")


def of_one_update(record: Record, name: str) -> float | None:
    """What is known of a record's only update: the moles of each pair, or the rho of the i-th (`rho_i`)."""
    if record.scenario != "offline" or len(record.updates) > 1:
        return None
    pairs = record.updates[0].pairs if record.updates else []
    if name == "n_moles":
        return record.updates[0].moles / len(pairs) if pairs else 0.0
    place = int(name.removeprefix("rho_")) - 1
    return pairs[place].rho if place < len(pairs) else None


# Of one pair


def with_pair(group: Sequence[Record], pair: str) -> dict[int, Effect]:
    """What happened to a pair such as dog<cat, by place of the record, where one update of it is about that pair."""
    found = {}
    for i, record in enumerate(group):
        ((a, c),) = pair_list(pair, record.data.classes)
        names = (record.data.classes[a], record.data.classes[c])
        mine = [effect for effect in effects(record) if (effect.attacked, effect.confounding) == names]
        if len(mine) == 1:
            found[i] = mine[0]
    return found


def measured_of_pair(
    group: Sequence[Record], found: Mapping[int, Effect], name: str, store: Store
) -> MetricValue | None:
    """A figure of a pair, over the trials that have it; of one trial with an interval over test items."""
    here = {i: effect.figures[name] for i, effect in found.items() if name in effect.figures}
    if len(here) == 1:
        ((i, value),) = here.items()
        low, high = over_items(group[i], found[i], name, store) or (None, None)
        return MetricValue(value=value, low=low, high=high, definition=meaning(name))
    return over_trials(name, list(here.values()), [model(group[i]) for i in here]) if here else None


def over_items(record: Record, effect: Effect, name: str, store: Store) -> tuple[float, float] | None:
    """Student's interval of a Delta in points over test items, each its change from before to after; None of others.

    It needs the predictions beside the record: counts do not say which items changed.
    """
    what, control, _ = name.partition("_control")
    of = {"delta_a": effect.attacked, "delta_confounding": effect.confounding, "delta_total": ""}
    if what not in of:
        return None
    folder, arm = store.cell(record.key), record.updates[effect.update].arms[ARMS[control]]
    try:
        before, after = (load_predictions(folder, each) for each in (record.arms["clean_undefended"], arm))
    except MolebenchError:
        return None
    y = before["y"]
    change = 100.0 * ((after["predicted"][effect.update] == y).astype(float) - (before["predicted"] == y))
    chosen = y == record.data.classes.index(of[what]) if of[what] else np.ones(len(y), dtype=bool)
    _, low, high = seed_interval(change[chosen].tolist())
    return low, high


# Beside the published number


def verdict(name: str, figure: MetricValue, published: float, slack: float) -> tuple[str, str]:
    """(inside | outside, by how much) of a measured figure beside a published one; slack: its rounding and spread."""
    spare = tolerance(name, figure.value)
    low = figure.value - spare if figure.low is None else figure.low
    high = figure.value + spare if figure.high is None else figure.high
    slack += 1e-9  # a published 0.013 is 0.0125 rounded: the bound itself is inside
    if low - slack <= published <= high + slack:
        return "inside", ""
    apart = abs(figure.value - published)
    share = name.startswith("accuracy") or "rate" in name or name == "collision_ratio"
    points = 100 * apart if share else apart
    few = f"{points:.1f}" if points >= 1 else f"{points:.2g}"
    amount = f"{few} points" if share or "delta" in name else number(apart, name)
    return "outside", f"{'higher' if figure.value > published else 'lower'} by {amount}"


def tolerance(name: str, value: float) -> float:
    """What a figure without an interval may be off: counts nothing, beyond the published rounding."""
    if name in ("success_rate", "success_rate_defended"):
        return SHARE_OF_LABELS
    return OF_THE_VALUE * abs(value) if name in ("noise_norm", "input_norm", "seconds_per_sample") else 0.0


def rounding(decimals: int, of_two_fractions: bool = False) -> float:
    """What rounding takes from a published number; a drop in points may be made of two fractions."""
    half = 0.5 * 10**-decimals
    return 2 * 100 * half if of_two_fractions else half
