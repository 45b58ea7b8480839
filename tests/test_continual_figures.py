"""The figures of a continual cell: numbers to check by eye, a slow loop beside them, and what is dropped."""

import math
from collections.abc import Mapping, Sequence
from statistics import mean, median

import numpy as np
import pytest

from molebench.metrics import definition
from molebench.moles import Pair
from molebench.scenarios.continual_figures import COMPARED, accuracy_matrix, figures, trace
from molebench.stats import resamples
from molebench.tasks import Tasks
from molebench.types import Array
from molebench.updates import Update

# Classes 2 and 0 come first, then 3 and 1; ten test items each
TASKS = Tasks(((2, 0), (3, 1)))
Y = np.repeat(np.arange(4), 10)
NOBODY = Update(np.zeros(0, int), np.zeros(0, bool))


def exam(*right: Sequence[int], y: Array = Y, tasks: Tasks = TASKS) -> Array:
    """Labels given after each task: of each class so many items are right, the others are taken for the next class;
    -1 for classes still to come."""
    place = np.array([(y[:i] == label).sum() for i, label in enumerate(y)])
    rows = [np.where(place < np.array(counts)[y], y, (y + 1) % len(counts)) for counts in right]
    return np.where(tasks.of(y) <= np.arange(len(right))[:, None], np.stack(rows), -1)


def update(*pairs: tuple[int, int]) -> Update:
    """An update of pairs (attacked, confounding)."""
    return Update(np.arange(3), np.ones(3, bool), tuple(Pair(a, c, 0.5, 3) for a, c in pairs))


def values(exams: Mapping[str, Array], updates: Sequence[Update] = (), reset: bool = True) -> dict[str, float]:
    """Every figure's value, each under its own definition."""
    found = figures(Y, exams, TASKS, updates, np.random.default_rng(0), reset)
    assert all(metric.definition == definition(name) for name, metric in found.items())
    return {name: metric.value for name, metric in found.items()}


# After task 0: eight of class 0 and ten of class 2. In the end:
CLEAN = exam((8, 0, 10, 0), (8, 5, 4, 10))
HIT = exam((8, 0, 10, 0), (2, 5, 3, 10))  # class 0 -75 %, class 2 -25 %
RANDOM = exam((8, 0, 10, 0), (7, 5, 4, 9))  # class 0 -12.5 %, class 3 -10 %
ARMS = {"clean_undefended": CLEAN, "poisoned_undefended": HIT, "control_undefended": RANDOM}
UPDATES = (NOBODY, update((0, 3), (2, 1)))


# ------------------------------------------------------------------ the way


def test_the_matrix_has_a_row_for_each_exam_and_a_column_for_each_task() -> None:
    np.testing.assert_allclose(accuracy_matrix(Y, CLEAN, TASKS), [[0.9, np.nan], [0.6, 0.75]])


def test_forgetting_is_what_is_lost_since_the_best_exam_of_each_task_but_the_last() -> None:
    found = values(ARMS, UPDATES)
    assert found["forgetting"] == pytest.approx(0.9 - 0.6)
    assert found["forgetting_poisoned"] == pytest.approx(0.9 - 0.25)
    assert found["forgetting_control"] == pytest.approx(0.9 - 0.55)


def test_the_best_exam_need_not_be_the_first_and_is_not_the_last() -> None:
    tasks, y = Tasks(((0,), (1,), (2,))), np.repeat([0, 1, 2], 10)
    later = exam((5, 0, 0), (8, 6, 0), (9, 2, 10), y=y, tasks=tasks)
    found = figures(y, {"clean_undefended": later}, tasks, (), np.random.default_rng(0))
    assert found["forgetting"].value == pytest.approx(((0.8 - 0.9) + (0.6 - 0.2)) / 2)


def test_the_mean_along_the_way_is_of_all_classes_seen() -> None:
    assert values(ARMS)["average_incremental_accuracy"] == pytest.approx((18 / 20 + 27 / 40) / 2)


def test_a_single_task_forgets_nothing_that_could_be_measured() -> None:
    found = figures(Y, {"clean_undefended": CLEAN[1:]}, Tasks(((2, 0, 3, 1),)), (), np.random.default_rng(0))
    assert set(found) == {"accuracy_clean", "average_incremental_accuracy"}


def test_a_trace_says_what_was_right_after_each_task() -> None:
    found = {name: row.tolist() for name, row in trace(Y, CLEAN, TASKS, 4).items()}
    assert found == {
        "classes": [2, 4],
        "items": [20, 40],
        "accuracy": [0.9, 0.675],
        "accuracy_on_task_0": [0.9, 0.6],
        "accuracy_on_task_1": [0.75],
        "right_after_0": [8, 0, 10, 0],
        "right_after_1": [8, 5, 4, 10],
    }


@pytest.mark.filterwarnings("error")
def test_a_task_without_test_items_has_no_accuracy_and_is_in_no_mean() -> None:
    there = np.isin(Y, TASKS.classes[1])  # no item of the first task
    assert np.isnan(accuracy_matrix(Y[there], CLEAN[:, there], TASKS)[:, 0]).all()
    found = trace(Y[there], CLEAN[:, there], TASKS, 4)
    assert {"accuracy", "accuracy_on_task_0"} & set(found) == set()
    assert found["accuracy_on_task_1"].tolist() == [0.75]
    known = figures(Y[there], {"clean_undefended": CLEAN[:, there]}, TASKS, (), np.random.default_rng(0))
    assert set(known) == {"accuracy_clean", "average_incremental_accuracy"}


# ------------------------------------------------------------------ what an attack changed


def test_relative_changes_are_of_each_class_s_own_accuracy_before() -> None:
    found = values(ARMS, UPDATES)
    assert found["delta_a_rel"] == pytest.approx(-50.0)  # Eq. 8: the median of -75 and -25
    assert found["delta_total_rel"] == pytest.approx((-75 + 0 - 25 + 0) / 4)  # Eq. 7
    assert found["delta_total_rel_of_means"] == pytest.approx(100 * (20 - 27) / 27)
    assert found["delta_total"] == pytest.approx(-100 * 7 / 40)
    assert found["max_delta_a"] == pytest.approx(-60.0)
    assert found["mean_delta_a"] == pytest.approx(-35.0)
    assert (found["accuracy_clean"], found["accuracy_poisoned"]) == (27 / 40, 20 / 40)
    assert (found["n_attacked"], found["n_pairs"]) == (2, 2)


def test_the_control_is_set_against_the_clean_arm_and_the_attack_against_the_control() -> None:
    found = values(ARMS, UPDATES)
    assert found["delta_a_rel_control"] == pytest.approx((-12.5 + 0) / 2)
    assert found["delta_total_rel_control"] == pytest.approx((-12.5 - 10) / 4)
    assert found["accuracy_control"] == 25 / 40
    assert found["delta_a_rel_vs_control"] == pytest.approx(50 * (-5 / 7 - 1 / 4))
    assert found["delta_total_vs_control"] == pytest.approx(-100 * 5 / 40)


def test_the_median_does_not_follow_one_class() -> None:
    hit = exam((8, 0, 10, 0), (8, 0, 4, 9))  # classes 0, 1, 3: 0, -100 and -10 %
    arms = {"clean_undefended": CLEAN, "poisoned_undefended": hit}
    found = values(arms, (NOBODY, update((0, 3), (1, 2), (3, 0))))
    assert found["delta_a_rel"] == pytest.approx(-10.0)


def test_a_class_that_is_attacked_twice_counts_once_and_its_pairs_twice() -> None:
    found = values(ARMS, (update((0, 2)), update((0, 3))))
    assert (found["n_attacked"], found["n_pairs"]) == (1, 2)
    assert found["delta_a_rel"] == pytest.approx(-75.0)


def test_a_class_at_ten_percent_before_is_dropped_and_one_above_is_kept() -> None:
    tasks, y = Tasks(((0, 1, 2),)), np.repeat([0, 1, 2], 100)
    before, after = exam((10, 11, 50), y=y, tasks=tasks), exam((0, 22, 25), y=y, tasks=tasks)
    arms = {"clean_undefended": before, "poisoned_undefended": after}
    found = figures(y, arms, tasks, (update((0, 1), (1, 2), (2, 0)),), np.random.default_rng(0))
    assert (found["n_attacked"].value, found["n_pairs"].value) == (2, 2)
    assert found["delta_a_rel"].value == pytest.approx((100 - 50) / 2)
    assert found["delta_total_rel"].value == pytest.approx((100 - 50) / 2)
    assert found["max_delta_a"].value == pytest.approx(-25.0)  # points are of every attacked class
    assert found["mean_delta_a"].value == pytest.approx((-10 + 11 - 25) / 3)
    assert found["delta_total_rel_of_means"].value == pytest.approx(100 * (47 - 71) / 71)


def test_where_all_attacked_classes_are_dropped_no_relative_change_is_known() -> None:
    faded = exam((8, 0, 10, 0), (1, 5, 4, 10))
    found = values({**ARMS, "clean_undefended": faded}, (NOBODY, update((0, 3))))
    assert "delta_a_rel" not in found
    assert (found["n_attacked"], found["n_pairs"]) == (0, 0)
    assert found["max_delta_a"] == pytest.approx(10.0)


def test_without_an_attack_there_is_the_learner_alone() -> None:
    assert set(values({"clean_undefended": CLEAN})) == {"accuracy_clean", "average_incremental_accuracy", "forgetting"}


def test_an_attack_of_random_images_alone_has_no_attacked_class() -> None:
    found = values(ARMS, (NOBODY, update()))
    assert found["n_attacked"] == 0
    assert found["delta_total"] == pytest.approx(-17.5)
    assert {"delta_a_rel", "max_delta_a", "mean_delta_a"} & set(found) == set()


def test_a_defense_is_set_against_the_clean_arm_its_own_and_the_control() -> None:
    behind = {
        "poisoned_defended": exam((8, 0, 10, 0), (6, 5, 3, 10)),
        "clean_defended": exam((8, 0, 10, 0), (6, 5, 4, 8)),
    }
    found = values({**ARMS, **behind}, UPDATES)
    assert found["delta_a_rel_defended"] == pytest.approx(-25.0)
    assert found["delta_a_rel_defended_own"] == pytest.approx(-12.5)
    assert found["clean_cost"] == pytest.approx(-100 * 2 / 40)  # beside the control: 23 right instead of 25
    assert found["recovery"] == pytest.approx((-15 + 35) / 30)  # 20 of the 30 points beyond the control


def test_there_is_nothing_to_recover_where_the_attack_took_no_more_than_its_control() -> None:
    assert "recovery" not in values({**ARMS, "poisoned_undefended": RANDOM, "poisoned_defended": RANDOM}, UPDATES)


def test_never_reset_final_accuracies_are_an_average_over_all_exams_that_a_class_sat() -> None:
    hit = exam((8, 0, 10, 0), (4, 5, 10, 10))
    found = values({"clean_undefended": CLEAN, "poisoned_undefended": hit}, UPDATES, reset=False)
    assert found["accuracy_clean"] == pytest.approx((8 + 5 + 7 + 10) / 40)  # class 2: ten right, then four
    assert found["delta_a_rel"] == pytest.approx(100 * ((6 - 8) / 8 + (10 - 7) / 7) / 2)
    assert found["forgetting"] == pytest.approx(0.9 - 0.6)  # is not of final accuracies


def test_never_reset_a_class_forgotten_since_may_still_be_kept() -> None:
    gone = exam((8, 0, 10, 0), (0, 5, 4, 10))
    arms = {"clean_undefended": gone, "poisoned_undefended": gone}
    attack = (NOBODY, update((0, 3)))
    assert (values(arms, attack)["n_attacked"], values(arms, attack, reset=False)["n_attacked"]) == (0, 1)


# ------------------------------------------------------------------ intervals


def test_arms_that_answer_alike_differ_by_nothing_in_every_bootstrap_sample() -> None:
    found = figures(Y, {**ARMS, "poisoned_undefended": CLEAN}, TASKS, UPDATES, np.random.default_rng(0))
    for name in ("delta_total", "delta_a_rel", "delta_total_rel", "delta_total_rel_of_means", "max_delta_a"):
        assert (found[name].low, found[name].value, found[name].high) == (0.0, 0.0, 0.0)


def test_counts_have_no_interval_and_all_else_has_one_around_its_value() -> None:
    found = figures(Y, ARMS, TASKS, UPDATES, np.random.default_rng(0))
    for name, figure in found.items():
        if name.startswith("n_"):
            assert (figure.low, figure.high) == (None, None)
        else:
            assert figure.low is not None
            assert figure.high is not None
            assert figure.low <= figure.value <= figure.high, name
    assert found["delta_a_rel"].low != found["delta_a_rel"].high


@pytest.mark.filterwarnings("error")
def test_a_class_of_one_item_that_is_not_drawn_is_left_out_of_that_sample() -> None:
    few = np.flatnonzero((np.arange(40) % 10 == 0) | (Y == 3))  # one item of classes 0, 1 and 2
    arms = {name: each[:, few] for name, each in ARMS.items()}
    found = figures(Y[few], arms, TASKS, (NOBODY, update((0, 3))), np.random.default_rng(0))
    assert found["delta_a_rel"].value == 0.0


# ------------------------------------------------------------------ a slow loop beside them


def tried(rng: np.random.Generator) -> tuple[Array, dict[str, Array], Tasks, tuple[Update, ...]]:
    """Random answers of every arm to 60 items of 6 classes in 3 tasks, some classes at 10 % and below."""
    tasks, y = Tasks(((4, 1), (0, 5), (3, 2))), rng.permutation(np.repeat(np.arange(6), 10))
    skill = np.array([0.9, 0.1, 0.7, 0.4, 0.02, 0.6])

    def answers() -> Array:
        guess = np.where(rng.random((3, 60)) < skill[y], y, (y + rng.integers(1, 6, (3, 60))) % 6)
        return np.where(tasks.of(y) <= np.arange(3)[:, None], guess, -1)

    undefended = ("clean_undefended", "poisoned_undefended", "control_undefended")
    arms = (*undefended, "clean_defended", "poisoned_defended", "poisoned_matched")
    return y, {arm: answers() for arm in arms}, tasks, (NOBODY, update((1, 0), (4, 5)), update((0, 3), (1, 2)))


def slow(
    items: Sequence[int], y: Array, exams: Mapping[str, Array], tasks: Tasks, updates: Sequence[Update], reset: bool
) -> dict[str, float]:
    """The figures without intervals, item by item; `items` may repeat and leave out."""
    label_task = {label: t for t, labels in enumerate(tasks.classes) for label in labels}

    def right(arm: str, t: int, among: Sequence[int]) -> list[int]:
        return [int(exams[arm][t, i] == y[i]) for i in items if y[i] in among]

    def share(marks: list[int]) -> float:
        return sum(marks) / len(marks) if marks else math.nan

    def last(arm: str, label: int) -> float:
        since = range(label_task[label], len(tasks)) if not reset else [len(tasks) - 1]
        return share([mark for t in since for mark in right(arm, t, [label])])

    def whole(arm: str) -> float:
        return sum(last(arm, int(y[i])) for i in items) / len(items)

    def relative(arm: str, reference: str, labels: Sequence[int]) -> list[float]:
        before = {label: last(reference, label) for label in labels}
        return [100 * (last(arm, label) - b) / b for label, b in before.items() if b > 0]

    def points(arm: str, reference: str) -> list[float]:
        return [100 * (last(arm, label) - last(reference, label)) for label in sorted(attacked)]

    attacked = {pair.attacked for u in updates for pair in u.pairs}
    kept = [label for label in range(6) if last("clean_undefended", label) > 0.1]
    left = [label for label in kept if label in attacked]
    found = {
        "n_attacked": float(len(left)),
        "n_pairs": float(sum(pair.attacked in kept for u in updates for pair in u.pairs)),
        "clean_cost": 100 * (whole("clean_defended") - whole("control_undefended")),
    }
    for suffix, (arm, reference) in COMPARED.items():
        means = [mean(last(each, label) for label in range(6)) for each in (reference, arm)]
        found |= {
            f"delta_total{suffix}": 100 * (whole(arm) - whole(reference)),
            f"delta_a_rel{suffix}": median(relative(arm, reference, left)),
            f"delta_total_rel{suffix}": mean(relative(arm, reference, kept)),
            f"delta_total_rel_of_means{suffix}": 100 * (means[1] - means[0]) / means[0],
            f"max_delta_a{suffix}": min(points(arm, reference)),
            f"mean_delta_a{suffix}": mean(points(arm, reference)),
        }
    taken = -found["mean_delta_a_vs_control"]
    if taken > 0:
        found["recovery"] = (found["mean_delta_a_defended"] - found["mean_delta_a"]) / taken
        found["recovery_matched"] = (found["mean_delta_a_matched"] - found["mean_delta_a"]) / taken
    for name, arm in (
        ("clean", "clean_undefended"),
        ("poisoned", "poisoned_undefended"),
        ("control", COMPARED["_control"][0]),
    ):
        found[f"accuracy_{name}"] = whole(arm)
        drops = [
            max(share(right(arm, t, tasks.classes[j])) for t in range(j, len(tasks) - 1))
            - share(right(arm, len(tasks) - 1, tasks.classes[j]))
            for j in range(len(tasks) - 1)
        ]
        found["forgetting" + ("" if name == "clean" else f"_{name}")] = mean(drops)
    seen = [share(right("clean_undefended", t, tasks.order[: tasks.seen(t)].tolist())) for t in range(len(tasks))]
    return found | {"average_incremental_accuracy": mean(seen)}


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_every_figure_is_what_a_slow_loop_over_items_finds(seed: int, reset: bool) -> None:
    y, exams, tasks, updates = tried(np.random.default_rng(seed))
    found = figures(y, exams, tasks, updates, np.random.default_rng(1), reset)
    assert {name: figure.value for name, figure in found.items()} == pytest.approx(
        slow(range(60), y, exams, tasks, updates, reset), abs=1e-9
    )


def test_an_interval_is_that_of_the_slow_loop_over_resampled_items() -> None:
    y, exams, tasks, updates = tried(np.random.default_rng(7))
    found = figures(y, exams, tasks, updates, np.random.default_rng(3))
    drawn = resamples(60, np.random.default_rng(3)).astype(int)
    items = [np.repeat(np.arange(60), counts).tolist() for counts in drawn]
    for name, arms in (("delta_total", COMPARED[""]), ("delta_total_vs_control", COMPARED["_vs_control"])):
        right = {arm: exams[arm][-1] == y for arm in arms}
        deltas = [100 * float(right[arms[0]][i].mean() - right[arms[1]][i].mean()) for i in items]
        assert [found[name].low, found[name].high] == pytest.approx(
            np.percentile(deltas, [2.5, 97.5]).tolist(), abs=1e-9
        )
    kept = [c for c in range(6) if (exams["clean_undefended"][-1] == y)[y == c].mean() > 0.1]
    assert 0 < len(kept) < 6
    changes = [resampled(i, y, exams, kept) for i in items]
    expected = np.percentile(changes, [2.5, 97.5]).tolist()
    assert [found["delta_total_rel"].low, found["delta_total_rel"].high] == pytest.approx(expected, abs=1e-9)


def resampled(items: list[int], y: Array, exams: Mapping[str, Array], kept: Sequence[int]) -> float:
    """Eq. 7 of some items, over the classes kept that have a right item before."""
    found = []
    for label in kept:
        mine = [i for i in items if y[i] == label]
        before, after = (sum(int(exams[arm][-1, i] == label) for i in mine) for arm in reversed(COMPARED[""]))
        if before:
            found.append(100 * (after - before) / before)
    return mean(found)
