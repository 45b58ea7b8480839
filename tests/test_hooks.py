"""What a defense may do to us (hang, shout, scribble, ask for too much), and what only some are shown."""

import io
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from molebench.cards import defense
from molebench.errors import CellFailed, MolebenchError
from molebench.filtering import by_class, judgement, rates
from molebench.heads import HeadSpec
from molebench.hooks import Pipeline, View
from molebench.limits import OverLimit, limited
from molebench.metrics import auroc
from molebench.scenarios.query_loop import Arm, Budget, Loop
from molebench.types import Array
from tests.test_query_loop import TEST, K, blobs, poisoned

QUICK = HeadSpec(lr=0.1, epochs=2, batch=16)


def behind(*defenses: tuple[str, object], seconds: float = 60.0, seed: int = 0, extractor: Any = None) -> Arm:
    """A short poisoned arm behind these defenses."""
    pipeline = Pipeline(defenses, seed=seed, seconds=seconds)
    loop = Loop(QUICK, Budget(4, 2, 6), poisoned(12), TEST, K, seed, seed, pipeline, extractor)
    return loop.play(lambda n: None)


def doing(what: Callable[[View], Any]) -> object:
    """A defense that does this and then keeps everything."""

    def screen_pool(self: object, view: View, rng: np.random.Generator) -> Array:
        what(view)
        return np.ones(len(view.x), dtype=bool)

    return type("Doing", (), {"screen_pool": screen_pool})()


# ------------------------------------------------------------------ time, output, scribbling


def loops_for_ever(view: View) -> None:
    while True:
        pass


def swallows_everything(view: View) -> None:
    while True:
        try:
            time.sleep(60)
        except Exception:
            continue


@pytest.mark.parametrize("hang", [loops_for_ever, swallows_everything, lambda view: time.sleep(60)])
def test_a_defense_that_hangs_fails_its_cell_in_time(hang: Callable[[View], None]) -> None:
    start = time.monotonic()
    with pytest.raises(CellFailed, match=r"defense sleepy at screen_pool: it took longer than 0\.3 s"):
        behind(("sleepy", doing(hang)), seconds=0.3)
    assert time.monotonic() - start < 20


def test_an_alarm_that_was_set_before_still_rings() -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    old = signal.setitimer(signal.ITIMER_REAL, 0.4)
    try:
        with pytest.raises(OverLimit), limited(0.1):
            time.sleep(5)
        time.sleep(0.6)
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *old)
    assert rung == [1]


def test_outside_the_main_thread_there_is_no_alarm_and_no_error() -> None:
    done: list[bool] = []

    def work() -> None:
        with limited(0.01):
            time.sleep(0.05)
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


def test_a_defense_that_prints_a_gigabyte_fails_its_cell_and_what_it_said_is_no_output_of_ours() -> None:
    def shout(view: View) -> None:
        for _ in range(2**20):
            sys.stdout.write("x" * 1024)

    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "stdout", out),
        mock.patch.object(sys, "stderr", err),
        pytest.raises(CellFailed, match="defense loud at screen_pool: it printed more than 1048576 characters"),
    ):
        behind(("loud", doing(shout)))
    assert out.getvalue() == ""
    assert len(err.getvalue()) <= 2**20


def test_what_a_defense_prints_goes_to_stderr() -> None:
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.object(sys, "stdout", out), mock.patch.object(sys, "stderr", err):
        behind(("talker", doing(lambda view: sys.stdout.write("hello\n"))))
    assert (out.getvalue(), err.getvalue()) == ("", "hello\n" * 2)


@pytest.mark.parametrize("name", ["x", "z", "labelled_x", "labelled_z", "labelled_y"])
def test_a_defense_that_writes_into_its_input_fails_its_cell(name: str) -> None:
    def scribble(view: View) -> None:
        getattr(view, name)[0] = 0

    with pytest.raises(CellFailed, match=r"defense vandal at screen_pool raised ValueError: .*read-only"):
        behind(("vandal", doing(scribble)))


# ------------------------------------------------------------------ floors


def test_a_filter_that_unlearns_a_class_fails_the_cell_and_names_the_class() -> None:
    class NoOnes:
        def filter_train(self, view: View, rng: np.random.Generator) -> Array:
            kept: Array = view.labels != 1
            return kept

    with pytest.raises(CellFailed, match="defense no_ones removes every item of class 1 at filter_train"):
        behind(("no_ones", NoOnes()))


def test_two_filters_that_unlearn_a_class_together_fail_and_the_one_that_took_the_last_is_named() -> None:
    class Parity:
        def __init__(self, rest: int) -> None:
            self.rest = rest

        def filter_train(self, view: View, rng: np.random.Generator) -> Array:
            number = np.array([int((view.labels[:i] == y).sum()) for i, y in enumerate(view.labels)])
            kept: Array = (view.labels != 1) | (number % 2 == self.rest)
            return kept

    with pytest.raises(CellFailed, match="defense odd removes every item of class 1"):
        behind(("even", Parity(0)), ("odd", Parity(1)))


# ------------------------------------------------------------------ what only some are shown


def keeper(*sees: str) -> Any:
    """A defense that keeps its views and filters nothing; its card asks for this."""

    @defense(paper="a test", scenarios=("active",), sees=sees)
    @dataclass(frozen=True)
    class Keeper:
        seen: list[View] = field(default_factory=list)

        def screen_pool(self, view: View, rng: np.random.Generator) -> Array:
            self.seen.append(view)
            return np.ones(len(view.x), dtype=bool)

    return Keeper()


def test_a_defense_is_shown_no_more_than_its_card_asks_for() -> None:
    given = {}
    for sees in ((), ("extractor",), ("labels",), ("ground_truth",), ("dropped",)):
        one = keeper(*sees)
        behind(("before", Half()), ("one", one), extractor=np.tanh)
        view = one.seen[0]
        fields = {"extractor": view.extractor, "labels": view.y, "ground_truth": view.poison, "dropped": view.dropped}
        given[sees] = tuple(name for name, value in fields.items() if value is not None)
    assert given == {sees: sees for sees in given}


def test_a_matched_control_is_told_how_many_of_each_class_are_dropped_and_of_the_first_screening_to_the_end() -> None:
    first, second = keeper("dropped"), keeper("dropped", "labels")
    behind(("first", first), ("half", Half()), ("second", second))
    assert first.seen[0].dropped is None
    odd = second.seen[0].x[:, 0, 0, 0] % 2 == 1
    expected = np.bincount(second.seen[0].labels[odd], minlength=K).tolist()
    assert [view.dropped.tolist() for view in second.seen if view.dropped is not None] == [expected, expected]


def test_a_matched_control_acts_only_where_those_before_it_do() -> None:
    class Matched(type(keeper("dropped"))):  # type: ignore[misc]
        def filter_train(self, view: View, rng: np.random.Generator) -> Array:
            return np.ones(len(view.x), dtype=bool)

    matched = Matched()
    assert Pipeline((("m", matched),)).has("screen_pool")
    assert not Pipeline((("m", matched),)).has("filter_train")
    assert not Pipeline((("half", Half()), ("m", matched))).has("filter_train")
    assert Pipeline((("half", Half()), ("m", matched))).has("screen_pool")


def test_a_card_set_on_an_instance_gives_no_privileges() -> None:
    plain = keeper()
    object.__setattr__(plain, "card", keeper("ground_truth").card)
    behind(("plain", plain))
    assert plain.seen[0].poison is None


def test_what_an_oracle_is_shown_is_the_truth() -> None:
    oracle = keeper("ground_truth", "labels")
    behind(("oracle", oracle))
    view, pool = oracle.seen[0], poisoned(12)
    assert view.poison is not None
    assert view.poison.tolist() == (view.x[:, 0, 0, 0] >= 90).tolist()
    assert view.labels.tolist() == pool.y[view.x[:, 0, 0, 0]].tolist()


def test_a_copy_of_the_extractor_is_each_times_own() -> None:
    both = keeper("extractor")
    network = torch.nn.Linear(2, 2)
    behind(("both", both), extractor=network)
    copies = [view.extractor for view in both.seen]
    assert len({id(network), *(id(copy) for copy in copies)}) == 3
    assert all(torch.equal(copy.weight, network.weight) for copy in copies)


def test_a_card_that_asks_for_something_unknown_is_refused() -> None:
    with pytest.raises(MolebenchError, match="defense spy asks to see 'seed'; allowed: extractor, trusted, labels"):
        Pipeline((("spy", keeper("seed")),))


def test_a_moment_without_labels_says_so() -> None:
    with pytest.raises(MolebenchError, match="this moment shows no labels"):
        behind(("curious", doing(lambda view: view.labels)))


# ------------------------------------------------------------------ how filters are judged


def test_auroc_is_the_chance_to_rank_a_positive_higher() -> None:
    score, positive = np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])
    assert auroc(score, positive) == 0.75
    assert auroc(np.zeros(4), positive) == 0.5
    assert np.isnan(auroc(score, np.ones(4, dtype=bool)))


def test_auroc_agrees_with_scikit_learn(rng: np.random.Generator) -> None:
    score, positive = rng.integers(0, 20, 300).astype(np.float64), rng.random(300) < 0.2
    assert auroc(score, positive) == pytest.approx(roc_auc_score(positive, score))


class Half:
    """Drops the items of odd number; suspects high numbers, which the poisons are."""

    def screen_pool(self, view: View, rng: np.random.Generator) -> Array:
        kept: Array = view.x[:, 0, 0, 0] % 2 == 0
        return kept

    def suspicion(self, view: View, rng: np.random.Generator) -> Array:
        return view.x[:, 0, 0, 0].astype(np.float32)


def test_a_filters_judgements_are_counted_against_the_truth() -> None:
    filtered = behind(("half", Half())).filtered
    turn, judged, poisons, removed, caught, score = filtered[0][:6]
    assert (turn, judged, poisons, caught) == (0, 96, 12, 6)
    assert 40 <= removed <= 50
    assert score == 1.0
    found = rates(filtered)
    assert found["filter_precision"] == pytest.approx(filtered[:, 4].sum() / filtered[:, 3].sum())
    assert found["filter_recall"] == pytest.approx(filtered[:, 4].sum() / filtered[:, 2].sum())
    assert found["filter_auroc"] == 1.0


def test_without_a_score_the_mask_is_the_score() -> None:
    class Blind:
        screen_pool = Half.screen_pool

    *_, poisons, removed, caught, score = behind(("blind", Blind())).filtered[0][:6]
    clean_share = (removed - caught) / (96 - 12)
    assert score == pytest.approx((caught / poisons + 1 - clean_share) / 2)


def test_rates_that_are_undefined_are_left_out() -> None:
    assert rates(np.zeros((0, 10))) == {}
    assert rates(np.array([[0, 10, 0, 0, 0, np.nan, 0, 0, 0, 0]])) == {}


def test_what_filters_take_from_clean_items_is_counted_class_by_class() -> None:
    y, poison = np.array([0, 0, 0, 1, 1, 1]), np.array([True, False, False, False, False, False])
    keep = np.array([False, False, True, True, True, True])
    row = judgement(3, y, poison, keep, None, 2)
    assert row[:5].tolist() == [3, 6, 1, 2, 1]
    judged, removed = by_class(np.stack([row, row]))
    assert (judged.tolist(), removed.tolist()) == ([4, 6], [2, 0])
    found = rates(row[None])
    assert found["filter_removed_clean"] == pytest.approx(1 / 5)
    assert found["filter_removed_clean_worst"] == pytest.approx(1 / 2), "of class 0: one of two"


def test_the_score_of_one_of_several_filters_is_not_the_score_of_what_they_remove() -> None:
    class Evens:
        def screen_pool(self, view: View, rng: np.random.Generator) -> Array:
            kept: Array = view.x[:, 0, 0, 0] % 3 != 0
            return kept

    *_, poisons, removed, caught, score = behind(("half", Half()), ("evens", Evens())).filtered[0][:6]
    assert score == pytest.approx((caught / poisons + 1 - (removed - caught) / 84) / 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_no_number_fails_the_cell(bad: float) -> None:
    class Odd(Half):
        def suspicion(self, view: View, rng: np.random.Generator) -> Array:
            return np.full(len(view.x), bad)

    with pytest.raises(CellFailed, match="defense odd returned NaN or infinity at suspicion"):
        behind(("odd", Odd()))


# ------------------------------------------------------------------ metadata tell nothing


def metadata(view: View) -> Array:
    """All that a view says of an item without its content: its place, in several guises, and its arrays' make."""
    n = len(view.x)
    place = np.arange(n)
    make = [view.x.dtype.itemsize, view.z.dtype.itemsize, float(view.x.flags.c_contiguous), n]
    at = np.array([item.ctypes.data % 4096 for item in view.x]) / 4096
    parts = [place / n, (place / n - 0.5) ** 2, place % 2, place % 10 / 10, np.sin(place), at]
    return np.stack([*parts, *(np.full(n, m) for m in make)], axis=1)


class Witness:
    """Acts at each moment whose view holds poisons and clean items; keeps (moment, view, whether each is a poison)."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, View, Array]] = []

    def saw(self, moment: str, view: View, x: Array) -> View:
        self.seen.append((moment, replace(view, x=x), x[:, 0, 0, 0] >= 90))
        return view

    def screen_pool(self, view: View, rng: np.random.Generator) -> Array:
        return np.ones(len(self.saw("screen_pool", view, view.x).x), dtype=bool)

    def select(self, view: View, rng: np.random.Generator) -> Array:
        return rng.choice(len(view.x), view.count, replace=False)  # so that clean items are bought as well

    def after_label(self, view: View, rng: np.random.Generator) -> Array:
        return np.ones(len(self.saw("after_label", view, view.x).x), dtype=bool)

    def filter_train(self, view: View, rng: np.random.Generator) -> Array:
        return np.ones(len(self.saw("filter_train", view, view.x).x), dtype=bool)

    def fit(self, view: View, rng: np.random.Generator) -> Array:
        assert view.labelled_x is not None
        self.saw("fit, labelled", view, view.labelled_x)
        p = np.ones((len(self.saw("fit", view, view.x).x), K)) + 0.01 * view.z[:, :K]
        p = np.maximum(p, 0.1)
        return p / p.sum(axis=1, keepdims=True)

    def accept(self, view: View, rng: np.random.Generator) -> Array:
        return np.array(len(self.saw("accept", view, view.x).x) > 0)


@pytest.fixture(scope="module")
def witnessed() -> dict[str, list[tuple[View, Array]]]:
    """Every view of forty plays of their own seeds, by moment; test items, whose numbers are low, count as clean."""
    found: dict[str, list[tuple[View, Array]]] = {}
    for seed in range(40):
        witness = Witness()
        loop = Loop(QUICK, Budget(24, 8, 12), poisoned(60), TEST, K, seed, seed, Pipeline((("w", witness),), seed))
        loop.play(lambda n: None)
        for moment, view, poison in witness.seen:
            found.setdefault(moment, []).append((view, poison))
    return found


@pytest.mark.parametrize("moment", ["screen_pool", "after_label", "filter_train", "fit", "fit, labelled", "accept"])
def test_a_classifier_on_order_dtype_and_metadata_alone_cannot_tell_poisons(
    moment: str, witnessed: dict[str, list[tuple[View, Array]]]
) -> None:
    x = np.concatenate([metadata(view) for view, _ in witnessed[moment]])
    y = np.concatenate([poison for _, poison in witnessed[moment]])
    assert y.sum() > 300
    assert (~y).sum() > 300
    groups = np.repeat(np.arange(len(witnessed[moment])), [len(poison) for _, poison in witnessed[moment]])
    centred = x[:, :6]  # within a view: how large a view is may tell how far the play has come, which is no secret
    score = cross_val_predict(
        LogisticRegression(max_iter=500), centred, y, cv=GroupKFold(5), groups=groups, method="predict_proba"
    )[:, 1]
    within = [auroc(score[groups == g], y[groups == g]) for g in np.unique(groups)]
    assert abs(np.nanmean(within) - 0.5) < 0.05


def test_the_same_classifier_tells_poisons_that_come_last() -> None:
    pool = poisoned(60)
    view = View(pool.x, pool.z, K)
    score = cross_val_predict(LogisticRegression(max_iter=500), metadata(view), pool.poison, method="predict_proba")
    assert auroc(score[:, 1], pool.poison) > 0.9


@pytest.mark.parametrize("moment", ["screen_pool", "after_label", "filter_train"])
def test_a_filter_that_removes_nothing_changes_nothing(moment: str) -> None:
    def everything(self: object, view: View, rng: np.random.Generator) -> Array:
        return np.ones(len(view.x), dtype=bool)

    spec, budget = HeadSpec(lr=0.1, epochs=5, batch=4, dropout=0.3), Budget(12, 3, 9)  # batches smaller than the set
    one, other = (
        Loop(spec, budget, poisoned(12), TEST, K, 0, 0, pipeline).play(lambda n: None)
        for pipeline in (Pipeline(), Pipeline((("idle", type("Idle", (), {moment: everything})()),)))
    )
    assert one.queried.tolist() == other.queried.tolist()
    assert one.predicted.tolist() == other.predicted.tolist()
    assert one.accuracy.tolist() == other.accuracy.tolist()


@pytest.mark.parametrize("leaving", [SystemExit(0), SystemExit("bye"), MolebenchError("choose a smaller radius")])
def test_however_a_defense_leaves_it_is_its_cells_failure_by_name(leaving: BaseException) -> None:
    def leave(view: View) -> None:
        raise leaving

    with pytest.raises(CellFailed, match="defense quitter at screen_pool"):
        behind(("quitter", doing(leave)))


def test_clean_pools_are_judged_without_a_score() -> None:
    loop = Loop(QUICK, Budget(2, 2, 6), blobs(90, "pool"), TEST, K, 0, 0, Pipeline((("half", Half()),)))
    assert np.isnan(loop.play(lambda n: None).filtered[0, 5])
