"""What updates did to their pairs, from records alone; over trials, the same pair of the same size is found again.

Delta = accuracy after - before, in points, from the counts by class that a record keeps of every arm. The papers' "max"
over pairs has two readings: the mean over trials of each trial's worst pair (a record's own max_delta_a), and the worst
pair of the mean over trials, which is made here (PROTOCOLS.md, section 1).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from molebench.metrics import definition
from molebench.record import ArmRecord, MetricValue, Record, UpdateRecord
from molebench.stats import trial_interval, trial_mean

ARMS = {"": "poisoned_undefended", "_control": "control_undefended"}
DELTAS = ("delta_a", "delta_confounding", "delta_total")
Key = tuple[str, str, int]


@dataclass(frozen=True)
class Effect:
    """What an update did to one of its pairs. update: its place in the record. size: its images.

    figures: rho, n and mean_score as recorded, Deltas in points, also of the control's arm; what is not known is left
    out. An update of random images alone has no class names and a delta_total only.
    """

    attacked: str
    confounding: str
    update: int
    size: int
    figures: dict[str, float]


def effects(record: Record) -> Iterator[Effect]:
    """Every pair of every update, in the record's order."""
    for i, update in enumerate(record.updates):
        if not update.pairs:
            yield Effect("", "", i, update.size, shifts(record, update, "", ""))
        for pair in update.pairs:
            known = {"rho": pair.rho, "n": float(pair.n), "mean_score": pair.mean_score}
            figures = {name: value for name, value in known.items() if value is not None}
            figures |= shifts(record, update, pair.attacked, pair.confounding)
            yield Effect(pair.attacked, pair.confounding, i, update.size, figures)


def shifts(record: Record, update: UpdateRecord, attacked: str, confounding: str) -> dict[str, float]:
    """The Deltas of two classes and of all test items, for the attack's arm and its control's."""
    before, classes = record.arms["clean_undefended"], record.data.classes
    places = [classes.index(name) if name in classes else None for name in (attacked, confounding)]
    found: dict[str, float] = {}
    for suffix, arm in ARMS.items():
        if after := update.arms.get(arm):
            values = (*(of_class(before, after, place) for place in places), total(before, after))
            found |= {f"{name}{suffix}": v for name, v in zip(DELTAS, values, strict=True) if v is not None}
    return found


def of_class(before: ArmRecord, after: ArmRecord, place: int | None) -> float | None:
    """Delta of a class in points; None where there is no class, or no test item of it."""
    if place is None or not before.n[place]:
        return None
    return 100.0 * (after.correct[place] - before.correct[place]) / before.n[place]


def total(before: ArmRecord, after: ArmRecord) -> float:
    """Delta of all test items in points."""
    return 100.0 * (sum(after.correct) - sum(before.correct)) / sum(before.n)


# Over trials


def model(record: Record) -> int:
    """The seed that the victim was trained with: its own (`victim.seed`), or the cell's."""
    own: int | None = record.cell["victim"]["parameters"].get("seed")
    return record.seeds["cell"] if own is None else own


def matched(records: Sequence[Record]) -> dict[Key, dict[int, Effect]]:
    """For each pair (attacked, confounding, images of the update): what happened to it, by place of the record.

    Where a record's pairs are all in one update, its size is part of what the attack decides from trial to trial, and
    is no part of the key: it is given as 0.
    """
    sized = any(len(record.updates) > 1 for record in records)
    found: dict[Key, dict[int, Effect]] = {}
    for i, record in enumerate(records):
        for effect in effects(record):
            key = (effect.attacked, effect.confounding, effect.size if sized else 0)
            found.setdefault(key, {}).setdefault(i, effect)
    return found


def mean_extremes(records: Sequence[Record]) -> dict[str, MetricValue]:
    """max_mean_delta_a and max_mean_delta_total, also of the control, where records hold max_delta_a, max_delta_total.

    Over several trials with the interval of the pair that was found, as if nothing else had been looked at; of one
    trial without: its max_delta_a has it. A pair that a trial lacks is left out.
    """
    everywhere = [list(found.values()) for found in matched(records).values() if len(found) == len(records)]
    models, extremes = [model(record) for record in records], {}
    for name in (f"{what}{suffix}" for suffix in ARMS for what in ("delta_a", "delta_total")):
        rows = [[e.figures[name] for e in found] for found in everywhere if all(name in e.figures for e in found)]
        if rows and all(f"max_{name}" in record.metrics for record in records):
            mean, low, high = trial_interval(min(rows, key=lambda row: trial_mean(row, models)), models)
            span = (low, high) if len(records) > 1 else (None, None)
            full = f"max_mean_{name}"
            extremes[full] = MetricValue(value=mean, low=span[0], high=span[1], definition=definition(full))
    return extremes
