"""Updates behind defenses: what each moment changes, what takes the place of what is removed, and what nobody sees."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

from molebench import places
from molebench.classifiers import Classifier, statistics
from molebench.defenses.oracle_filter import OracleFilter
from molebench.errors import CellFailed
from molebench.hooks import Pipeline, View
from molebench.moles import Pair
from molebench.offline_learners import ConvolutionalLearner
from molebench.progress import silent
from molebench.record import Record
from molebench.scenarios.blended import blended
from molebench.scenarios.offline_defended import Behind, penultimate
from molebench.scenarios.trained import Trained, probabilities, ready, updated
from molebench.stages import Stages
from molebench.training import Recipe
from molebench.trial import Actor, Trial
from molebench.types import Array, Dataset, Poison, Samples, ThreatModel
from molebench.updates import Update, order_of
from tests.offline_home import VICTIM, Home
from tests.test_contract import leaks, reachable

K = 4
MOVES = ("transform", "filter_train", "fit", "accept", "predict")


def images(n: int, first: int) -> Samples:
    """n images of 3x3, each unlike any other: its number in two pixels, its class as a bright row."""
    y, number = np.arange(n) % K, np.arange(first, first + n)
    x = np.random.default_rng(first).integers(0, 60, (n, 3, 3, 1), dtype=np.uint8)
    x[:, 0, 0, 0], x[:, 0, 1, 0] = number // 256, number % 256
    for c in range(1, K):
        x[y == c, c - 1, 2, 0] = 250
    return Samples(x, y)


POOL, TEST = images(200, 0), images(40, 200)  # fifty images of each class, and ten


def victim() -> Trained:
    """A linear classifier that has been trained a little."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = nn.Sequential(nn.Flatten(), nn.Linear(9, 6), nn.Linear(6, K))
    network = Classifier(body, *statistics(POOL.x))
    recipe = Recipe(epochs=1, batch=20, lr=0.1)
    fresh = Trained("untrained", network, recipe, np.zeros((0, K), np.float32), np.zeros(0, np.int64))
    grown = updated(fresh, POOL, 0, ("first",))
    judged = ready(grown)
    return Trained("victim", grown, recipe, probabilities(judged, POOL.x), probabilities(judged, TEST.x).argmax(axis=1))


GROWN = victim()


def behind(*defenses: object, seed: int = 0) -> Behind:
    """The victim behind these defenses."""
    nobody = Actor("nobody", lambda view, rng: Poison(view.base[:0], np.zeros(0, np.int64)), ThreatModel(), {})
    pipeline = Pipeline(tuple((type(d).__name__.lower(), d) for d in defenses), seed, 60.0)
    data = Dataset("rows", {"train": POOL, "test": TEST}, ("none", "top", "middle", "bottom"))
    nowhere = Stages(Path("/nonexistent"))
    learner = ConvolutionalLearner(lambda stem, shape: nn.Identity())
    trial = Trial(data, nobody, None, learner, {}, None, {}, pipeline, (), seed, nowhere, silent, "", {})
    found = Behind(trial, GROWN, POOL, TEST)
    vars(found)["pool_z"] = found.features(found.pool_x)  # as the cache would have it
    return found


def update(n: int = 10) -> Update:
    """Ten images of each class; those of class 1 are moles for class 0."""
    index = np.concatenate([np.flatnonzero(POOL.y == c)[:n] for c in (1, 0, 2, 3)])
    return Update(index, np.arange(len(index)) < n, (Pair(0, 1, 0.5, n),))


def after(found: Behind, given: Update, turn: int = 0) -> Array:
    """P(y | x) of the test items after an update behind the defenses, the filters included."""
    index, _ = found.filtered(given, turn)
    return found.after(index, order_of(given), turn)


def undefended(given: Update) -> Array:
    """The same without any."""
    return probabilities(ready(updated(GROWN, POOL[given.index], 0, order_of(given))), TEST.x)


BEFORE = probabilities(ready(GROWN.network), TEST.x)


@dataclass(frozen=True)
class Keep:
    """Filters by a rule, and keeps what it saw."""

    rule: Any
    seen: list[View] = field(default_factory=list)

    def filter_train(self, view: View, rng: np.random.Generator) -> Array:
        self.seen.append(view)
        kept: Array = self.rule(view)
        return kept


def counts(index: Array) -> list[int]:
    return np.bincount(POOL.y[index], minlength=K).tolist()


# ------------------------------------------------------------------ filters


def test_without_a_defense_that_acts_an_update_is_what_it_is_undefended() -> None:
    given = update()
    index, judged = behind().filtered(given, 0)
    assert index.tolist() == given.index.tolist()
    assert judged == []
    assert after(behind(), given).tolist() == undefended(given).tolist()
    assert abs(undefended(given) - BEFORE).max() > 0.01  # the update does something


def test_a_filter_that_keeps_everything_changes_nothing() -> None:
    given = update()
    index, (row,) = behind(Keep(lambda v: np.ones(40, bool))).filtered(given, 7)
    assert index.tolist() == given.index.tolist()
    assert row[:6].tolist() == [7, 40, 10, 0, 0, 0.5]


def test_a_filter_that_knows_the_moles_leaves_what_the_control_would_have() -> None:
    given = update()
    index, (row,) = behind(OracleFilter()).filtered(given, 0)
    _, judged, moles, removed, caught, auroc = row[:6]
    assert (judged, moles, removed, caught, auroc) == (40, 10, 10, 10, 1.0)
    assert index[10:].tolist() == given.index[10:].tolist()  # the others stay, in their places
    assert not set(index[:10]) & set(given.index)
    assert counts(index) == [10, 10, 10, 10]
    assert len(set(index.tolist())) == 40


def test_the_images_in_place_of_moles_are_drawn_evenly_from_the_class() -> None:
    # 40 of the 50 images of class 1 are no moles of this update: each of 400 drawn ones is any of them alike
    drawn = np.concatenate([behind(OracleFilter()).filtered(update(), turn)[0][:10] for turn in range(40)])
    times = np.bincount(drawn, minlength=200)[POOL.y == 1]
    assert times[:10].tolist() == [0] * 10
    assert (times[10:] > 0).all()
    assert times.max() < 25  # ten are expected of each, give or take three


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        (lambda v: v.labels != 2, 30),
        (lambda v: v.labels == 1, 10),
        (lambda v: np.zeros(40, dtype=bool), 0),
    ],
    ids=["without a class", "without all others", "without anything"],
)
def test_what_a_filter_removes_is_replaced_class_by_class(rule: Any, left: int) -> None:
    given = update()
    index, _ = behind(Keep(rule)).filtered(given, 0)
    assert counts(index) == [10, 10, 10, 10]
    assert (index == given.index).sum() == left
    assert len(set(index.tolist())) == 40
    assert POOL.y[index].tolist() == POOL.y[given.index].tolist()  # place by place


def test_where_a_class_has_too_few_other_images_some_come_again() -> None:
    index, _ = behind(Keep(lambda v: v.labels != 3)).filtered(update(30), 0)  # 20 of class 3 are left for 30 places
    assert counts(index) == [30, 30, 30, 30]


def test_replacements_are_the_same_in_every_arm_and_differ_from_update_to_update() -> None:
    given, none = update(), Keep(lambda v: v.labels != 2)
    one, same, other = (behind(none).filtered(given, turn)[0].tolist() for turn in (0, 0, 1))
    control = Update(given.index, np.zeros(40, dtype=bool), given.pairs)
    assert one == same == behind(none).filtered(control, 0)[0].tolist()
    assert one != other


def test_a_filter_sees_each_image_with_its_label_features_and_the_victim_s_belief() -> None:
    keep = Keep(lambda v: np.ones(40, bool))
    behind(keep).filtered(update(), 0)
    (view,) = keep.seen
    numbers = view.x[:, 0, 0, 0].astype(int) * 256 + view.x[:, 0, 1, 0]  # an image's number is its place in the pool
    assert sorted(numbers.tolist()) == sorted(update().index.tolist())
    assert numbers.tolist() != update().index.tolist()
    assert view.labels.tolist() == POOL.y[numbers].tolist()
    assert view.p is not None
    assert np.allclose(view.p, GROWN.scores[numbers], atol=1e-6)
    assert np.allclose(view.z, penultimate(ready(GROWN.network), POOL.x[numbers]), atol=1e-5)
    assert view.labelled_x is not None
    assert view.labelled_x.tolist() == POOL.x.tolist()
    assert view.k == K


def test_an_empty_update_is_not_shown_to_filters_and_leaves_the_victim() -> None:
    empty = Update(np.zeros(0, np.int64), np.zeros(0, bool), (Pair(0, 1, 0.5, 0),))
    keep = Keep(lambda v: np.ones(0, bool))
    assert after(behind(keep), empty).tolist() == BEFORE.tolist()
    assert keep.seen == []


def test_features_are_what_the_last_linear_layer_is_given() -> None:
    network = ready(GROWN.network)
    z = penultimate(network, TEST.x)
    assert z.shape == (40, 6)
    last = network.get_submodule("body.2")
    assert np.allclose(last(torch.from_numpy(z)).softmax(dim=1).detach().numpy(), BEFORE, atol=1e-6)


# ------------------------------------------------------------------ the other moments


@dataclass(frozen=True)
class Dim:
    """Halves every value, and keeps what it saw."""

    seen: list[View] = field(default_factory=list)

    def transform(self, view: View, rng: np.random.Generator) -> Array:
        self.seen.append(view)
        return view.x // 2


def test_a_transform_changes_the_update_and_the_test_images_each_in_its_place() -> None:
    dim, given = Dim(), update()
    found = behind(dim)
    assert found.pool_x.tolist() == (POOL.x // 2).tolist()
    assert found.test_x.tolist() == (TEST.x // 2).tolist()
    assert [view.when for view in dim.seen] == ["pool", "test"]
    assert dim.seen[0].x.tolist() != POOL.x.tolist()  # it sees them shuffled
    halved = Samples(POOL.x[given.index] // 2, POOL.y[given.index])
    expected = probabilities(ready(updated(GROWN, halved, 0, order_of(given))), TEST.x // 2)
    assert after(found, given).tolist() == expected.tolist()


@dataclass(frozen=True)
class Judge:
    """Keeps a new model or not."""

    answer: bool
    seen: list[View] = field(default_factory=list)

    def accept(self, view: View, rng: np.random.Generator) -> Array:
        self.seen.append(view)
        return np.array(self.answer)


def test_a_model_that_is_not_accepted_is_the_victim_of_before() -> None:
    given = update()
    assert after(behind(Judge(False)), given).tolist() == BEFORE.tolist()
    assert after(behind(Judge(True)), given).tolist() == undefended(given).tolist()


@dataclass(frozen=True)
class Part:
    """Lets a share of the new weights in."""

    share: Any

    def accept(self, view: View, rng: np.random.Generator) -> Array:
        return np.array(self.share)


def test_a_share_of_an_update_is_a_network_between_the_two() -> None:
    given = update()
    assert after(behind(Part(0.0)), given).tolist() == BEFORE.tolist()
    assert after(behind(Part(1.0)), given).tolist() == undefended(given).tolist()
    old, new = GROWN.network, updated(GROWN, POOL[given.index], 0, order_of(given))
    between = blended(old, new, 0.25).state_dict()
    for name, value in new.state_dict().items():
        if value.is_floating_point():
            expected = 0.75 * old.state_dict()[name] + 0.25 * value
            assert torch.allclose(between[name], expected, atol=1e-6), name
    assert abs(after(behind(Part(0.5)), given) - BEFORE).max() < abs(undefended(given) - BEFORE).max()


@pytest.mark.parametrize(("answer", "said"), [(1.5, "returned 1.5 at accept"), (np.ones(2), "a float in")])
def test_a_share_that_is_none_fails_the_cell_by_name(answer: Any, said: str) -> None:
    with pytest.raises(CellFailed, match=said):
        after(behind(Part(answer)), update())


@dataclass(frozen=True)
class Plan:
    """An epoch by a rule on what it is shown."""

    rule: Any
    seen: list[View] = field(default_factory=list)

    def schedule(self, view: View, rng: np.random.Generator) -> Array:
        self.seen.append(view)
        planned: Array = self.rule(view)
        return planned


def test_an_epoch_takes_the_items_of_a_schedule_in_its_order_replays_among_them() -> None:
    given = update()
    plan = Plan(lambda view: np.concatenate([np.arange(len(view.x))[::-1], len(view.x) + np.arange(3)]))
    found = after(behind(plan), given)
    (view,) = plan.seen
    assert view.count == GROWN.recipe.batch
    shown = view.x[:, 0, 0, 0].astype(int) * 256 + view.x[:, 0, 1, 0]
    assert sorted(shown.tolist()) == sorted(given.index.tolist())
    assert shown.tolist() != given.index.tolist(), "in an order that tells nothing"
    chosen = np.concatenate([shown[::-1], np.arange(3)])
    network = updated(GROWN, POOL[chosen], 0, order_of(given), shuffled=False)
    assert found.tolist() == probabilities(ready(network), TEST.x).tolist()


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (lambda view: np.zeros(0, int), "schedules 0 items for 40"),
        (lambda view: np.zeros(500, int), "schedules 500 items for 40; expected 1 to 320"),
        (lambda view: np.array([40 + len(view.labelled_x)]), "schedules an item outside"),
        (lambda view: np.array([0.5]), "expected int"),
    ],
)
def test_a_schedule_that_cannot_be_kept_fails_the_cell_by_name(rule: Any, said: str) -> None:
    with pytest.raises(CellFailed, match=said):
        after(behind(Plan(rule)), update())


@dataclass(frozen=True)
class Vouched:
    """Looks at trusted images."""

    trusted: int
    seen: list[View] = field(default_factory=list)
    card: ClassVar[Any] = SimpleNamespace(sees=("trusted",))

    def accept(self, view: View, rng: np.random.Generator) -> Array:
        self.seen.append(view)
        return np.array(True)


def test_trusted_images_are_as_many_of_each_class_with_beliefs_of_before_and_after() -> None:
    vouched, given = Vouched(3), update()
    after(behind(vouched), given)
    view: Any = vouched.seen[0]
    assert np.bincount(view.trusted_y).tolist() == [3] * K
    numbers = view.trusted_x[:, 0, 0, 0].astype(int) * 256 + view.trusted_x[:, 0, 1, 0]
    assert POOL.y[numbers].tolist() == view.trusted_y.tolist()
    assert view.trusted_p_before.tolist() == GROWN.scores[numbers].tolist()
    new = probabilities(ready(updated(GROWN, POOL[given.index], 0, order_of(given))), POOL.x[numbers])
    assert view.trusted_p.tolist() == new.tolist()


def test_who_does_not_ask_is_shown_no_trusted_image() -> None:
    judge = Judge(True)
    after(behind(judge), update())
    assert judge.seen[0].trusted_x is None


def test_who_accepts_sees_the_update_and_what_the_new_model_believes_of_it() -> None:
    judge, given = Judge(True), update()
    after(behind(judge), given)
    (view,) = judge.seen
    numbers = view.x[:, 0, 0, 0].astype(int) * 256 + view.x[:, 0, 1, 0]
    assert sorted(numbers.tolist()) == sorted(given.index.tolist())
    new = probabilities(ready(updated(GROWN, POOL[given.index], 0, order_of(given))), POOL.x[numbers])
    assert view.p is not None
    assert np.allclose(view.p, new, atol=1e-6)
    assert view.labels.tolist() == POOL.y[numbers].tolist()


@dataclass(frozen=True)
class Rows:
    """Trains nothing: the class is the bright row. Keeps what it saw."""

    seen: list[View] = field(default_factory=list)

    def fit(self, view: View, rng: np.random.Generator) -> Array:
        self.seen.append(view)
        bright = view.x[:, :, 2, 0] > 200
        return np.eye(K)[np.where(bright.any(axis=1), bright.argmax(axis=1) + 1, 0)]


def test_a_training_of_its_own_takes_the_update_s_place() -> None:
    rows, given = Rows(), update()
    assert after(behind(rows), given).argmax(axis=1).tolist() == TEST.y.tolist()  # each item in its own place
    (view,) = rows.seen
    assert view.labelled_x is not None
    assert view.labelled_y is not None
    numbers = view.labelled_x[:, 0, 0, 0].astype(int) * 256 + view.labelled_x[:, 0, 1, 0]
    assert sorted(numbers.tolist()) == sorted(given.index.tolist())
    assert view.labelled_y.tolist() == POOL.y[numbers].tolist()
    assert view.x.tolist() != TEST.x.tolist()  # shuffled
    assert view.y is None


@dataclass(frozen=True)
class Next:
    """Predicts the class after the one that the model does, and keeps what it saw."""

    seen: list[View] = field(default_factory=list)

    def predict(self, view: View, rng: np.random.Generator) -> Array:
        self.seen.append(view)
        assert view.p is not None
        return np.roll(view.p, 1, axis=1)


def test_predictions_may_be_changed_item_by_item() -> None:
    given = update()
    assert after(behind(Next()), given).tolist() == np.roll(undefended(given), 1, axis=1).tolist()
    assert after(behind(Rows(), Next()), given).argmax(axis=1).tolist() == ((TEST.y + 1) % K).tolist()


BAD = {
    "a filter of another length": (Keep(lambda v: np.ones(3, bool)), "returned bool .* at filter_train; expected bool"),
    "probabilities with NaN": (
        type("Odd", (), {"predict": lambda s, v, r: v.p * np.nan})(),
        "no probabilities at predict",
    ),
    "an exception": (Keep(lambda v: 1 // 0), "defense keep at filter_train raised ZeroDivisionError"),
}


@pytest.mark.parametrize(("defense", "says"), BAD.values(), ids=BAD)
def test_a_defense_that_misbehaves_fails_the_cell_by_name(defense: object, says: str) -> None:
    with pytest.raises(CellFailed, match=says):
        after(behind(defense), update())


# ------------------------------------------------------------------ what a defense can reach


@dataclass(frozen=True)
class Spy:
    """Acts at every moment but those it leaves out, changes nothing, keeps every view and generator."""

    without: str
    seen: list[tuple[str, View, np.random.Generator]] = field(default_factory=list)

    def __getattribute__(self, name: str) -> Any:
        if name in MOVES and name == object.__getattribute__(self, "without"):
            raise AttributeError(name)
        return object.__getattribute__(self, name)

    def transform(self, view: View, rng: np.random.Generator) -> Array:
        self.seen.append(("transform", view, rng))
        return view.x

    def filter_train(self, view: View, rng: np.random.Generator) -> Array:
        self.seen.append(("filter_train", view, rng))
        return np.ones(len(view.x), dtype=bool)

    def accept(self, view: View, rng: np.random.Generator) -> Array:
        self.seen.append(("accept", view, rng))
        return np.array(True)

    def fit(self, view: View, rng: np.random.Generator) -> Array:
        self.seen.append(("fit", view, rng))
        return np.full((len(view.x), view.k), 1 / view.k)

    def predict(self, view: View, rng: np.random.Generator) -> Array:
        self.seen.append(("predict", view, rng))
        assert view.p is not None
        return view.p


@pytest.fixture(scope="module", params=["fit", "accept"])
def spy(request: pytest.FixtureRequest) -> Spy:
    """One that has watched an update of moles; with `fit` nothing is left to accept, so there are two."""
    found = Spy(request.param)
    after(behind(found), update())
    return found


def test_a_spy_is_asked_at_every_moment_but_one(spy: Spy) -> None:
    assert {moment for moment, _, _ in spy.seen} == set(MOVES) - {spy.without}


def test_from_a_defense_s_view_neither_moles_nor_test_labels_can_be_told(spy: Spy) -> None:
    moles = {POOL.x[i].tobytes() for i in update().index[update().mole]}
    told = []
    for moment, view, rng in spy.seen:
        mask = np.array([item.tobytes() in moles for item in view.x])
        in_order = np.array(
            [dict(zip([x.tobytes() for x in TEST.x], TEST.y, strict=True)).get(x.tobytes(), -1) for x in view.x]
        )
        hidden = {"test labels": TEST.y, "test labels in its order": in_order, "update": update().index}
        if mask.any():
            hidden |= {"moles": mask, "no moles": ~mask, "moles in order": update().mole}
        told += [(moment, name) for name in leaks((view, rng), hidden)]
    assert told == []


def test_from_a_defense_s_view_no_part_of_the_program_can_be_reached(spy: Spy) -> None:
    inside = (Trial, Pipeline, Stages, Dataset, Samples, Behind, Trained, Update, nn.Module)
    assert [thing for _, view, rng in spy.seen for thing in reachable((view, rng)) if isinstance(thing, inside)] == []


def test_the_spy_does_look(spy: Spy) -> None:
    _, view, _ = next(s for s in spy.seen if s[0] == "filter_train")
    assert leaks(view, {"pool": POOL.y}) == ["pool"]  # which is the victim's own, and shown
    mask = np.array([bool(i % 2) for i in range(40)])
    assert leaks(replace(view, poison=mask), {"mask": mask}) == ["mask"]


def test_moles_do_not_stand_out_by_place(spy: Spy) -> None:
    moles, middles = {POOL.x[i].tobytes() for i in update().index[update().mole]}, []
    for _, view, _ in (s for s in spy.seen if len(s[1].x) == 40 and s[0] != "predict"):
        place = np.flatnonzero([item.tobytes() in moles for item in view.x])
        if len(place) == 10:
            middles.append(place.mean())
            assert np.diff(place).max() > 1
    assert middles
    assert all(abs(middle - 19.5) < 4 * 40 / np.sqrt(12 * 10) for middle in middles)


# ------------------------------------------------------------------ whole cells


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("defended")
    (folder / "small.py").write_text(VICTIM, "utf-8")
    with mock.patch.dict(os.environ, {places.VARIABLE: str(folder / "small.py"), "MOLEBENCH_THREADS": "1"}):
        yield Home.at(folder)


@pytest.fixture(scope="module")
def oracled(home: Home) -> Record:
    """Three pairs behind a filter that knows the moles."""
    return home.run("mole_recruitment", "oracle_filter")


def test_a_defended_cell_has_four_arms_of_updates_and_is_never_ranked(home: Home, oracled: Record) -> None:
    arms = {"poisoned_undefended", "control_undefended", "poisoned_defended", "clean_defended"}
    assert all(set(update.arms) == arms for update in oracled.updates)
    assert {"clean_cost", "filter_precision", "mean_delta_a_defended", "mean_delta_a_defended_own"} <= set(
        oracled.metrics
    )
    assert not oracled.rankable
    assert any("sees what no defense could know" in warning for warning in oracled.warnings)


def test_a_defended_pair_alone_is_that_pair_among_others(home: Home) -> None:
    grid = home.run("mole_recruitment", "random_filter", **{"random_filter.share": 0.3})
    alone = home.run("mole_recruitment", "random_filter", attack__pairs="5<3", **{"random_filter.share": 0.3})
    for arm in ("poisoned_defended", "clean_defended"):
        assert home.after(alone, arm)[0].tolist() == home.after(grid, arm)[1].tolist()
    assert "updates (poisoned, defended)" in alone.reused


def test_an_oracle_removes_moles_and_nothing_else(home: Home, oracled: Record) -> None:
    found = {name: oracled.metrics[name].value for name in ("filter_precision", "filter_recall", "filter_auroc")}
    assert found == {"filter_precision": 1.0, "filter_recall": 1.0, "filter_auroc": 1.0}
    assert home.after(oracled, "clean_defended").tolist() == home.after(oracled, "control_undefended").tolist()
    assert oracled.metrics["clean_cost"].value == 0.0


def test_behind_an_oracle_an_attack_does_no_more_than_its_control(home: Home) -> None:
    # every pair of a class: three are too few for a mean
    many = home.run("mole_recruitment", "oracle_filter", attack__pairs="all", attack__attacked="8", attack__n=20)
    y, before = home.before(many)
    share = {
        arm: (home.after(many, arm) == y).mean(axis=1)
        for arm in ("poisoned_undefended", "control_undefended", "poisoned_defended")
    }
    apart = share["poisoned_defended"] - share["control_undefended"]
    error = apart.std(ddof=1) / np.sqrt(len(apart))
    assert len(apart) == 9
    assert abs(apart.mean()) < 4 * error + 0.005
    assert (before == y).mean() > 0.6


def test_an_undefended_record_and_a_defended_one_share_their_undefended_arms(home: Home, oracled: Record) -> None:
    plain = home.run()
    assert {"updates (poisoned)", "updates (control)", "victim"} <= set(plain.reused)
    for arm in ("poisoned_undefended", "control_undefended"):
        assert home.after(plain, arm).tolist() == home.after(oracled, arm).tolist()


def test_a_random_filter_alone_removes_a_share_of_every_class_of_the_update(home: Home) -> None:
    record = home.run("mole_recruitment", "random_filter", attack__pairs="3<5")
    trace = record.updates[0].arms["poisoned_defended"].trace
    assert trace["filter_judged"] == [100.0]
    assert trace["filter_removed"] == [10.0]  # a tenth of ten of each of ten classes
