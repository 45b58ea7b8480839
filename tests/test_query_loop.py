"""The query loop on small synthetic features: what it asks for, and what a defense can do at each moment."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pytest
import torch

from molebench.errors import CellFailed, MolebenchError
from molebench.heads import HeadSpec, least_certain
from molebench.hooks import MOMENTS, SCENARIO_MOMENTS, Pipeline, View
from molebench.rng import stream
from molebench.scenarios.query_loop import Arm, Budget, Items, Loop, items, seed_set
from molebench.types import Array, Samples

K = 3
SPEC = HeadSpec(lr=0.1, epochs=40, batch=16, dropout=0.0)
BUDGET = Budget(queries=12, batch=3, seed_size=6)


def blobs(n: int, name: str) -> Items:
    """n items around one centre a class; x is the item's number, so that a test can name it."""
    y = np.arange(n) % K
    z = 4.0 * np.eye(K, 4)[y] + stream(0, "blobs", name).normal(0, 0.5, (n, 4))
    x = np.arange(n).astype(np.uint8).reshape(-1, 1, 1, 1)
    return items(Samples(x, y), z.astype(np.float32))


def poisoned(count: int, poison_z: float = 0.0) -> Items:
    """90 clean items and `count` poisons with the very same features and labels in turn."""
    clean = blobs(90, "pool")
    x = np.arange(90 + count).astype(np.uint8).reshape(-1, 1, 1, 1)
    y = np.concatenate([clean.y, np.arange(count) % K])
    z = np.concatenate([clean.z, np.full((count, 4), poison_z, np.float32)])
    return items(Samples(x, y), z, count)


TEST = blobs(30, "test")


def played(
    *defenses: object, pool: Items | None = None, test: Items = TEST, budget: Budget = BUDGET, spec: HeadSpec = SPEC
) -> Arm:
    """One arm behind these defenses."""
    pipeline = Pipeline(tuple((type(d).__name__, d) for d in defenses), seed=0)
    loop = Loop(spec, budget, pool or blobs(90, "pool"), test, K, 0, 0, pipeline)
    return loop.play(lambda n: None)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """So small a head is only slowed down by threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def plain() -> Arm:
    """The clean arm without a defense."""
    return played()


# ------------------------------------------------------------------ the loop itself


def test_a_clean_arm_buys_exactly_its_queries_each_once_and_never_a_seed_item(plain: Arm) -> None:
    arm = plain
    seeds = seed_set(blobs(90, "pool"), 6, 0)
    assert len(arm.queried) == len(set(arm.queried.tolist())) == 12
    assert not set(arm.queried.tolist()) & set(seeds)
    assert not arm.poisoned.any()
    assert arm.spent.tolist() == [0, 3, 6, 9, 12]
    assert arm.labels.tolist() == [6, 9, 12, 15, 18]
    assert arm.accuracy[0] == (arm.seed_predicted == TEST.y).mean()
    assert arm.accuracy[-1] == (arm.predicted == TEST.y).mean() > 0.9


def test_the_last_batch_is_cut_to_what_is_left_of_the_budget() -> None:
    arm = played(budget=Budget(queries=7, batch=3, seed_size=6))
    assert arm.spent.tolist() == [0, 3, 6, 7]


def test_a_pool_that_runs_out_ends_the_loop() -> None:
    arm = played(pool=blobs(10, "pool"))
    assert sorted([*arm.queried.tolist(), *seed_set(blobs(10, "pool"), 6, 0)]) == list(range(10))


def test_progress_is_told_of_every_label_bought() -> None:
    told: list[int] = []
    Loop(SPEC, Budget(7, 3, 6), blobs(90, "pool"), TEST, K, 0, 0, Pipeline()).play(told.append)
    assert told == [3, 3, 1]


def test_poisons_with_one_feature_vector_and_different_labels_are_queried_first() -> None:
    arm = played(pool=poisoned(12))
    assert arm.poisoned.all()
    assert sorted(arm.queried.tolist()) == list(range(90, 102))
    assert (arm.poisoned == (arm.queried >= 90)).all()


def test_poisons_hidden_among_confident_features_are_not() -> None:
    arm = played(pool=poisoned(12, poison_z=4.0))
    assert arm.poisoned.sum() < 12


def test_the_seed_set_is_clean_distinct_and_the_same_in_every_arm() -> None:
    clean, hit = seed_set(blobs(90, "pool"), 20, 3), seed_set(poisoned(50), 20, 3)
    assert clean == hit
    assert len(set(clean)) == 20
    assert max(clean) < 90
    assert clean != seed_set(blobs(90, "pool"), 20, 4)


def test_arms_start_alike_so_that_their_seed_only_predictions_are_the_same(plain: Arm) -> None:
    hit = played(pool=poisoned(12))
    assert plain.seed_predicted.tolist() == hit.seed_predicted.tolist()


def test_playing_again_gives_the_same_arm() -> None:
    one, other = played(pool=poisoned(12)), played(pool=poisoned(12))
    assert all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


def test_the_model_seed_changes_the_model_and_not_the_seed_set() -> None:
    pool = blobs(90, "pool")
    one, other = (Loop(SPEC, Budget(0, 1, 6), pool, TEST, K, 0, model_seed, Pipeline()) for model_seed in (0, 1))
    one.play(lambda n: None)
    other.play(lambda n: None)
    assert one.owned == other.owned
    heads = [loop.plain(np.array(loop.owned)).head.probabilities(TEST.features) for loop in (one, other)]
    assert not np.array_equal(heads[0].numpy(), heads[1].numpy())


def test_the_last_items_are_the_injected_ones() -> None:
    samples, z = Samples(np.zeros((3, 1, 1, 1), np.uint8), np.array([0, 1, 2])), np.zeros((3, 4), np.float32)
    assert items(samples, z).poison.tolist() == [False, False, False]
    assert items(samples, z, 1).poison.tolist() == [False, False, True]
    assert items(samples, z, 3).poison.tolist() == [True, True, True]


def test_the_least_certain_come_first_and_ties_keep_their_order() -> None:
    p = np.array([[1.0, 0.0], [0.5, 0.5], [0.9, 0.1], [0.5, 0.5], [0.6, 0.4]], np.float32)
    assert least_certain(p, 4).tolist() == [1, 3, 4, 2]


# ------------------------------------------------------------------ one defense a moment


@dataclass
class OnlyEven:
    """screen_pool: odd items may not be queried."""

    def screen_pool(self, view: View, rng: np.random.Generator) -> Array:
        even: Array = view.x.ravel() % 2 == 0
        return even


def test_screen_pool_says_what_may_be_queried(plain: Arm) -> None:
    assert (played(OnlyEven()).queried % 2 == 0).all()
    assert (plain.queried % 2 == 1).any()


@dataclass
class LowestFirst:
    """select: the candidates with the lowest numbers."""

    def select(self, view: View, rng: np.random.Generator) -> Array:
        return np.argsort(view.x.ravel())[: view.count]


def test_select_replaces_the_query_strategy() -> None:
    free = sorted(set(range(90)) - set(seed_set(blobs(90, "pool"), 6, 0)))
    assert played(LowestFirst()).queried.tolist() == free[:12]


def test_select_chooses_among_what_screening_leaves() -> None:
    free = sorted(set(range(0, 90, 2)) - set(seed_set(blobs(90, "pool"), 6, 0)))
    assert played(OnlyEven(), LowestFirst()).queried.tolist() == free[:12]


@dataclass
class NoZeros:
    """after_label: class 0 is not wanted."""

    def after_label(self, view: View, rng: np.random.Generator) -> Array:
        assert view.y is not None
        wanted: Array = view.y != 0
        return wanted


def test_after_label_drops_what_was_bought() -> None:
    arm = played(LowestFirst(), NoZeros())  # ... 0 1 2 0 1 2 ...: every batch has two others
    bought = np.cumsum(arm.queried % 3 != 0)
    assert arm.labels.tolist() == [6, *(6 + bought[[2, 5, 8, 11]]).tolist()]
    assert arm.labels[-1] < 18
    assert len(set(arm.queried.tolist())) == 12  # what was dropped is not bought again


@dataclass
class DropEverything:
    """after_label: a batch of nothing but poisons must be droppable."""

    def after_label(self, view: View, rng: np.random.Generator) -> Array:
        return np.zeros(len(view.x), dtype=bool)


def test_after_label_may_drop_a_whole_batch() -> None:
    arm = played(DropEverything(), pool=poisoned(12))
    assert arm.poisoned.all()
    assert arm.labels.tolist() == [6] * 5


@dataclass
class OneOfEach:
    """filter_train: the first item of every class; fit: notes what it was given."""

    given: list[list[int]] = field(default_factory=list)

    def filter_train(self, view: View, rng: np.random.Generator) -> Array:
        first = np.unique(view.labels, return_index=True)[1]
        return np.isin(np.arange(len(view.x)), first)

    def fit(self, view: View, rng: np.random.Generator) -> Array:
        assert view.labelled_y is not None
        self.given.append(view.labelled_y.tolist())
        return np.full((len(view.x), K), 1 / K)


def test_filter_train_says_what_is_learned() -> None:
    defense = OneOfEach()
    arm = played(defense)
    assert [sorted(labels) for labels in defense.given] == [[0, 1, 2]] * 5
    assert arm.labels.tolist() == [6, 9, 12, 15, 18]  # owned all the same


@dataclass
class NearestMean:
    """fit: the class whose labelled items' mean is nearest."""

    def fit(self, view: View, rng: np.random.Generator) -> Array:
        z, y = view.labelled_z, view.labelled_y
        assert z is not None
        assert y is not None
        means = np.stack([z[y == c].mean(axis=0) if (y == c).any() else np.full(z.shape[1], 1e3) for c in range(K)])
        distance = np.linalg.norm(view.z[:, None] - means[None], axis=2)
        p = np.exp(-distance) + 1e-9
        result: Array = p / p.sum(axis=1, keepdims=True)
        return result


def test_fit_replaces_the_training() -> None:
    arm = played(NearestMean())
    owned = [*seed_set(blobs(90, "pool"), 6, 0), *arm.queried.tolist()]
    pool = blobs(90, "pool")
    means = np.stack([pool.z[owned][pool.y[owned] == c].mean(axis=0) for c in range(K)])
    expected = np.linalg.norm(TEST.z[:, None] - means[None], axis=2).argmin(axis=1)
    assert arm.predicted.tolist() == expected.tolist()


@dataclass
class Constant:
    """fit: always class 2."""

    def fit(self, view: View, rng: np.random.Generator) -> Array:
        return np.tile(np.array([0.1, 0.2, 0.7], np.float32), (len(view.x), 1))


def test_fit_is_asked_for_the_test_items_too() -> None:
    assert played(Constant()).predicted.tolist() == [2] * 30


@dataclass
class KeepTheFirst:
    """accept: no new model."""

    def accept(self, view: View, rng: np.random.Generator) -> Array:
        return np.array(False)


def test_a_model_that_is_not_accepted_is_replaced_by_the_last_one() -> None:
    budget = Budget(queries=12, batch=3, seed_size=1)  # one label is too few to know three classes
    free, arm = played(budget=budget), played(KeepTheFirst(), budget=budget)
    assert free.accuracy[0] < 0.8 < free.accuracy[-1]
    assert arm.predicted.tolist() == arm.seed_predicted.tolist() == free.seed_predicted.tolist()
    assert arm.accuracy.tolist() == [free.accuracy[0]] * 5
    assert arm.labels.tolist() == [1, 4, 7, 10, 13]


@dataclass
class OneFurther:
    """predict: the next class."""

    def predict(self, view: View, rng: np.random.Generator) -> Array:
        assert view.p is not None
        return np.roll(view.p, 1, axis=1)


def test_predict_changes_what_is_predicted_and_nothing_that_is_queried(plain: Arm) -> None:
    rolled = played(OneFurther())
    assert rolled.predicted.tolist() == ((plain.predicted + 1) % K).tolist()
    assert rolled.queried.tolist() == plain.queried.tolist()


@dataclass
class Negative:
    """transform: black becomes white, in the pool only."""

    def transform(self, view: View, rng: np.random.Generator) -> Array:
        return np.uint8(255) - view.x if view.when == "pool" else view.x


def test_transform_changes_inputs_where_and_when_it_says() -> None:
    x = np.array([0, 200], np.uint8).reshape(2, 1, 1, 1)
    pipeline = Pipeline((("negative", Negative()),))
    assert pipeline.transformed(x, "pool", K).ravel().tolist() == [255, 55]
    assert pipeline.transformed(x, "test", K).ravel().tolist() == [0, 200]
    twice = Pipeline((("one", Negative()), ("two", Negative())))
    assert twice.transformed(x, "pool", K).ravel().tolist() == [0, 200]
    assert Pipeline().transformed(x, "pool", K) is x


def test_masks_of_several_defenses_compose_by_and() -> None:
    @dataclass
    class LowHalf:
        def screen_pool(self, view: View, rng: np.random.Generator) -> Array:
            low: Array = view.x.ravel() < 45
            return low

    queried = played(OnlyEven(), LowHalf()).queried
    assert (queried % 2 == 0).all()
    assert (queried < 45).all()


# ------------------------------------------------------------------ moments and views


@dataclass
class Recorder:
    """Acts at every moment and changes nothing; keeps every view."""

    seen: list[tuple[str, View]] = field(default_factory=list)
    draws: list[tuple[str, float]] = field(default_factory=list)

    def keep(self, moment: str, view: View, rng: np.random.Generator) -> None:
        self.seen.append((moment, view))
        self.draws.append((moment, rng.random()))

    def transform(self, view: View, rng: np.random.Generator) -> Array:
        self.keep("transform", view, rng)
        return view.x

    def screen_pool(self, view: View, rng: np.random.Generator) -> Array:
        self.keep("screen_pool", view, rng)
        return np.ones(len(view.x), dtype=bool)

    def select(self, view: View, rng: np.random.Generator) -> Array:
        self.keep("select", view, rng)
        assert view.p is not None
        return least_certain(view.p.copy(), view.count)

    def after_label(self, view: View, rng: np.random.Generator) -> Array:
        self.keep("after_label", view, rng)
        return np.ones(len(view.x), dtype=bool)

    def filter_train(self, view: View, rng: np.random.Generator) -> Array:
        self.keep("filter_train", view, rng)
        return np.ones(len(view.x), dtype=bool)

    def accept(self, view: View, rng: np.random.Generator) -> Array:
        self.keep("accept", view, rng)
        return np.array(True)

    def predict(self, view: View, rng: np.random.Generator) -> Array:
        self.keep("predict", view, rng)
        assert view.p is not None
        return view.p


@dataclass
class Fitter(Recorder):
    """The same, with a training of its own."""

    def fit(self, view: View, rng: np.random.Generator) -> Array:
        self.keep("fit", view, rng)
        return np.full((len(view.x), K), 1 / K)


TINY = Budget(queries=4, batch=2, seed_size=6)


def test_every_moment_comes_at_its_time() -> None:
    recorder = Recorder()
    played(recorder, budget=TINY)
    turn = ["screen_pool", "select", "after_label", "filter_train", "accept", "predict"]
    assert [moment for moment, _ in recorder.seen] == ["filter_train", "predict", *turn, *turn]


def test_a_defense_that_changes_nothing_changes_nothing() -> None:
    unwatched, watched = played(pool=poisoned(12)), played(Recorder(), pool=poisoned(12))
    fields = vars(unwatched).keys() - {"filtered"}
    assert all(np.array_equal(vars(unwatched)[name], vars(watched)[name]) for name in fields)


FILLED = {
    "screen_pool": {"p", "labelled_x", "labelled_z", "labelled_y"},
    "select": {"p", "labelled_x", "labelled_z", "labelled_y"},
    "after_label": {"y", "labelled_x", "labelled_z", "labelled_y"},
    "filter_train": {"y", "labelled_x", "labelled_z", "labelled_y"},
    "fit": {"labelled_x", "labelled_z", "labelled_y"},
    "accept": {"y", "p", "p_before", "labelled_x", "labelled_z", "labelled_y"},
    "predict": {"p"},
    "transform": set(),
}


@pytest.fixture
def seen() -> list[tuple[str, View]]:
    """What a defense saw that acts at every moment."""
    fitter = Fitter()
    played(fitter, budget=TINY)
    Pipeline((("fitter", fitter),)).transformed(TEST.x, "test", K)
    assert {moment for moment, _ in fitter.seen} == set(SCENARIO_MOMENTS["active"])
    return fitter.seen


def test_a_view_holds_what_its_moment_shows_and_no_more(seen: list[tuple[str, View]]) -> None:
    optional = [f.name for f in fields(View) if f.name not in ("x", "z", "k", "count", "when")]
    for moment, view in seen:
        assert {name for name in optional if getattr(view, name) is not None} == FILLED[moment], moment
        assert len(view.x) == len(view.z)
        assert (view.count > 0) == (moment == "select")
        assert bool(view.when) == (moment == "transform")


def test_no_array_of_a_view_can_be_written(seen: list[tuple[str, View]]) -> None:
    for moment, view in seen:
        for name, value in vars(view).items():
            assert not isinstance(value, np.ndarray) or not value.flags.writeable, f"{name} at {moment}"


def test_what_a_view_shows_of_labelled_items_is_in_step(seen: list[tuple[str, View]]) -> None:
    pool = blobs(90, "pool")
    for moment, view in seen:
        for x, z, y in ((view.x, view.z, view.y), (view.labelled_x, view.labelled_z, view.labelled_y)):
            if x is not None and z is not None and y is not None:
                number = x.ravel().astype(int)
                assert np.array_equal(pool.z[number], z), moment
                assert np.array_equal(pool.y[number], y), moment


def test_candidates_come_in_an_order_that_does_not_tell_poisons() -> None:
    recorder = Recorder()
    played(recorder, pool=poisoned(90), budget=TINY)
    x = next(view.x for moment, view in recorder.seen if moment == "screen_pool").ravel()
    poisons_in_front = int((x[: len(x) // 2] >= 90).sum())
    assert 30 < poisons_in_front < 60


@dataclass
class Breaker:
    """Makes its arrays writeable, where NumPy lets it, and wipes them out."""

    wiped: list[str] = field(default_factory=list)

    def predict(self, view: View, rng: np.random.Generator) -> Array:
        assert view.p is not None
        p = view.p.copy()
        for name, value in vars(view).items():
            if isinstance(value, np.ndarray):
                try:
                    value.flags.writeable = True
                    value[...] = 0
                    self.wiped.append(name)
                except ValueError:
                    continue
        return p


def test_a_defense_that_forces_its_arrays_open_reaches_nobody_elses() -> None:
    test = blobs(30, "test")
    pool = poisoned(12)
    before = [a.copy() for a in (test.x, test.z, test.y, pool.x, pool.z, pool.y)]
    played(Breaker(), pool=pool, test=test, budget=TINY)
    for a, b in zip(before, (test.x, test.z, test.y, pool.x, pool.z, pool.y), strict=True):
        assert np.array_equal(a, b)


def test_what_fit_scores_does_not_tell_pool_from_test_nor_poisons_by_place() -> None:
    fitter = Fitter()
    played(fitter, pool=poisoned(90), test=blobs(60, "test"), budget=TINY)
    x = next(view.x for moment, view in fitter.seen if moment == "fit").ravel()
    assert len(x) == 180 + 60
    assert 30 < int((x[:120] >= 90).sum()) < 60


def test_each_moment_and_turn_has_its_own_random_stream() -> None:
    recorder = Recorder()
    played(recorder, budget=TINY)
    assert len({draw for _, draw in recorder.draws}) == len(recorder.draws)
    again = Recorder()
    played(again, budget=TINY)
    assert again.draws == recorder.draws


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("moment", ["select", "fit", "predict"])
def test_a_pipeline_refuses_two_that_replace_the_same(moment: str) -> None:
    one = type("One", (), {moment: lambda self, view, rng: view.p})()
    with pytest.raises(MolebenchError, match=f"defenses a and b both replace '{moment}'"):
        Pipeline((("a", one), ("b", one)))
    assert Pipeline((("a", one),)).has(moment)


def test_a_pipeline_acts_only_where_a_defense_does() -> None:
    assert not Pipeline().acts
    assert not Pipeline((("none", object()),)).acts
    pipeline = Pipeline((("even", OnlyEven()),))
    assert pipeline.acts
    assert [moment for moment in MOMENTS if pipeline.has(moment)] == ["screen_pool"]


def vandal(moment: str, result: Callable[[View], Any]) -> object:
    """A defense that returns this at one moment."""
    return type("vandal", (), {moment: lambda self, view, rng: result(view)})()


def spoiled(view: View) -> Array:
    p = np.full((len(view.x), K), 1 / K)
    p[0, 0] = np.nan
    return p


MASKS = ("screen_pool", "after_label", "filter_train")
BAD: list[tuple[str, Callable[[View], Any]]] = [
    *((m, lambda v: np.ones(len(v.x) + 1, dtype=bool)) for m in MASKS),  # shape
    *((m, lambda v: np.ones(len(v.x))) for m in MASKS),  # dtype
    *((m, lambda v: np.ones((len(v.x), 1), dtype=bool)) for m in MASKS),  # rank
    *((m, lambda v: None) for m in MASKS),
    *((m, lambda v: [[True], [True, False]]) for m in MASKS),  # ragged
    ("screen_pool", lambda v: np.zeros(len(v.x), dtype=bool)),  # nothing left
    ("filter_train", lambda v: np.zeros(len(v.x), dtype=bool)),
    ("select", lambda v: np.zeros(v.count, dtype=int)),  # one twice
    ("select", lambda v: np.arange(v.count) - 1),  # below
    ("select", lambda v: np.arange(v.count) + len(v.x) - 1),  # beyond
    ("select", lambda v: np.arange(v.count + 1)),
    ("select", lambda v: np.arange(v.count).astype(float)),
    *((m, lambda v: np.full((len(v.x), K + 1), 0.25)) for m in ("fit", "predict")),
    *((m, lambda v: np.full(len(v.x), 0.25)) for m in ("fit", "predict")),
    *((m, lambda v: np.zeros((len(v.x), K), dtype=int)) for m in ("fit", "predict")),
    *((m, spoiled) for m in ("fit", "predict")),
    *((m, lambda v: np.full((len(v.x), K), np.inf)) for m in ("fit", "predict")),
    ("accept", lambda v: np.array([True, False])),
    ("accept", lambda v: None),
    ("accept", lambda v: "no"),
    *((m, lambda v: 1 // 0) for m in SCENARIO_MOMENTS["active"] if m != "transform"),
]


@pytest.mark.parametrize(("moment", "result"), BAD, ids=[f"{moment}-{i}" for i, (moment, _) in enumerate(BAD)])
def test_a_wrong_answer_fails_the_cell_and_names_the_defense(moment: str, result: Callable[[View], Any]) -> None:
    with pytest.raises(CellFailed, match="defense vandal"):
        played(vandal(moment, result), budget=TINY)


@pytest.mark.parametrize(
    "result",
    [
        lambda v: v.x[:-1],
        lambda v: v.x.astype(np.float32),
        lambda v: v.x[..., 0],
        lambda v: None,
        lambda v: [[1], [1, 2]],
        lambda v: 1 // 0,
    ],
    ids=["shape", "dtype", "rank", "none", "ragged", "raises"],
)
def test_a_wrong_transform_fails_the_cell_and_names_the_defense(result: Callable[[View], Any]) -> None:
    with pytest.raises(CellFailed, match="defense vandal"):
        Pipeline((("vandal", vandal("transform", result)),)).transformed(TEST.x, "pool", K)


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f8"])
@pytest.mark.parametrize("step", [1, -1], ids=["forwards", "backwards"])
@pytest.mark.parametrize("moment", ["fit", "predict"])
def test_any_floating_point_probabilities_will_do(moment: str, dtype: str, step: int) -> None:
    defense = vandal(moment, lambda view: np.full((len(view.x), K), 1 / K).astype(dtype)[::step])
    assert played(defense, budget=TINY).predicted.tolist() == [0] * 30
