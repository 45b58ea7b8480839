"""Moles on numbers small enough to check by eye: who is one, which pairs are taken, and how many moles hurt most."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from molebench.errors import MolebenchError
from molebench.moles import (
    Line,
    Pair,
    best_size,
    common_size,
    fit_r,
    greedy,
    percentiles,
    plan_pairs,
    select_all,
    select_moles,
)
from molebench.types import Array

few = settings(max_examples=25, deadline=None)  # every call is type-checked here, which takes longer than the call

#            class 0          class 1               class 2
Y = np.array([0, 0, 1, 1, 1, 1, 2, 2])
P = np.array(
    [
        [0.7, 0.2, 0.1],
        [0.9, 0.1, 0.0],
        [0.2, 0.8, 0.0],  # 2
        [0.5, 0.4, 0.1],  # 3: the best mole of class 1 for class 0
        [0.2, 0.7, 0.1],  # 4: as good as 2
        [0.1, 0.6, 0.3],  # 5
        [0.0, 0.1, 0.9],
        [0.3, 0.3, 0.4],
    ]
)


def beliefs(m: int, k: int, seed: int) -> tuple[Array, Array]:
    """P(y | x) of m images of k classes in quarters, so that there are many ties; and labels, each class there."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 5, (m, k)) / 4, np.concatenate([np.arange(k), rng.integers(0, k, m - k)])


# ------------------------------------------------------------------ who is a mole


def test_moles_are_the_images_of_the_confounding_class_that_look_most_like_the_attacked_one() -> None:
    assert select_moles(P, Y, attacked=0, confounding=1, n=1).tolist() == [3]
    assert select_moles(P, Y, attacked=2, confounding=1, n=2).tolist() == [5, 3]
    assert select_moles(P, Y, attacked=1, confounding=2, n=2).tolist() == [7, 6]


def test_of_equal_scores_the_lower_index_comes_first() -> None:
    assert select_moles(P, Y, attacked=0, confounding=1, n=4).tolist() == [3, 2, 4, 5]
    assert select_moles(np.ones((6, 2)), np.array([0, 1, 1, 0, 1, 1]), 0, 1, 3).tolist() == [1, 2, 4]


def test_scores_a_float_apart_are_no_tie() -> None:
    scores = np.array([[0.5, 0.5], [np.nextafter(0.5, 1), 0.5], [0.5, 0.5]])
    assert select_moles(scores, np.array([1, 1, 0]), 0, 1, 2).tolist() == [1, 0]


def naive(scores: Array, labels: Array, a: int, c: int, n: int) -> list[int]:
    """The definition, one image at a time."""
    left = [i for i in range(len(labels)) if labels[i] == c]
    found = []
    for _ in range(n):
        best = left[0]
        for i in left:
            if scores[i, a] > scores[best, a]:
                best = i
        found.append(best)
        left.remove(best)
    return found


@few
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_moles_are_those_of_a_loop_over_the_definition(seed: int, k: int) -> None:
    scores, labels = beliefs(30, k, seed)
    for a in range(k):
        for c in (c for c in range(k) if c != a):
            n = int((labels == c).sum())
            assert select_moles(scores, labels, a, c, n).tolist() == naive(scores, labels, a, c, n)


@few
@given(st.integers(0, 10_000))
def test_all_pairs_at_once_have_the_moles_of_each_pair_alone(seed: int) -> None:
    scores, labels = beliefs(40, 4, seed)
    n = int(np.bincount(labels).min())
    found = select_all(scores, labels, n)
    assert found.shape == (4, 4, n)
    for a, c in np.argwhere(~np.eye(4, dtype=bool)):
        assert found[a, c].tolist() == select_moles(scores, labels, int(a), int(c), n).tolist()


def test_the_diagonal_of_all_pairs_holds_a_class_s_own_best_images() -> None:
    assert select_all(P, Y, 2)[0, 0].tolist() == [1, 0]


def test_selecting_changes_neither_scores_nor_labels() -> None:
    scores, labels = P.copy(), Y.copy()
    select_all(scores, labels, 2)
    plan_pairs(scores, labels, 0.0)
    assert (scores == P).all()
    assert (labels == Y).all()


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "one class twice": (lambda: select_moles(P, Y, 1, 1, 1), "expected two different classes of 0..2"),
    "no such attacked class": (lambda: select_moles(P, Y, 3, 1, 1), "moles of class 1 for class 3"),
    "no such confounding class": (lambda: select_moles(P, Y, 0, -1, 1), "expected two different classes of 0..2"),
    "more than the class has": (lambda: select_moles(P, Y, 0, 1, 5), "5 moles of class 1, which has 4 images"),
    "none": (lambda: select_moles(P, Y, 0, 1, 0), "0 moles of class 1, which has 4 images; choose 1 or more"),
    "all pairs, more than a class has": (lambda: select_all(P, Y, 3), "3 moles of class 0, which has 2 images"),
    "a percentile without a line": (lambda: plan_pairs(P, Y, 0.1, percentile=90), "(there is: 95, 97, 99)"),
    "no line from one pair": (lambda: fit_r(np.array([0.5]), np.array([0.5])), "1 pairs came"),
    "no line from one rho": (lambda: fit_r(np.array([0.5, 0.5]), np.array([0.1, 0.9])), "two different rho"),
}


@pytest.mark.parametrize(("call", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_answered_is_refused_in_a_line(call: Callable[[], Any], says: str) -> None:
    with pytest.raises(MolebenchError) as refusal:
        call()
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "ranked",
    [
        lambda scores: select_moles(scores, Y, 0, 1, 1),
        lambda scores: select_all(scores, Y, 1),
        lambda scores: plan_pairs(scores, Y, 0.1),
    ],
    ids=["one pair", "all pairs", "a plan"],
)
def test_scores_that_cannot_be_ranked_are_refused_wherever_they_are(ranked: Callable[[Array], Any], bad: float) -> None:
    scores = P.copy()
    scores[[0, 7], 2] = bad  # of images that are no moles of this pair
    with pytest.raises(MolebenchError, match="scores of 2 of 8 images are NaN or infinite"):
        ranked(scores)


# ------------------------------------------------------------------ how confusable two classes are


@few
@given(st.integers(0, 10_000), st.sampled_from([50, 95, 97, 99, 100]))
def test_rho_is_numpy_s_linear_percentile_of_the_confounding_class_s_scores(seed: int, percentile: int) -> None:
    scores, labels = beliefs(40, 4, seed)
    rho = percentiles(scores, labels, percentile)
    for a, c in np.argwhere(~np.eye(4, dtype=bool)):
        assert rho[a, c] == np.percentile(scores[labels == c, a], percentile, method="linear")


def test_rho_of_four_images_by_hand() -> None:
    rho = percentiles(P, Y, 99)  # of 0.1, 0.2, 0.2, 0.5: 97 % of the way from the third to the last
    assert rho[0, 1] == pytest.approx(0.2 + 0.97 * 0.3)


def test_a_class_has_no_rho_for_itself_and_one_without_images_none_at_all() -> None:
    rho = percentiles(np.hstack([P, np.zeros((8, 1))]), Y, 99)
    assert np.isnan(rho.diagonal()).all()
    assert np.isnan(rho[:, 3]).all()
    assert np.isfinite(rho[3, :3]).all()


# ------------------------------------------------------------------ which pairs are taken

RHO = np.array(
    [
        [np.nan, 0.9, 0.5, 0.1],
        [0.8, np.nan, 0.7, 0.2],
        [0.6, 0.4, np.nan, 0.3],
        [0.1, 0.1, 0.3, np.nan],
    ]
)


def test_pairs_are_taken_by_falling_rho_and_no_class_is_in_two() -> None:
    # after (0, 1) every pair with 0 or 1 is out, though (1, 0) and (1, 2) have a larger rho than (2, 3)
    assert greedy(RHO, 0.0) == [(0, 1, 0.9), (2, 3, 0.3)]


def test_a_pair_is_taken_while_rho_itself_reaches_rho_min() -> None:
    assert greedy(RHO, 0.3) == [(0, 1, 0.9), (2, 3, 0.3)]  # r(0.3) = 0.33 has no say in it
    assert greedy(RHO, 0.31) == [(0, 1, 0.9)]
    assert greedy(RHO, 0.91) == []


def test_of_pairs_with_one_rho_the_lower_class_comes_first() -> None:
    assert greedy(np.full((4, 4), 0.5), 0.1) == [(0, 0, 0.5), (1, 1, 0.5), (2, 2, 0.5), (3, 3, 0.5)]
    assert greedy(np.where(np.eye(4), np.nan, 0.5), 0.1) == [(0, 1, 0.5), (2, 3, 0.5)]


def test_with_overlap_a_class_may_be_in_several_pairs_but_confound_in_one() -> None:
    assert greedy(RHO, 0.3, overlap=True) == [(0, 1, 0.9), (1, 0, 0.8), (1, 2, 0.7), (2, 3, 0.3)]


@few
@given(st.integers(0, 10_000), st.integers(2, 7), st.floats(0, 1), st.booleans())
def test_whatever_rho_is_no_class_is_used_twice_and_no_pair_is_left_out(
    seed: int, k: int, rho_min: float, overlap: bool
) -> None:
    rho = np.where(np.eye(k, dtype=bool), np.nan, np.random.default_rng(seed).integers(0, 9, (k, k)) / 8)
    found = greedy(rho, rho_min, overlap)
    used = [c for a, c, _ in found for c in ([c] if overlap else [a, c])]
    assert len(used) == len(set(used))
    assert all(value == rho[a, c] >= rho_min for a, c, value in found)
    assert [value for *_, value in found] == sorted((value for *_, value in found), reverse=True)
    left = [(a, c) for a, c in np.argwhere(rho >= rho_min) if not set(used) & ({c} if overlap else {a, c})]
    assert left == []


# ------------------------------------------------------------------ how many moles hurt most

#       the mean of the n largest: 0.8, 0.7, 0.6, 0.5
LADDER = np.array([0.4, 0.8, 0.2, 0.6])


def test_n_is_the_first_size_at_which_the_mean_of_the_largest_falls_to_the_target() -> None:
    assert [best_size(LADDER, target) for target in (0.9, 0.75, 0.65, 0.55)] == [1, 2, 3, 4]


def test_a_mean_that_is_the_target_is_low_enough() -> None:
    assert best_size(np.array([0.75, 0.5, 0.25]), 0.625) == 2  # exact in binary


def test_a_target_that_no_size_reaches_takes_the_whole_class() -> None:
    assert best_size(LADDER, 0.4) == 4


def test_as_released_is_one_more_but_never_more_than_there_are() -> None:
    assert [best_size(LADDER, target, "as_released") for target in (0.9, 0.75, 0.65, 0.55, 0.4)] == [2, 3, 4, 4, 4]


@few
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0, 1))
def test_n_is_that_of_a_loop_over_the_definition(scores: list[float], target: float) -> None:
    largest = sorted(scores, reverse=True)
    expected = next((n for n in range(1, len(scores) + 1) if np.cumsum(largest)[n - 1] / n <= target), len(scores))
    assert best_size(np.array(scores), target) == expected


@pytest.mark.parametrize(
    ("sizes", "unit", "min_units", "expected"),
    [
        ([100, 150], 50, 1, 100),  # 2.5 units: half to even, so 2
        ([150, 200], 50, 1, 200),  # 3.5 units: half to even, so 4
        ([149, 200], 50, 1, 150),  # just below
        ([10], 50, 1, 50),  # one unit at least
        ([10], 50, 0, 0),  # or none where that is allowed
        ([25], 50, 0, 0),  # half a unit: to even
        ([26], 50, 0, 50),
        ([10], 50, 3, 150),
        ([7, 8], 1, 1, 8),
        ([], 50, 1, 0),  # no pair, no moles
    ],
)
def test_the_common_size_is_the_mean_in_whole_units(sizes: list[int], unit: int, min_units: int, expected: int) -> None:
    assert common_size(sizes, unit, min_units) == expected


# ------------------------------------------------------------------ the plan


def planned(**more: Any) -> tuple[list[Pair], int]:
    """The plan of P with a line that is easy to follow: r(rho) = rho / 2."""
    return plan_pairs(P, Y, **{"rho_min": 0.4, "percentile": 100, "r": Line(0.5, 0.0), "unit": 1, **more})


def test_a_plan_has_each_pair_s_rho_and_n_and_their_common_size() -> None:
    # rho is the largest score: 0.5 for (0, 1), 0.3 for (0, 2), (1, 2) and (2, 1), 0.2 for (1, 0), 0.1 for (2, 0);
    # r(0.5) = 0.25, and the largest four of class 1 for class 0 are 0.5, 0.2, 0.2, 0.1: means 0.5, 0.35, 0.3, 0.25
    assert planned() == ([Pair(0, 1, 0.5, 4)], 4)
    assert planned(r=Line(0.0, 0.36)) == ([Pair(0, 1, 0.5, 2)], 2)
    assert planned(r=Line(0.0, 0.36), protocol="as_released") == ([Pair(0, 1, 0.5, 3)], 3)
    assert planned(r=Line(0.0, 0.36), unit=5) == ([Pair(0, 1, 0.5, 2)], 5)
    assert planned(r=Line(0.0, 0.36), unit=5, min_units=0) == ([Pair(0, 1, 0.5, 2)], 0)


def test_r_may_be_any_function_of_rho() -> None:
    asked = []

    def r(rho: float) -> float:
        asked.append(rho)
        return 0.36

    assert planned(r=r) == ([Pair(0, 1, 0.5, 2)], 2)
    assert asked == [0.5]


def test_a_plan_without_a_pair_that_is_confusable_enough_is_empty() -> None:
    assert planned(rho_min=0.51) == ([], 0)
    assert planned(rho_min=0.51, min_units=3) == ([], 0)


def test_with_overlap_one_class_is_attacked_through_two() -> None:
    pairs, _ = planned(rho_min=0.3, overlap=True)
    assert [(p.attacked, p.confounding) for p in pairs] == [(0, 1), (0, 2)]
    assert [(p.attacked, p.confounding) for p in planned(rho_min=0.3)[0]] == [(0, 1)]


@pytest.mark.parametrize(
    ("percentile", "slope", "intercept"), [(99, 0.765, 0.101), (97, 0.840, 0.313), (95, 1.122, 0.349)]
)
def test_without_a_line_the_published_one_of_the_percentile_is_taken(
    percentile: int, slope: float, intercept: float
) -> None:
    scores, labels = beliefs(200, 4, 0)
    assert plan_pairs(scores, labels, 0.1, percentile) == plan_pairs(
        scores, labels, 0.1, percentile, Line(slope, intercept)
    )


@few
@given(st.integers(0, 10_000), st.sampled_from(["paper", "as_released"]), st.booleans())
def test_a_plan_s_sizes_are_within_the_classes_and_its_common_size_in_units(
    seed: int, protocol: str, overlap: bool
) -> None:
    scores, labels = beliefs(60, 5, seed)
    pairs, n = plan_pairs(scores, labels, 0.5, unit=3, protocol=protocol, overlap=overlap)  # type: ignore[arg-type]
    assert all(1 <= p.n <= (labels == p.confounding).sum() for p in pairs)
    assert n % 3 == 0
    assert (n > 0) == bool(pairs)


# ------------------------------------------------------------------ the line r


def test_points_on_a_line_give_the_line_and_explain_everything() -> None:
    rho = np.array([0.1, 0.4, 0.9])
    line = fit_r(rho, 0.75 * rho + 0.1)
    assert (line.slope, line.intercept, line.r_squared) == pytest.approx((0.75, 0.1, 1.0))
    assert line(0.4) == pytest.approx(0.4)


def test_r_squared_is_the_share_of_the_variance_that_the_line_explains() -> None:
    # the best line through (0, 0), (1, 2), (2, 1) has slope 1/2 and intercept 1/2: residuals -1/2, 1, -1/2 of 1 + 1 + 0
    line = fit_r(np.array([0.0, 1.0, 2.0]), np.array([0.0, 2.0, 1.0]))
    assert (line.slope, line.intercept, line.r_squared) == pytest.approx((0.5, 0.5, 1 - 1.5 / 2))


def test_a_line_through_one_height_has_nothing_to_explain() -> None:
    line = fit_r(np.array([0.0, 1.0]), np.array([0.5, 0.5]))
    assert (line.slope, line.intercept) == pytest.approx((0.0, 0.5))
    assert np.isnan(line.r_squared)
