"""The figures of a continual cell: what is known after the last task, what was forgotten, and what an attack changed.

All figures are functions of two counts, under weights of the test items: the items of each class, and how many of them
are right after each task. Row 0 of the weights counts every item once and gives the figure itself, the other rows are
bootstrap samples, the same for every arm, so that all differences are paired. With acc_b and acc_p the final accuracy
of a class before (clean) and after (poisoned), and A[t, j] the accuracy on task j's items after task t of T:

    delta_a_rel     = median over attacked classes of (acc_p - acc_b) / acc_b                                    (Eq. 8)
    delta_total_rel = mean over all classes of the same                                                          (Eq. 7)
    delta_total_rel_of_means = (mean acc_p - mean acc_b) / mean acc_b: the released code's, of all classes
    forgetting      = mean over j < T of max over j <= t < T of A[t, j] - A[T, j]

A class whose own accuracy in the clean undefended arm is `MOST_DROPPED` or less is left out of Eq. 7 and 8 in every
arm. Which these are, and after which task a task's accuracy is best, is decided once, on all test items, and stays the
same in bootstrap samples; a class of which nothing is right before in a sample has no relative change there.

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment", arXiv:2303.17080, Eq. 7 and 8, Tables 3 and 4; forgetting:
Chaudhry, Dokania, Ajanthan, Torr, "Riemannian Walk for Incremental Learning", arXiv:1801.10112; the control and what
comes with it is the benchmark's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from molebench import metrics
from molebench.metrics import MOST_DROPPED, Metric
from molebench.scenarios.offline_figures import weightings
from molebench.tasks import Tasks
from molebench.types import Array
from molebench.updates import Update

CLEAN, ATTACK, CONTROL = "clean_undefended", "poisoned_undefended", "control_undefended"
DEFENDED, OWN = "poisoned_defended", "clean_defended"  # the latter: the control's updates, behind the defenses
MATCHED = "poisoned_matched"  # behind a random filter instead
# the arm of each figure, and the one that it is compared with
COMPARED = {
    "": (ATTACK, CLEAN),
    "_vs_control": (ATTACK, CONTROL),
    "_control": (CONTROL, CLEAN),
    "_defended": (DEFENDED, CLEAN),
    "_defended_own": (DEFENDED, OWN),
    "_matched": (MATCHED, CLEAN),
}
RECOVERED = {"recovery": "_defended", "recovery_matched": "_matched"}
PLAYED = {"clean": CLEAN, "poisoned": ATTACK, "control": CONTROL}
Rows = dict[str, Float[Array, " b"]]


@dataclass(frozen=True, eq=False)
class Tally:
    """Under each weighting, the test items of each class, and how many of them are right after each task."""

    items: Float[Array, "b k"]
    right: Float[Array, "b t k"]


@dataclass(frozen=True, eq=False)
class Final:
    """Final accuracies under each weighting: of each class (NaN where it has no item), and of all test items."""

    classes: Float[Array, "b k"]
    whole: Float[Array, " b"]


def figures(
    y: Int[Array, " m"],
    exams: Mapping[str, Integer[Array, "t m"]],
    tasks: Tasks,
    updates: Sequence[Update],
    rng: np.random.Generator,
    reset: bool = True,
) -> dict[str, Metric]:
    """Every metric of the scenario.

    exams: by arm, the label given to every test item after each task, -1 where its class is not known yet. updates: one
    a task. reset: False reproduces the released code, in which a class's final accuracy is its right answers in all
    exams since it was learnt, over all of these answers.
    """
    tallies = tallied(weightings(len(y), rng), y, exams, len(tasks.order))
    finals = {arm: final(tally, tasks, reset) for arm, tally in tallies.items()}
    attacked, kept = members(updates, len(tasks.order)), finals[CLEAN].classes[0] > MOST_DROPPED
    rows = {f"accuracy_{name}": finals[arm].whole for name, arm in PLAYED.items() if arm in finals}
    rows |= course_rows(tallies, tasks)
    for suffix, (arm, reference) in COMPARED.items():
        if arm in finals and reference in finals:
            found = changes(finals[reference], finals[arm], attacked, kept)
            rows |= {f"{name}{suffix}": values for name, values in found.items()}
    rows |= defense_rows(finals, rows)
    known = {n: metrics.from_rows(n, values) for n, values in rows.items() if np.isfinite(values[0])}
    return known | (counts(updates, kept) if ATTACK in finals else {})


def tallied(
    weights: Float[Array, "b m"], y: Int[Array, " m"], exams: Mapping[str, Integer[Array, "t m"]], k: int
) -> dict[str, Tally]:
    """The counts of every arm, class by class: no array is larger than the weights."""
    right = np.concatenate([exam == y for exam in exams.values()]).astype(np.float32)
    items = np.zeros((len(weights), k), np.float32)
    counted = np.zeros((len(weights), len(right), k), np.float32)
    for label in np.unique(y):
        mine = y == label
        drawn = weights[:, mine]
        items[:, label], counted[:, :, label] = drawn.sum(axis=1), drawn @ right[:, mine].T
    return {arm: Tally(items, each) for arm, each in zip(exams, np.split(counted, len(exams), axis=1), strict=True)}


def learnt(tasks: Tasks) -> Bool[Array, "t k"]:
    """Whether each class is known after each task."""
    return tasks.of(np.arange(len(tasks.order)))[None] <= np.arange(len(tasks))[:, None]


def ratio(part: Float[Array, "*n"], whole: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """NaN where there is nothing to be a part of."""
    return part.astype(np.float64) / np.where(whole > 0, whole, np.nan)


def final(tally: Tally, tasks: Tasks, reset: bool = True) -> Final:
    """Accuracies in the last exam, or in all exams since a class was learnt; every test item counts alike."""
    sat = learnt(tasks)
    if reset:
        sat[:-1] = False
    right, times = (tally.right * sat).sum(axis=1, dtype=np.float64), sat.sum(axis=0)
    return Final(ratio(right, tally.items * times), (right / times).sum(axis=1) / tally.items.sum(axis=1))


def by_task(tally: Tally, tasks: Tasks) -> Float[Array, "b t j"]:
    """A: accuracy on each task's items (last axis) after each task; NaN before it is learnt and where it has none."""
    member = np.eye(len(tasks), dtype=np.float32)[tasks.of(np.arange(len(tasks.order)))]
    right, items = tally.right @ member, (tally.items @ member)[:, None]
    return np.where(np.tri(len(tasks), dtype=bool), ratio(right, np.broadcast_to(items, right.shape)), np.nan)


def on_seen(tally: Tally, tasks: Tasks) -> Float[Array, "b t"]:
    """Accuracy after each task on the items of all classes seen."""
    seen = learnt(tasks)
    return ratio((tally.right * seen).sum(axis=2), tally.items @ seen.T)


def forgotten(accuracy: Float[Array, "b t j"]) -> Float[Array, " b"]:
    """Of each task but the last, how far its accuracy is below the best before the last task; the mean."""
    best, old = np.nan_to_num(accuracy[0, :-1, :-1], nan=-1.0).argmax(axis=0), np.arange(accuracy.shape[2] - 1)
    return over(np.nanmean, accuracy[:, best, old] - accuracy[:, -1, :-1])


def over(statistic: Callable[..., Array], values: Float[Array, "b n"]) -> Float[Array, " b"]:
    """A statistic of the numbers in each row; NaN where there is none."""
    found, some = np.full(len(values), np.nan), np.isfinite(values).any(axis=1)
    if some.any():
        found[some] = statistic(values[some], axis=1)
    return found


def members(updates: Sequence[Update], k: int) -> Bool[Array, " k"]:
    """The classes that are attacked in any task."""
    found = np.zeros(k, dtype=bool)
    found[[pair.attacked for update in updates for pair in update.pairs]] = True
    return found


def course_rows(tallies: Mapping[str, Tally], tasks: Tasks) -> Rows:
    """Forgetting of every undefended arm, and the mean accuracy along the way of the clean one."""
    rows = {"average_incremental_accuracy": over(np.nanmean, on_seen(tallies[CLEAN], tasks))}
    for name, arm in PLAYED.items():
        if arm in tallies and len(tasks) > 1:
            suffix = "" if arm == CLEAN else f"_{name}"
            rows[f"forgetting{suffix}"] = forgotten(by_task(tallies[arm], tasks))
    return rows


def changes(before: Final, after: Final, attacked: Bool[Array, " k"], kept: Bool[Array, " k"]) -> Rows:
    """Every Delta: in points of all test items and of all attacked classes, in percent as defined above."""
    delta = after.classes - before.classes
    relative = 100.0 * ratio(delta, before.classes)
    means = over(np.nanmean, before.classes), over(np.nanmean, after.classes)
    return {
        "delta_total": 100.0 * (after.whole - before.whole),
        "delta_a_rel": over(np.nanmedian, relative[:, attacked & kept]),
        "delta_total_rel": over(np.nanmean, relative[:, kept]),
        "delta_total_rel_of_means": 100.0 * ratio(means[1] - means[0], means[0]),
        "max_delta_a": over(np.nanmin, 100.0 * delta[:, attacked]),
        "mean_delta_a": over(np.nanmean, 100.0 * delta[:, attacked]),
    }


def counts(updates: Sequence[Update], kept: Bool[Array, " k"]) -> dict[str, Metric]:
    """#a and #c: the attacked classes that are left, and the pairs that they are in."""
    left = [pair.attacked for update in updates for pair in update.pairs if kept[pair.attacked]]
    return {"n_attacked": metrics.count("n_attacked", len(set(left))), "n_pairs": metrics.count("n_pairs", len(left))}


def defense_rows(finals: Mapping[str, Final], rows: Rows) -> Rows:
    """What a defense costs where there is nothing to defend from, and what it saves of attacked classes."""
    found: Rows = {}
    if OWN in finals and CONTROL in finals:
        found["clean_cost"] = 100.0 * (finals[OWN].whole - finals[CONTROL].whole)
    for name, suffix in RECOVERED.items():
        if "mean_delta_a_vs_control" in rows and f"mean_delta_a{suffix}" in rows:
            taken = -rows["mean_delta_a_vs_control"]
            found[name] = ratio(rows[f"mean_delta_a{suffix}"] - rows["mean_delta_a"], taken)
    return found


def one(y: Int[Array, " m"], exam: Integer[Array, "t m"], k: int) -> Tally:
    """The counts of one arm, every item once."""
    return tallied(np.ones((1, len(y)), np.float32), y, {"": exam}, k)[""]


def accuracy_matrix(y: Int[Array, " m"], exam: Integer[Array, "t m"], tasks: Tasks) -> Float[Array, "t t"]:
    """Accuracy on task j's items (column) after task t (row); NaN above the diagonal and where a task has no item."""
    return by_task(one(y, exam, len(tasks.order)), tasks)[0]


def trace(y: Int[Array, " m"], exam: Integer[Array, "t m"], tasks: Tasks, k: int) -> dict[str, Array]:
    """What a record keeps of an arm's way, task after task; figures that are not defined are left out.

    classes, items: classes seen after each task, and their test items. accuracy: on these. accuracy_on_task_<j>: from
    task j on. right_after_<t>: right answers of each class.
    """
    tally = one(y, exam, k)
    matrix = by_task(tally, tasks)[0]
    found = {
        "classes": np.array([tasks.seen(t) for t in range(len(tasks))]),
        "items": (tally.items @ learnt(tasks).T)[0],
        "accuracy": on_seen(tally, tasks)[0],
        **{f"accuracy_on_task_{j}": matrix[j:, j] for j in range(len(tasks))},
        **{f"right_after_{t}": row for t, row in enumerate(tally.right[0])},
    }
    return {name: values for name, values in found.items() if np.isfinite(values).all()}
