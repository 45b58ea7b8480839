"""Schedules and acceptance of updates: what each order holds, which batches stand out, and what is let in."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy.stats import median_abs_deviation

from molebench.defenses.batch_anomaly import BatchAnomaly, alike, anomalous, doubts, even, moments, spread, statistics
from molebench.defenses.canary_rollback import CanaryRollback, recalls
from molebench.defenses.replay_interleave import ReplayInterleave, interleaved, rounds
from molebench.defenses.reshuffle import Reshuffle, stratified
from molebench.defenses.weight_average import WeightAverage
from molebench.errors import MolebenchError
from molebench.hooks import Pipeline, Sees, View
from molebench.types import Array

K, BATCH = 4, 20


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def believed(y: Array, seed: int, hard: float = 0.05, k: int = K) -> Array:
    """Beliefs of a model that knows most of its images: a wrong class, any, has a small share of each."""
    draws = rng(seed)
    wrong = draws.beta(1.0, 1.0 / hard, len(y)) * 0.5
    p = draws.dirichlet(np.full(k, 0.3), len(y))
    p[np.arange(len(y)), y] = 0.0
    p = wrong[:, None] * p / p.sum(axis=1, keepdims=True)
    p[np.arange(len(y)), y] = 1 - p.sum(axis=1)
    return p.astype(np.float32)


def moled(p: Array, y: Array, which: Array, to: int, much: float = 0.4) -> Array:
    """The same, but some images are half taken for one other class."""
    p = p.copy()
    p[which] = 0.0
    p[which, to] = much
    p[which, y[which]] = 1 - much
    return p


def seen(y: Array, p: Array | None = None, labelled: int = 400, count: int = BATCH, **more: Any) -> View:
    """An update of these labels and beliefs, beside a hundred labelled images of each class."""
    x, own = np.zeros((len(y), 1, 1, 1), np.uint8), np.arange(labelled) % K
    z, owned = np.zeros((len(y), 2), np.float32), np.zeros((labelled, 2), np.float32)
    known: dict[str, Any] = {
        "labelled_x": np.zeros((labelled, 1, 1, 1), np.uint8),
        "labelled_z": owned,
        "labelled_y": own,
    }
    beliefs: dict[str, Any] = {"p": believed(y, 1) if p is None else p, "labelled_p": believed(own, 2)}
    return View(x, z, K, y=y, count=count, **known, **beliefs, **more)


def shown(view: View, sees: Sees) -> View:
    """The view that a pipeline asks for."""
    return view


SCHEDULES = [Reshuffle(), ReplayInterleave(), ReplayInterleave(ratio=7.0), BatchAnomaly(), BatchAnomaly(ratio=7.0)]


@pytest.mark.parametrize("made", SCHEDULES, ids=str)
@pytest.mark.parametrize("n", [1, 2, 19, 20, 21, 150])
@pytest.mark.filterwarnings("error")
def test_every_schedule_holds_each_item_of_the_update_once_and_passes_the_checks(made: Any, n: int) -> None:
    y = rng(n).integers(0, K, n)
    for labelled in (400, 3):
        view = seen(y, moled(believed(y, 1), y, np.arange(n), 0) if n < 20 else None, labelled)
        order = made.schedule(view, rng())
        assert Pipeline((("made", made),)).scheduled(partial(shown, view), 0) is not None
        assert sorted(order[order < n].tolist()) == list(range(n))
        assert np.array_equal(order, made.schedule(view, rng()))


# ------------------------------------------------------------------ reshuffle


def test_any_stretch_of_a_stratified_order_holds_the_classes_in_their_shares() -> None:
    y = rng(3).permutation(np.repeat(np.arange(3), [60, 30, 10]))
    order = stratified(y, rng())
    assert sorted(order.tolist()) == list(range(100))
    for batch in np.split(y[order], 5):
        assert np.abs(np.bincount(batch, minlength=3) - [12, 6, 2]).max() <= 2
    first = np.array([stratified(y, rng(s))[0] for s in range(300)])
    assert len(np.unique(first)) > 60  # anyone may be first


# ------------------------------------------------------------------ replay_interleave


def test_two_lists_are_laid_evenly_among_each_other() -> None:
    assert interleaved(np.array([0, 1, 2]), np.array([10, 11, 12, 13, 14, 15])).tolist() == [
        10,
        0,
        11,
        12,
        1,
        13,
        14,
        2,
        15,
    ]
    assert interleaved(np.array([0, 1]), np.zeros(0, np.int64)).tolist() == [0, 1]


def test_rounds_are_one_of_each_class_and_begin_anew_where_a_class_is_through() -> None:
    y = np.array([0, 0, 0, 0, 1, 1, 2])
    found = rounds(y, 14, rng())
    assert len(found) == 14
    for i in range(0, 12, 3):
        assert sorted(y[found[i : i + 3]].tolist()) == [0, 1, 2]
    assert sorted(found[y[found] == 0].tolist()[:4]) == [0, 1, 2, 3]
    assert found[y[found] == 2].tolist() == [6] * 5


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0, 3.0])
def test_every_batch_holds_as_many_labelled_items_for_each_fresh_one_class_for_class(ratio: float) -> None:
    n = 120
    order = ReplayInterleave(ratio=ratio).schedule(seen(rng(1).integers(0, K, n)), rng())
    assert len(order) == n * (1 + ratio)
    for batch in np.split(order, range(BATCH, len(order), BATCH)):
        old = batch[batch >= n]
        assert abs(len(old) - len(batch) * ratio / (1 + ratio)) <= 1
        assert np.ptp(np.bincount((old - n) % K, minlength=K)) <= 2


# ------------------------------------------------------------------ batch_anomaly


def test_doubts_are_log_beliefs_in_spreads_of_the_labelled_ones_and_a_log_margin() -> None:
    e = np.exp(-np.array([[1.0, 2.0, 3.0], [1.0, 4.0, 5.0], [2.0, 1.0, 9.0]]))
    usual = moments(e, np.array([0, 0, 1]))
    assert usual[0, 0] == pytest.approx([-1, -3, -4])
    assert usual[1, 0] == pytest.approx([1e-3, 1, 1])  # of a belief that never changes, rounding is no surprise
    assert usual[:, 2].tolist() == [[0, 0, 0], [1, 1, 1]]
    found = doubts(e[:2], np.array([0, 0]), usual)
    assert found[:, 1:] == pytest.approx(np.array([[1, 1, 1], [-1, -1, 3]]))
    assert (found[:, 0] < -100).all()


def test_statistics_of_a_batch_are_its_mean_margin_and_its_worst_pair() -> None:
    y, draws = np.array([1, 0, 1, 2, 1, 0]), rng(4).normal(size=(7, 6, K + 1))
    draws[:, np.arange(6), y] = -1e3
    found = statistics(draws, y)
    for one, batch in zip(found, draws, strict=True):
        pairs = [
            sum(batch[i, a] for i in range(6) if y[i] == c) / np.sqrt((y == c).sum())
            for c in range(3)
            for a in range(K)
            if a != c
        ]
        assert one == pytest.approx([batch[:, -1].mean(), max(pairs)])


def test_a_batch_is_compared_with_labelled_ones_of_the_same_labels() -> None:
    y, known = np.array([2, 0, 2, 1]), np.arange(90) % 3
    found = alike(y, known, 50, rng())
    assert (known[found] == y).all()
    assert len(np.unique(found)) > 60
    assert alike(np.array([5]), known, 50, rng()).max() < 90  # of a class that nobody has


def test_a_batch_stands_out_beyond_the_limit_and_to_the_bad_side_only() -> None:
    usual = np.stack([rng(0).normal(0.9, 0.01, 200), rng(1).normal(0.2, 0.02, 200)], axis=1)
    middle, scale = np.median(usual, axis=0), median_abs_deviation(usual, axis=0, scale="normal")
    for z, stands_out in ((-3.9, False), (-4.1, True), (9.0, False)):
        assert anomalous((middle + z * scale * [1, 0])[None], usual, 4.0) is stands_out
        assert anomalous((middle - z * scale * [0, 1])[None], usual, 4.0) is stands_out


def test_outlying_items_go_anywhere_and_the_others_stay_in_order() -> None:
    outlying = np.arange(100) >= 60
    order = spread(outlying, np.arange(30), rng())
    assert sorted(order.tolist()) == list(range(130))
    assert order[order < 60].tolist() == list(range(60))
    for part in (order[(order >= 60) & (order < 100)], order[order >= 100]):
        places = np.flatnonzero(np.isin(order, part)) / 130
        assert abs(places.mean() - 0.5) < 0.15


def test_replayed_items_are_of_all_classes_alike() -> None:
    y = np.repeat(np.arange(3), [900, 90, 40])
    found = even(y, 60, rng())
    assert len(np.unique(found)) == 60
    assert np.bincount(y[found], minlength=3).min() >= 10
    assert len(even(y, 5000, rng())) == 5000
    assert len(even(y, 0, rng())) == 0


def test_an_honest_update_is_left_as_it_is() -> None:
    untouched = 0
    for seed in range(20):
        y = rng(seed).integers(0, K, 100)
        order = BatchAnomaly().schedule(seen(y, believed(y, 100 + seed)), rng(seed))
        untouched += order.tolist() == list(range(100))
    assert untouched >= 17


def test_a_batch_of_moles_is_split_up_among_replayed_items() -> None:
    y = rng(5).integers(0, K, 100)
    moles = np.arange(40, 60)
    y[moles] = 1
    order = BatchAnomaly().schedule(seen(y, moled(believed(y, 9), y, moles, 3)), rng())
    assert len(order) == 120
    held = [int(np.isin(batch, moles).sum()) for batch in np.split(order, 6)]
    assert max(held) <= 8  # of twenty in one batch before
    assert np.array_equal(np.setdiff1d(order[order < 100], moles), np.setdiff1d(np.arange(100), moles))
    assert order[(order < 100) & ~np.isin(order, moles)].tolist() == np.setdiff1d(np.arange(100), moles).tolist()


def test_moles_in_every_batch_are_diluted_in_all_of_it() -> None:
    y = np.arange(100) % K
    moles = np.flatnonzero(y == 1)  # a quarter of each batch, as an update of the offline scenario has them
    order = BatchAnomaly(ratio=2.0).schedule(seen(y, moled(believed(y, 9), y, moles, 3)), rng())
    assert len(order) == 300
    assert (np.bincount((order[order >= 100] - 100) % K) > 30).all()


def test_batch_anomaly_needs_beliefs() -> None:
    view = View(np.zeros((2, 1, 1, 1), np.uint8), np.zeros((2, 1), np.float32), K, y=np.zeros(2, np.int64), count=2)
    with pytest.raises(MolebenchError, match="batch_anomaly needs the model's beliefs"):
        BatchAnomaly().schedule(view, rng())


# ------------------------------------------------------------------ canary_rollback


def trusted(old: list[list[int]], new: list[list[int]], y: list[int]) -> View:
    """Trusted items of these labels, and what the old and the new model predict."""
    p, before = (np.array(each, np.float32) for each in (new, old))
    one = np.zeros((1, 1, 1, 1), np.uint8), np.zeros((1, 1), np.float32)
    return View(*one, 2, trusted_y=np.array(y), trusted_p=p, trusted_p_before=before)


RIGHT, WRONG = [[1, 0]], [[0, 1]]  # for class 0


def test_an_update_is_rolled_back_when_one_class_falls_by_more_than_tau() -> None:
    y, before = [0] * 10 + [1] * 10, RIGHT * 9 + WRONG + WRONG * 5 + RIGHT * 5
    for lost, kept in ((0, True), (1, True), (2, False)):
        after = RIGHT * (9 - lost) + WRONG * (1 + lost) + WRONG * 10  # class 1 gains five
        assert CanaryRollback(tau=0.1).accept(trusted(before, after, y), rng()) is kept
    assert CanaryRollback(tau=0.0).accept(trusted(before, before, y), rng())


def test_recalls_are_of_each_class_that_is_trusted() -> None:
    p = np.array([[0.9, 0.1, 0], [0.4, 0.6, 0], [0, 0.2, 0.8]], np.float32)
    assert recalls(p, np.array([0, 0, 2])).tolist() == [0.5, 1.0]


def test_canary_rollback_needs_trusted_images() -> None:
    with pytest.raises(MolebenchError, match="canary_rollback needs trusted images"):
        CanaryRollback().accept(seen(np.zeros(3, np.int64)), rng())


# ------------------------------------------------------------------ weight_average


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5])
def test_the_same_share_of_every_update_is_let_in(share: float) -> None:
    made = WeightAverage(share=share)
    assert Pipeline((("made", made),)).accepts(lambda sees: seen(np.zeros(3, np.int64)), 0) == share
