"""The figures of an offline cell on sixteen test items: each Delta, statistic and line can be checked by eye."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from molebench.hooks import Pipeline
from molebench.metrics import definition
from molebench.moles import Pair
from molebench.progress import silent
from molebench.scenarios.offline_figures import Shifts, best_sets, figures, line_figures, shifts, statistics
from molebench.stages import Stages
from molebench.trial import Actor, Trial, UpdateArm
from molebench.types import Array, Dataset, Poison, ThreatModel
from molebench.updates import Update

K, EACH = 4, 4
Y = np.repeat(np.arange(K), EACH)  # four items of each of four classes: an item is 25 points of its class, 6.25 of all


def predicted(wrong: dict[int, int]) -> Array:
    """Predictions that are wrong for so many items of each class."""
    found = Y.copy()
    for c, n in wrong.items():
        found[np.flatnonzero(c == Y)[:n]] = (c + 1) % K
    return found


def update(*pairs: tuple[int, int], rho: float = 0.5, n: int = 1) -> Update:
    """An update of n images of each class; what they are does not matter here."""
    index = np.arange(n * K)
    return Update(index, index < n, tuple(Pair(a, c, rho, n) for a, c in pairs))


def arm(*rows: Array, seconds: float = 1.0, filtered: Any = ()) -> UpdateArm:
    return UpdateArm(np.stack(rows), np.array(filtered, dtype=np.float64).reshape(-1, 6), seconds, 10.0)


def shifted(before: Array, after: Sequence[Array], updates: Sequence[Update], y: Array = Y) -> Shifts:
    """Deltas under two weightings that count every item once: the figure, and a bootstrap sample like it."""
    ones = np.ones((2, len(y)), np.float32)
    return shifts(ones, y, (before == y)[None], np.stack(after) == y, updates, K)


def trial() -> Trial:
    """As much of a trial as the figures look at: its seed and its classes."""
    nobody = Actor("nobody", lambda view, rng: Poison(view.base[:0], np.zeros(0, np.int64)), ThreatModel(), {})
    data = Dataset("four", {}, ("a", "b", "c", "d"))
    nowhere = Stages(Path("/nonexistent"))
    return Trial(data, nobody, None, None, {}, lambda x: x, {}, Pipeline(), (), 0, nowhere, silent, "", {})


def values(arms: dict[str, UpdateArm], updates: Sequence[Update], before: Array = Y, **more: Any) -> dict[str, float]:
    """Every figure's value."""
    scores = more.get("scores", [[0.5] * len(u.pairs) for u in updates])
    found = figures(trial(), Y, before, arms, updates, scores, more.get("fit", 0.9))
    assert all(metric.definition == definition(name) for name, metric in found.items())
    return {name: metric.value for name, metric in found.items()}


# ------------------------------------------------------------------ one update


def test_a_pair_s_deltas_are_of_its_two_classes_of_the_others_and_of_all() -> None:
    found = shifted(Y, [predicted({0: 2, 1: 1, 3: 1})], [update((0, 1))])
    assert found.attacked[0].tolist() == [-50.0]
    assert found.confounding[0].tolist() == [-25.0]
    assert found.other[0].tolist() == [-12.5]  # the mean of 0 and -25
    assert found.total[0].tolist() == [-25.0]  # four of sixteen


def test_a_delta_is_after_less_before_so_a_gain_is_positive() -> None:
    found = shifted(predicted({0: 3, 2: 1}), [predicted({0: 1, 2: 2})], [update((0, 1))])
    assert (found.attacked[0, 0], found.confounding[0, 0], found.other[0, 0]) == (50.0, 0.0, -12.5)
    assert found.total[0, 0] == 6.25


def test_every_pair_of_an_update_has_its_deltas_and_the_others_are_in_no_pair() -> None:
    found = shifted(Y, [predicted({0: 1, 1: 2, 2: 3, 3: 4})], [update((0, 1), (2, 1))])
    assert found.attacked[0].tolist() == [-25.0, -75.0]
    assert found.confounding[0].tolist() == [-50.0, -50.0]
    assert found.other[0].tolist() == [-100.0]


def test_where_every_class_is_in_a_pair_there_is_no_other_to_lose() -> None:
    assert shifted(Y, [predicted({0: 4, 3: 4})], [update((0, 1), (2, 3))]).other[0].tolist() == [0.0]


def test_pairs_of_several_updates_keep_to_their_own_update() -> None:
    after = [predicted({0: 1}), predicted({0: 4, 2: 2}), predicted({})]
    found = shifted(Y, after, [update((0, 1)), update((2, 0)), update((0, 1))])
    assert found.attacked[0].tolist() == [-25.0, -50.0, 0.0]
    assert found.confounding[0].tolist() == [0.0, -100.0, 0.0]
    assert found.total[0].tolist() == [-6.25, -37.5, 0.0]


def test_a_class_without_test_items_has_no_delta_and_is_none_of_the_others() -> None:
    y = Y[:12]  # no item of class 3
    found = shifted(y, [predicted({0: 2, 2: 1})[:12]], [update((0, 1))], y)
    assert found.other[0].tolist() == [-25.0]  # class 2 alone
    assert np.isnan(shifted(y, [y], [update((3, 1))], y).attacked).all()


@pytest.mark.filterwarnings("error")
def test_pairs_of_a_class_without_test_items_are_left_out_of_the_statistics() -> None:
    y, both = Y[:12], [update((0, 1)), update((3, 1))]
    after = [predicted({0: 2})[:12], predicted({0: 4})[:12]]
    found = statistics(shifted(y, after, both, y), both, "")
    assert (found["max_delta_a"].value, found["mean_delta_a"].value) == (-50.0, -50.0)
    assert "delta_a" not in statistics(shifted(y, [y], [update((3, 1))], y), [update((3, 1))], "")
    assert "max_delta_a" not in statistics(shifted(y, [y, y], [update((3, 1))] * 2, y), [update((3, 1))] * 2, "")


def test_a_weighting_counts_each_item_as_often_as_it_says() -> None:
    weights = np.ones((2, 16), np.float32)
    weights[1, :4] = [4, 0, 0, 0]  # the bootstrap drew the first item of class 0 four times
    found = shifts(weights, Y, (Y == Y)[None], predicted({0: 1})[None] == Y, [update((0, 1))], K)
    assert found.attacked.tolist() == [[-25.0], [-100.0]]
    assert found.total.tolist() == [[-6.25], [-25.0]]


# ------------------------------------------------------------------ statistics

THREE = [predicted({0: 2}), predicted({1: 1, 3: 2}), predicted({})]
PAIRS = [update((0, 1)), update((1, 2)), update((2, 0))]  # Delta_a: -50, -25, 0


def test_of_one_pair_its_own_deltas_are_reported() -> None:
    found = statistics(shifted(Y, [predicted({0: 2, 1: 1, 3: 1})], [update((0, 1))]), [update((0, 1))], "")
    assert {name: figure.value for name, figure in found.items()} == {
        "delta_a": -50.0,
        "delta_confounding": -25.0,
        "delta_other": -12.5,
        "delta_total": -25.0,
    }


def test_of_many_pairs_the_largest_drop_is_the_minimum_and_the_95th_percentile_the_5th() -> None:
    found = {name: f.value for name, f in statistics(shifted(Y, THREE, PAIRS), PAIRS, "").items()}
    assert found["max_delta_a"] == -50.0
    assert found["p95_delta_a"] == pytest.approx(-47.5)  # a tenth of the way from -50 to -25
    assert found["mean_delta_a"] == -25.0
    assert found["max_delta_total"] == -100 * 3 / 16  # of the second update
    assert found["mean_delta_total"] == pytest.approx(-100 * 5 / 48)
    assert found["mean_delta_confounding"] == 0.0
    assert found["mean_delta_other"] == pytest.approx((0.0 - 25.0 + 0.0) / 3)


def test_several_pairs_in_one_update_share_its_total() -> None:
    both = [update((0, 1), (2, 3))]
    found = {n: f.value for n, f in statistics(shifted(Y, [predicted({0: 1, 2: 3})], both), both, "").items()}
    assert found["delta_total"] == -25.0
    assert (found["max_delta_a"], found["mean_delta_a"]) == (-75.0, -50.0)
    assert "max_delta_total" not in found


# ------------------------------------------------------------------ arms against each other


def test_the_attack_is_set_against_the_victim_before_and_against_its_control() -> None:
    arms = {"poisoned_undefended": arm(predicted({0: 3})), "control_undefended": arm(predicted({0: 1, 2: 1}))}
    found = values(arms, [update((0, 1))])
    assert (found["delta_a"], found["delta_a_control"], found["delta_a_vs_control"]) == (-75.0, -25.0, -50.0)
    assert (found["delta_total"], found["delta_total_control"]) == (-18.75, -12.5)
    assert found["delta_total_vs_control"] == -6.25
    assert (found["delta_other"], found["delta_other_vs_control"]) == (0.0, 12.5)
    assert (found["accuracy_clean"], found["accuracy_poisoned"]) == (1.0, 13 / 16)
    assert (found["accuracy_control"], found["accuracy_train"]) == (14 / 16, 0.9)


def test_accuracies_after_updates_are_means_over_updates() -> None:
    found = values({"poisoned_undefended": arm(*THREE)}, PAIRS)
    assert found["accuracy_poisoned"] == pytest.approx((14 + 13 + 16) / 48)
    assert (found["n_pairs"], found["n_attacked"]) == (3, 3)


def test_sizes_of_one_pair_are_one_pair() -> None:
    found = values({"poisoned_undefended": arm(Y, Y)}, [update((0, 1), n=1), update((0, 1), n=2)])
    assert (found["n_pairs"], found["n_attacked"]) == (1, 1)


def test_what_is_the_same_before_and_after_has_an_interval_of_no_width() -> None:
    found = figures(trial(), Y, Y, {"poisoned_undefended": arm(Y)}, [update((0, 1))], [[0.5]], 1.0)
    assert (found["delta_a"].low, found["delta_a"].value, found["delta_a"].high) == (0.0, 0.0, 0.0)
    drop = figures(trial(), Y, Y, {"poisoned_undefended": arm(predicted({0: 2}))}, [update((0, 1))], [[0.5]], 1.0)
    low, high = drop["delta_a"].low, drop["delta_a"].high
    assert low is not None
    assert high is not None
    assert low < -50.0 < high


def test_without_an_update_there_is_the_victim_alone() -> None:
    assert set(values({}, [])) == {"accuracy_clean", "accuracy_train"}


def test_a_defense_is_set_against_the_victim_before_its_own_clean_arm_and_no_defense() -> None:
    arms = {
        "poisoned_undefended": arm(predicted({0: 3}), seconds=2.0),
        "control_undefended": arm(predicted({0: 1})),
        # before: one judgement of 8 images, 4 moles, 5 removed, 3 of them moles
        "poisoned_defended": arm(predicted({0: 2}), seconds=5.0, filtered=[[0, 8, 4, 5, 3, 0.9]]),
        "clean_defended": arm(predicted({0: 1, 1: 2})),
    }
    found = values(arms, [update((0, 1))])
    assert (found["delta_a"], found["delta_a_defended"], found["delta_a_defended_own"]) == (-75.0, -50.0, -25.0)
    assert found["delta_confounding_defended_own"] == 50.0
    assert found["clean_cost"] == pytest.approx(-100 * 2 / 16)  # two items more are wrong behind the defense
    assert found["recovery"] == pytest.approx(0.5)  # 25 of the 50 points that the moles took beyond their control
    assert (found["filter_precision"], found["filter_recall"], found["filter_auroc"]) == (0.6, 0.75, 0.9)
    assert found["time_ratio"] == 2.5


def test_there_is_nothing_to_recover_where_the_moles_took_nothing() -> None:
    arms = {name: arm(Y) for name in ("poisoned_undefended", "control_undefended", "poisoned_defended")}
    assert "recovery" not in values(arms, [update((0, 1))])


# ------------------------------------------------------------------ the line from rho to mu


def test_the_best_set_of_a_pair_is_the_one_that_hurts_most_and_the_smallest_of_equals() -> None:
    updates = [update((0, 1), rho=0.5, n=n) for n in (10, 20, 30)] + [update((1, 0), rho=0.3, n=n) for n in (20, 10)]
    delta_a = np.array([-10.0, -30.0, -20.0, -15.0, -15.0], np.float32)
    assert best_sets(delta_a, updates, [0.9, 0.8, 0.7, 0.6, 0.65]) == [(0.5, 0.8), (0.3, 0.65)]


def swept(rho: Sequence[float], mu: Sequence[float]) -> dict[str, float]:
    """The line of pairs (0, 1), (1, 2), ... of which the larger of two sizes hurts more."""
    pairs = [((i, i + 1), r) for i, r in enumerate(rho)]
    updates = [update(pair, rho=r, n=n) for pair, r in pairs for n in (5, 10)]
    scores = [[score] for m in mu for score in (0.99, m)]
    drops = [np.array([[0.0, -10.0] * len(pairs)], np.float32)] * 2
    rest = [np.zeros((1, len(updates)), np.float32)] * 2
    return {n: f.value for n, f in line_figures(Shifts(*drops, *rest), updates, scores).items()}


def test_a_sweep_gives_the_line_through_the_best_sets_of_its_pairs() -> None:
    found = swept([0.2, 0.4, 0.8], [0.25, 0.35, 0.55])
    assert found == pytest.approx({"r_slope": 0.5, "r_intercept": 0.15, "r_squared": 1.0})


def test_a_line_that_explains_part_of_it_says_so() -> None:
    found = swept([0.0, 0.5, 1.0], [0.0, 1.0, 0.5])
    assert found == pytest.approx({"r_slope": 0.5, "r_intercept": 0.25, "r_squared": 0.25})


@pytest.mark.parametrize(
    "updates",
    [
        [update((0, 1), rho=0.5, n=5), update((1, 0), rho=0.3, n=5)],
        [update((0, 1), rho=0.5, n=5), update((0, 1), rho=0.5, n=9)],
        [update((0, 1), rho=float("nan"), n=n) for n in (5, 9)],
        [update((0, 1), (2, 3), rho=0.5, n=n) for n in (5, 9)],
    ],
    ids=["one size of each pair", "one rho", "rho is not known", "several pairs at once"],
)
def test_there_is_no_line_without_several_sizes_of_pairs_with_different_rho(updates: list[Update]) -> None:
    flat = np.zeros((1, len(updates)), np.float32)
    assert line_figures(Shifts(flat, flat, flat, flat), updates, [[0.5] * len(u.pairs) for u in updates]) == {}
