"""Ranks and groups: on numbers that can be seen, against SciPy and statsmodels' definition, and on simulated boards."""

import numpy as np
import pytest

from molebench.ranking import LEVEL, Boards, Exam, boards, groups, holm, rank_intervals, ranked, told_apart, weights
from molebench.types import Array


def test_holm_rejects_from_the_smallest_up_to_the_first_that_stays() -> None:
    p = np.array([0.04, 0.001, 0.013, 0.02])  # of 4: 0.001 < 0.05/4, 0.013 < 0.05/3, 0.02 < 0.05/2, 0.04 < 0.05/1
    assert holm(p, 0.05).tolist() == [True, True, True, True]
    assert holm(np.array([0.04, 0.001, 0.03, 0.02]), 0.05).tolist() == [False, True, False, False]  # 0.02 > 0.05/3
    assert holm(np.array([]), 0.05).tolist() == []


def test_holm_agrees_with_the_definition_by_adjusted_p_values() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.random(rng.integers(1, 12)) ** 3
        order = np.argsort(p)
        adjusted = np.empty_like(p)
        adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
        assert holm(p, 0.05).tolist() == (adjusted <= 0.05).tolist()


def test_a_rank_is_as_wide_as_what_is_not_told_apart() -> None:
    score = np.array([-1.0, -2.0, -9.0])
    apart = np.array([[False, False, True], [False, False, True], [True, True, False]])
    assert rank_intervals(score, apart) == [(1, 2), (1, 2), (3, 3)]
    assert groups(score, apart) == [1, 1, 2]


def test_a_group_ends_where_one_is_told_apart_from_its_best() -> None:
    score = np.array([-3.0, -1.0, -2.0])
    apart = np.array([[False, True, False], [True, False, False], [False, False, False]])
    assert groups(score, apart) == [2, 1, 1]  # the last is apart from the best; the middle one from neither


def test_items_are_drawn_within_their_class_and_once_in_the_first_row() -> None:
    y = np.array([0, 0, 0, 1, 1, 2])
    drawn = weights(y, np.random.default_rng(0), 50)
    assert drawn[0].tolist() == [1] * 6
    assert all((drawn[:, y == label].sum(axis=1) == n).all() for label, n in ((0, 3), (1, 2), (2, 1)))


def test_the_score_is_the_worst_attack_s_mean_over_seeds() -> None:
    y = np.array([0, 1])
    # one defense; attack 0 takes 1 and 5 points on two seeds, attack 1 takes 4 and 4
    exams = [Exam(y, -np.array([[[0.5, 0.5], [2.0, 2.0]]]), "a"), Exam(y, -np.array([[[2.5, 2.5], [2.0, 2.0]]]), "b")]
    found = boards(exams, np.random.default_rng(0), 10)
    assert found.score.tolist() == [-4.0]


def test_the_variance_of_a_mean_over_seeds_is_student_s() -> None:
    """Where items add nothing, the interval is that of a t test on the seeds' figures."""
    from scipy.stats import t

    from molebench.ranking import intervals

    figures = np.array([-3.0, -5.0, -4.0, -7.0, -6.0])
    exams = [Exam(np.array([0]), np.full((1, 1, 1), f), str(s)) for s, f in enumerate(figures)]
    low, high = intervals(boards(exams, np.random.default_rng(0), 20_000))
    due = t.interval(0.95, 4, figures.mean(), figures.std(ddof=1) / np.sqrt(5))
    assert [low[0], high[0]] == pytest.approx(due, abs=0.05)


def test_seeds_that_share_their_items_share_the_noise() -> None:
    rng = np.random.default_rng(0)
    y, c = np.zeros(100, dtype=np.int64), rng.normal(size=(1, 1, 100))
    alike = boards([Exam(y, c, "same") for _ in range(5)], np.random.default_rng(1), 4000)
    apart = boards([Exam(y, c, str(s)) for s in range(5)], np.random.default_rng(1), 4000)
    assert alike.items.std() / apart.items.std() == pytest.approx(np.sqrt(5), rel=0.05)


def test_twins_are_never_told_apart_and_what_is_plain_always_is() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(5, size=200)
    each = [rng.normal(size=200) for _ in range(5)]
    exams = [Exam(y, np.stack([c, c, c - 1.0])[:, None], str(s)) for s, c in enumerate(each)]
    first, twin, worse = ranked(exams, np.random.default_rng(0))
    assert (first.rank, twin.rank, worse.rank) == ((1, 2), (1, 2), (3, 3))
    assert (first.group, twin.group, worse.group) == (1, 1, 2)
    assert first.low < first.score < first.high


def test_one_seed_knows_the_noise_of_items_alone() -> None:
    found = Boards(np.array([0.0, -9.0]), np.zeros((3, 2)), np.array([[0.0, -9.0], [1.0, -8.0], [-1.0, -10.0]]), 1)
    assert told_apart(found)[0, 1]


def simulated(rng: np.random.Generator, own: float, shared: bool, effects: Array) -> list[Exam]:
    """A board: the items of a test set differ in difficulty, a training helps or harms all of them a little."""
    e, a, m = len(effects), 2, 150
    hard, y = rng.normal(0, 1.5, m), rng.integers(10, size=m)
    exams = []
    for seed in range(5):
        luck = rng.normal(0, own, (e, a, 1)) + rng.normal(0, 0.2, (1, a, 1)) + effects[:, None, None]
        before = rng.random(m) < 1 / (1 + np.exp(-(2.0 + hard)))
        after = rng.random((e, a, m)) < 1 / (1 + np.exp(-(1.0 + hard + luck)))
        exams.append(Exam(y, 100.0 * (after.astype(float) - before) / m, "all" if shared else str(seed)))
    return exams


@pytest.mark.parametrize(("own", "shared"), [(0.0, True), (0.3, False), (1.0, True)])
def test_identical_defenses_are_one_group_in_95_of_100_boards(own: float, shared: bool) -> None:
    """Whether trainings differ not at all, somewhat, or more than anything else; 200 boards each."""
    together = 0
    for number in range(200):
        rng = np.random.default_rng(number)
        found = boards(simulated(rng, own, shared, np.zeros(6)), rng, 300)
        together += max(groups(found.score, told_apart(found, LEVEL))) == 1
    assert together >= 190


def test_defenses_that_differ_much_are_split() -> None:
    effects = np.array([0.0, -0.1, -3.0, -3.1])
    split = 0
    for number in range(20):
        rng = np.random.default_rng(number)
        found = boards(simulated(rng, 0.1, False, effects), rng, 300)
        split += groups(found.score, told_apart(found)) == [1, 1, 2, 2]
    assert split >= 18
