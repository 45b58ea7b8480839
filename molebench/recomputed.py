"""Figures made again from a record's predictions: what its metrics must be, whoever wrote them.

From each arm's right answers by class, which `molebench.verifying` compares with the files of predictions, follow all
accuracies, all Deltas, what a defense costs and what it saves: written here a second time, apart from the scenarios, so
that a mistake in one of them is seen. What does not follow (success rates, rates of filters, what is forgotten between
tasks, facts on poisons, times) is the word of whoever ran the cell.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from molebench.metrics import MOST_DROPPED
from molebench.record import ArmRecord, Record, UpdateRecord
from molebench.types import Array

CLEAN, ATTACK, CONTROL = "clean_undefended", "poisoned_undefended", "control_undefended"
DEFENDED, OWN, MATCHED = "poisoned_defended", "clean_defended", "poisoned_matched"
COMPARED = {
    "": (ATTACK, CLEAN),
    "_vs_control": (ATTACK, CONTROL),
    "_control": (CONTROL, CLEAN),
    "_defended": (DEFENDED, CLEAN),
    "_defended_own": (DEFENDED, OWN),
    "_matched": (MATCHED, CLEAN),
}
ACCURACIES = {"accuracy_clean": CLEAN, "accuracy_poisoned": ATTACK, "accuracy_control": CONTROL}
RECOVERIES = {"recovery": "_defended", "recovery_matched": "_matched"}
CLOSE = 1e-3  # points; the scenarios count in single precision, and one test item of 10 000 is ten times as much
Figures = dict[str, float]


def wrong(record: Record) -> Iterator[str]:
    """Metrics that do not follow from the counts, one line each."""
    found = follows(record)
    for name, metric in record.metrics.items():
        due = found.get(name, metric.value)
        if not abs(metric.value - due) <= CLOSE * max(1.0, abs(due) / 100.0):
            yield f"its {name} is {metric.value:g}, but its predictions give {due:g}"


def follows(record: Record) -> Figures:
    """Every metric that follows from the arms; those without a value are left out."""
    found = {"active": of_queries, "offline": of_updates, "continual": of_tasks}[record.scenario](record)
    return {name: value for name, value in found.items() if np.isfinite(value)}


def by_class(arm: ArmRecord) -> Float[Array, " k"]:
    """Percent right of each class; NaN where it has no test item."""
    n = np.array(arm.n, dtype=np.float64)
    return 100.0 * np.array(arm.correct) / np.where(n > 0, n, np.nan)


def overall(arm: ArmRecord) -> float:
    """Percent right of all test items."""
    return 100.0 * sum(arm.correct) / max(sum(arm.n), 1)


def of_queries(record: Record) -> Figures:
    """Active: one training an arm; statistics over classes."""
    arms = record.arms
    found = {name: overall(arms[arm]) / 100.0 for name, arm in ACCURACIES.items() if arm in arms}
    for suffix, (arm, reference) in compared(arms):
        delta = by_class(arms[arm]) - by_class(arms[reference])
        found[f"delta_total{suffix}"] = overall(arms[arm]) - overall(arms[reference])
        found |= {f"{name}{suffix}": value for name, value in over_classes(delta).items()}
    if OWN in arms:
        found["clean_cost"] = overall(arms[OWN]) - overall(arms[CLEAN])
    return found | recovered(found, "delta_total", "delta_total")


def of_updates(record: Record) -> Figures:
    """Offline: each update is tried on the same trained victim; statistics over pairs and updates."""
    before, updates = record.arms[CLEAN], record.updates
    found = {"accuracy_clean": overall(before) / 100.0}
    if not updates:
        return found
    arms = updates[0].arms
    for name, arm in ACCURACIES.items():
        if arm in arms:
            found[name] = mean(overall(u.arms[arm]) for u in updates) / 100.0
    for suffix, (arm, reference) in compared({**arms, CLEAN: before}):
        found |= {f"{n}{suffix}": v for n, v in shifts(record, arm, reference).items()}
    if OWN in arms and CONTROL in arms:
        found["clean_cost"] = mean(overall(u.arms[OWN]) - overall(u.arms[CONTROL]) for u in updates)
    name = "delta_a" if "delta_a" in found else "mean_delta_a"
    return found | counted(updates) | recovered(found, name, f"{name}_vs_control")


def shifts(record: Record, arm: str, reference: str) -> Figures:
    """Deltas of one pair as they are, or their statistics over pairs and updates."""
    before, updates, classes = record.arms[CLEAN], record.updates, record.data.classes
    last = [u.arms.get(reference, before) for u in updates]
    deltas = [by_class(u.arms[arm]) - by_class(b) for u, b in zip(updates, last, strict=True)]
    total = [overall(u.arms[arm]) - overall(b) for u, b in zip(updates, last, strict=True)]
    pairs = [(d, p) for d, u in zip(deltas, updates, strict=True) for p in u.pairs]
    a = np.array([d[classes.index(p.attacked)] for d, p in pairs], dtype=np.float64)
    c = np.array([d[classes.index(p.confounding)] for d, p in pairs], dtype=np.float64)
    other = [rest(d, u, classes) for d, u in zip(deltas, updates, strict=True)]
    if len(updates) == 1 and len(pairs) == 1:
        return {"delta_a": a[0], "delta_confounding": c[0], "delta_other": other[0], "delta_total": total[0]}
    several = {"max_delta_total": min(total), "mean_delta_total": mean(total)}
    found = several if len(updates) > 1 else {"delta_total": total[0]}
    if np.isfinite(a).any():
        found |= over_classes(a) | {"mean_delta_other": mean(other), "mean_delta_confounding": over(np.nanmean, c)}
    return found


def rest(delta: Float[Array, " k"], update: UpdateRecord, classes: Sequence[str]) -> float:
    """The mean Delta of the classes in none of an update's pairs."""
    paired = {classes.index(name) for p in update.pairs for name in (p.attacked, p.confounding)}
    free = [d for i, d in enumerate(delta.tolist()) if i not in paired and np.isfinite(d)]
    return mean(free) if free else 0.0


def of_tasks(record: Record) -> Figures:
    """Continual: one course of tasks an arm. The last exam alone is kept: where all of them count, nothing follows."""
    if record.cell["attack"]["parameters"].get("reset_confusion") is False:  # a fault that is asked for
        return {}
    arms, classes = record.arms, record.data.classes
    found = {name: overall(arms[arm]) / 100.0 for name, arm in ACCURACIES.items() if arm in arms}
    attacked = np.isin(classes, [p.attacked for u in record.updates for p in u.pairs])
    for suffix, (arm, reference) in compared(arms):
        after, before, kept = by_class(arms[arm]), by_class(arms[reference]), by_class(arms[CLEAN]) > 100 * MOST_DROPPED
        found |= {f"{n}{suffix}": v for n, v in changes(before, after, attacked, kept).items()}
        found[f"delta_total{suffix}"] = overall(arms[arm]) - overall(arms[reference])
    if OWN in arms and CONTROL in arms:
        found["clean_cost"] = overall(arms[OWN]) - overall(arms[CONTROL])
    return found | recovered(found, "mean_delta_a", "mean_delta_a_vs_control")


def changes(before: Array, after: Array, attacked: Array, kept: Array) -> Figures:
    """Points and percent that classes gain (Eq. 7 and 8)."""
    delta = after - before
    relative = 100.0 * delta / np.where(before > 0, before, np.nan)
    means = np.nanmean(before), np.nanmean(after)
    return {
        "delta_a_rel": over(np.nanmedian, relative[attacked & kept]),
        "delta_total_rel": over(np.nanmean, relative[kept]),
        "delta_total_rel_of_means": float(100.0 * (means[1] / means[0] - 1.0)) if means[0] > 0 else float("nan"),
        "max_delta_a": over(np.nanmin, delta[attacked]),
        "mean_delta_a": over(np.nanmean, delta[attacked]),
    }


def recovered(found: Mapping[str, float], name: str, taken: str) -> Figures:
    """How much of what an attack takes comes back; nothing where it takes nothing."""
    lost = -found.get(taken, 0.0)
    known = {n: found[f"{name}{s}"] - found[name] for n, s in RECOVERIES.items() if f"{name}{s}" in found}
    return {n: back / lost for n, back in known.items()} if lost > 0 else {}


def over_classes(delta: Float[Array, " n"]) -> Figures:
    """The largest drop, the 95th percentile of drops and the mean, of those that are known."""
    known = np.sort(delta[np.isfinite(delta)])
    return {"max_delta_a": known[0], "p95_delta_a": fifth(known.tolist()), "mean_delta_a": mean(known)}


def fifth(known: Sequence[float]) -> float:
    """The fifth percentile of sorted values, between the two next to it."""
    below, share = divmod(0.05 * (len(known) - 1), 1.0)
    low, high = known[int(below)], known[min(int(below) + 1, len(known) - 1)]
    return low + share * (high - low)


def counted(updates: Sequence[UpdateRecord]) -> Figures:
    """#a and #c."""
    pairs = {(p.attacked, p.confounding) for u in updates for p in u.pairs}
    return {"n_pairs": float(len(pairs)), "n_attacked": float(len({a for a, _ in pairs}))}


def compared(arms: Mapping[str, ArmRecord]) -> list[tuple[str, tuple[str, str]]]:
    """The comparisons whose two arms are there."""
    return [(suffix, pair) for suffix, pair in COMPARED.items() if pair[0] in arms and pair[1] in arms]


def over(statistic: Callable[..., float], values: Float[Array, " n"]) -> float:
    """A statistic of the numbers among some values; NaN where there is none."""
    return float(statistic(values)) if np.isfinite(values).any() else float("nan")


def mean(values: Iterable[float]) -> float:
    """Of a few numbers, in double precision."""
    return float(np.mean(list(values)))
