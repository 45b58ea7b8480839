"""From records to curves over labels bought: accuracy on the test items, and the share of poisons in what was bought.

One record: Wilson's interval over its test items; what was bought is a count, and has none.
Several, which differ in seed only: the mean over seeds with Student's interval, where all seeds were measured.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from jaxtyping import Float

from molebench.record import Record
from molebench.stats import seed_interval, wilson_interval
from molebench.types import Array

STEPS = 25  # most steps of a curve by round: the paper buys 500 labels one by one


@dataclass(frozen=True, eq=False)
class Curve:
    """One arm's line, in percent. low, high: its band; the line itself where it has none.

    x: labels bought at each point; of steps, at their edges, one more than there are steps.
    """

    arm: str
    x: Float[Array, " e"]
    y: Float[Array, " t"]
    low: Float[Array, " t"]
    high: Float[Array, " t"]


def arms(records: Sequence[Record], words: Sequence[str] = ("",)) -> list[str]:
    """The arms that every record has and traces, in an order that does not change; those with one of `words`."""
    found = [{n for n, a in r.arms.items() if {"queries", "poisons", "accuracy"} <= set(a.trace)} for r in records]
    wanted = [n for n in set.intersection(*found) if any(word in n for word in words)]
    return sorted(wanted, key=lambda n: (not n.endswith("_undefended"), n))


def accuracy(records: Sequence[Record]) -> list[Curve]:
    """Accuracy of every arm after each training."""
    return [_accuracy(records, arm) for arm in arms(records)]


def _accuracy(records: Sequence[Record], arm: str) -> Curve:
    x, values = aligned(records, arm, lambda record: traced(record, arm, "accuracy"), first=0)
    if len(records) > 1:
        return over_seeds(arm, x, values)
    low, high = wilson_interval(values[0], sum(records[0].arms[arm].n))
    return Curve(arm, x, 100 * values[0], 100 * low, 100 * high)


def share(records: Sequence[Record]) -> list[Curve]:
    """Poisons among all labels bought so far, in the arms that inject any."""
    return [_share(records, arm) for arm in injecting(records)]


def _share(records: Sequence[Record], arm: str) -> Curve:
    def so_far(record: Record) -> Array:
        return traced(record, arm, "poisons") / np.maximum(traced(record, arm, "queries"), 1)

    return over_seeds(arm, *aligned(records, arm, so_far, first=1))


def by_round(records: Sequence[Record]) -> list[Curve]:
    """Poisons among the labels of each round, or of several together where there are many."""
    return [_by_round(records, arm) for arm in injecting(records)]


def _by_round(records: Sequence[Record], arm: str) -> Curve:
    x, poisons = aligned(records, arm, lambda record: traced(record, arm, "poisons"), first=0)
    edges = np.unique(np.linspace(0, len(x) - 1, min(len(x), STEPS + 1)).astype(int))
    y = 100 * (np.diff(poisons[:, edges], axis=1) / np.diff(x[edges])).mean(axis=0)
    return Curve(arm, x[edges], y, y, y)


def injecting(records: Sequence[Record]) -> list[str]:
    """The arms whose pool holds injected items."""
    return arms(records, ("poisoned", "control")) if all(r.poison.n for r in records) else []


def chance(records: Sequence[Record]) -> float | None:
    """Percent of poisons in labels bought at random: the random success rate, by labels instead of by poisons."""
    found = [_chance(r) for r in records if "random_success_rate" in r.metrics]
    return float(np.mean(found)) if found else None


def _chance(record: Record) -> float:
    bought = traced(record, "poisoned_undefended", "queries")[-1]
    return 100 * record.metrics["random_success_rate"].value * min(bought, record.poison.n) / max(bought, 1)


def over_seeds(arm: str, x: Float[Array, " t"], values: Float[Array, "s t"]) -> Curve:
    """The mean of shares over seeds, with Student's interval (none for one seed)."""
    y, low, high = np.array([seed_interval(column) for column in values.T.tolist()]).reshape(-1, 3).T
    return Curve(arm, x, 100 * y, 100 * low, 100 * high)


def aligned(
    records: Sequence[Record], arm: str, values: Callable[[Record], Array], first: int
) -> tuple[Float[Array, " t"], Float[Array, "s t"]]:
    """The numbers of labels (at least `first`) at which every record was measured, and each one's values there."""
    bought = [traced(record, arm, "queries") for record in records]
    x = reduce(np.intersect1d, bought)
    x = x[x >= first]
    return x, np.stack([values(r)[np.searchsorted(b, x)] for r, b in zip(records, bought, strict=True)])


def traced(record: Record, arm: str, name: str) -> Float[Array, " t"]:
    """A trace of an arm."""
    return np.array(record.arms[arm].trace[name], dtype=np.float64)
