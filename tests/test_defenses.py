"""Each defense's maths on points that can be drawn on paper, and each one in a real, tiny, poisoned play."""

import copy
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from molebench import registry
from molebench.collision import extracted
from molebench.defenses.feature_norm import FeatureNorm, deviation
from molebench.defenses.label_conflict_quarantine import LabelConflictQuarantine, strangers
from molebench.defenses.oracle_filter import OracleFilter
from molebench.defenses.random_filter import RandomFilter, lots, spared
from molebench.defenses.random_query import RandomQuery
from molebench.defenses.unfreeze import Unfreeze, batches
from molebench.describing import moments
from molebench.errors import MolebenchError
from molebench.filtering import at_peace
from molebench.hooks import FILTERS, MOMENTS, View
from molebench.metrics import recovery
from molebench.nets import FrozenExtractor
from molebench.record import Record
from molebench.types import IMAGE, Array
from molebench.workspace import Workspace
from tests.commands import SMALL, predictions, typed

DEFENSES = [name for name in registry.files("defenses") if name != "none"]
CARDS = {name: registry.find("defenses", name).card for name in DEFENSES}
ACTIVE = [name for name in DEFENSES if "active" in CARDS[name].scenarios]
# one for each set of moments, and not those that train for long; the contract plays all of them
QUICK = [name for name in reversed(ACTIVE) if name not in ("adversarial_seed", "unfreeze")]
TYPICAL = {tuple(moments(registry.find("defenses", name))): name for name in QUICK}.values()


def filters(name: str) -> bool:
    """Whether it is no control and judges items, so that a random filter is played beside it."""
    controls = not {"ground_truth", "dropped"} & set(CARDS[name].sees)
    return controls and any(hasattr(registry.find("defenses", name).make, moment) for moment in FILTERS)


RNG = np.random.default_rng(0)


def seen(z: Array, y: Array | None = None, k: int = 2, **more: Any) -> View:
    """A view of items with these features and labels; x is the item's number."""
    x = np.arange(len(z)).astype(np.uint8).reshape(-1, 1, 1, 1)
    return View(x, z.astype(np.float32), k, y=y, **more)


# ------------------------------------------------------------------ feature_norm


def test_a_norm_far_below_the_others_is_not_ordinary() -> None:
    z = np.array([[10.0], [11.0], [9.0], [10.5], [9.5], [0.1]])
    assert FeatureNorm(limit=3.5).screen_pool(seen(z), RNG).tolist() == [True] * 5 + [False]
    assert FeatureNorm().suspicion(seen(z), RNG).argmax() == 5


def test_a_norms_deviation_is_a_robust_z_score_of_its_logarithm() -> None:
    z = np.exp(np.array([[0.0], [1.0], [-1.0], [2.0], [-9.0]]))
    assert deviation(z) == pytest.approx(np.array([0, 1, 1, 2, 9]) / 1.4826)


def test_where_all_norms_are_equal_all_are_ordinary() -> None:
    assert FeatureNorm().screen_pool(seen(np.ones((4, 3))), RNG).all()


# ------------------------------------------------------------------ label_conflict_quarantine


def kept_apart(z: Array, y: Array) -> list[bool]:
    found: list[bool] = LabelConflictQuarantine(radius=0.25).filter_train(seen(z, y), RNG).tolist()
    return found


def test_two_classes_at_one_point_are_quarantined_and_the_rest_is_not() -> None:
    z = np.array([[0.0], [0.0], [10.0], [20.0], [10.1]])
    assert kept_apart(z, np.array([0, 1, 0, 1, 0])) == [False, False, True, True, True]


def test_a_class_that_would_lose_everything_keeps_its_items() -> None:
    z = np.array([[0.0], [0.0], [10.0], [20.0]])
    assert kept_apart(z, np.array([0, 1, 0, 0])) == [False, True, True, True]
    assert at_peace(np.array([True, True, False]), np.array([0, 1, 1])).tolist() == [True, False, True]


def test_one_class_at_one_point_is_no_conflict() -> None:
    assert kept_apart(np.zeros((3, 2)), np.array([1, 1, 1])) == [True] * 3


def test_the_nearest_stranger_is_measured_in_median_distances() -> None:
    z = np.array([[0.0], [1.0], [5.0]])  # distances 1, 4, 5: the median is 4
    assert strangers(z, np.array([0, 0, 1])) == pytest.approx([5 / 4, 4 / 4, 4 / 4])


# ------------------------------------------------------------------ the controls


def test_the_oracle_hides_the_poisons_and_nothing_else() -> None:
    poison = np.array([True, False, False, True])
    assert OracleFilter().screen_pool(seen(np.zeros((4, 1)), poison=poison), RNG).tolist() == (~poison).tolist()


def test_a_random_filter_alone_drops_its_share_of_each_class() -> None:
    y = np.repeat([0, 1], [40, 20])
    keep = RandomFilter(share=0.25).screen_pool(seen(np.zeros((60, 1)), y), RNG)
    assert np.bincount(y[~keep]).tolist() == [10, 5]


@pytest.mark.parametrize("moment", ["screen_pool", "after_label", "filter_train"])
def test_a_random_filter_behind_another_drops_as_many_of_each_class(moment: str) -> None:
    y = np.repeat([0, 1], 50)
    for counts in ([3, 1], [0, 0]):
        view = seen(np.zeros((100, 1)), y, dropped=np.array(counts))
        keep = getattr(RandomFilter(), moment)(view, RNG)
        assert np.bincount(y[~keep], minlength=2).tolist() == counts


def test_what_a_random_filter_drops_stays_dropped_whatever_stands_beside_it() -> None:
    x = np.random.default_rng(1).integers(0, 256, (200, 4, 4, 3)).astype(np.uint8)
    y, order = np.zeros(200, dtype=np.int64), np.random.default_rng(2).permutation(200)
    keep = spared(y, np.array([20.0]), lots(x))
    assert spared(y, np.array([20.0]), lots(x[order])).tolist() == keep[order].tolist()
    late = np.flatnonzero(~keep | (np.arange(200) < 100))  # half of what it kept was bought meanwhile
    assert spared(y[late], np.array([20.0]), lots(x[late])).tolist() == keep[late].tolist()


def test_lots_are_uniform_and_know_nothing_but_the_bytes() -> None:
    x = np.random.default_rng(1).integers(0, 256, (4000, 2, 2, 3)).astype(np.uint8)
    lot = lots(x)
    assert (lot >= 0).all()
    assert (lot < 1).all()
    assert abs(lot.mean() - 0.5) < 4 / np.sqrt(12 * 4000)
    assert lots(x[:1]) == lot[:1]


# ------------------------------------------------------------------ unfreeze


def test_batches_go_through_everything_before_anything_comes_again() -> None:
    found = list(batches(5, 2, 6, 1, torch.Generator().manual_seed(0)))
    assert [len(b) for b in found] == [2, 2, 1, 2, 2, 1]
    assert sorted(torch.cat(found[:3]).tolist()) == [0, 1, 2, 3, 4]


def test_a_rest_of_one_is_left_out_where_a_batch_needs_statistics_and_is_not_counted() -> None:
    assert [len(b) for b in batches(5, 2, 5, 2, torch.Generator().manual_seed(0))] == [2, 2, 2, 2, 2]
    assert [len(b) for b in batches(1, 4, 3, 2, torch.Generator())] == [1, 1, 1]
    assert [len(b) for b in batches(5, 1, 3, 2, torch.Generator())] == [1, 1, 1]


@pytest.fixture(scope="module")
def labelled(fetched: Workspace) -> View:
    """Twenty-one labelled photo patches of three classes, which are to be scored as well; features left out."""
    plugin = registry.find("datasets", "photo_patches")
    train = plugin.build(plugin.resolve({}, "tiny")).load(fetched).splits["train"]
    some = train[np.concatenate([np.flatnonzero(train.y == c)[:7] for c in range(3)])]
    none = np.zeros((21, 1280), np.float32)
    return View(some.x, none, 3, labelled_x=some.x, labelled_z=none, labelled_y=some.y)


def shown(labelled: View, lite0: FrozenExtractor) -> View:
    """The same with a copy of the extractor and its features."""
    assert labelled.labelled_x is not None
    z = extracted(lite0, labelled.labelled_x, IMAGE)
    return replace(labelled, extractor=copy.deepcopy(lite0), labelled_z=z)


@pytest.mark.parametrize("scope", ["block", "all"])
@pytest.mark.parametrize("batch_norm", ["frozen", "batch"])
def test_unfreezing_learns_repeats_itself_and_moves_the_copy_it_was_given_only(
    scope: Any, batch_norm: Any, labelled: View, lite0: FrozenExtractor
) -> None:
    before = {name: value.clone() for name, value in lite0.state_dict().items()}
    made = Unfreeze(scope=scope, batch_norm=batch_norm, epochs=2, steps=4, batch=16, head_lr=0.01)
    views = [shown(labelled, lite0) for _ in range(2)]
    one, two = (made.fit(view, np.random.default_rng(3)) for view in views)
    assert np.array_equal(one, two)
    assert one.shape == (21, 3)
    assert np.allclose(one.sum(axis=1), 1.0, atol=1e-5)
    truth = np.arange(21) // 7
    assert (one.argmax(axis=1) == truth).mean() > 0.6
    assert all(torch.equal(value, before[name]) for name, value in lite0.state_dict().items())
    moved = [
        any(not torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))
        for old, new in zip(lite0.blocks, views[0].extractor.blocks, strict=True)
    ]
    assert moved == [scope == "all" or i == len(moved) - 2 for i in range(len(moved) - 1)] + [False]


def test_before_enough_labels_are_owned_the_extractor_stays_and_the_head_alone_is_trained(
    labelled: View, lite0: FrozenExtractor
) -> None:
    view = shown(labelled, lite0)
    p = Unfreeze(after=22, head_lr=0.01).fit(view, np.random.default_rng(3))
    assert view.labelled_x is not None
    assert view.labelled_z is not None
    again = extracted(view.extractor, view.labelled_x, IMAGE)
    assert np.array_equal(again, view.labelled_z)
    assert (p.argmax(axis=1) == np.arange(21) // 7).mean() > 0.6


def test_unfreezing_needs_blocks_to_unfreeze(labelled: View) -> None:
    with pytest.raises(MolebenchError, match="unfreeze needs an extractor with trainable blocks"):
        Unfreeze().fit(labelled, RNG)


# ------------------------------------------------------------------ random_query, and metrics of defenses


def test_random_query_chooses_distinct_candidates_and_all_of_them_in_time() -> None:
    view = View(np.zeros((6, 1, 1, 1), np.uint8), np.zeros((6, 2), np.float32), k=2, count=3)
    rng = np.random.default_rng(0)
    chosen = [RandomQuery().select(view, rng) for _ in range(20)]
    assert all(len(set(c.tolist())) == 3 for c in chosen)
    assert set(np.concatenate(chosen).tolist()) == set(range(6))


def test_recovery_is_the_share_of_the_drop_taken_back() -> None:
    y = np.zeros(10, dtype=np.int64)
    clean, hit = np.zeros(10, dtype=np.int64), np.repeat([0, 1], [6, 4])  # 100 % and 60 %
    kept = np.repeat([0, 1], [9, 1])  # 90 %
    found = recovery(y, clean, hit, kept, np.random.default_rng(0))
    assert found is not None
    assert found.value == pytest.approx(0.75)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.75 < found.high
    assert recovery(y, hit, clean, kept, np.random.default_rng(0)) is None


def defended_record(workspace: Workspace, *words: str) -> Record:
    """A small cell behind some defense."""
    done = typed(workspace, "run", "--attack", "feature_collision", *SMALL, "--json", *words)
    return Record.model_validate(json.loads(done.stdout)[0])


@pytest.fixture(scope="module")
def undefended(fetched: Workspace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Record]:
    """A store in which a cell was played without a defense, and its record."""
    workspace = replace(fetched, store=tmp_path_factory.mktemp("undefended") / "store")
    return workspace, defended_record(workspace)


@pytest.mark.parametrize("name", DEFENSES)
def test_a_defense_acts_at_some_moment_and_at_no_unknown_one(name: str) -> None:
    made = registry.find("defenses", name).make
    public = {n for n in vars(made) if not n.startswith("_") and callable(getattr(made, n))} - {"card"}
    assert public
    assert public <= {*MOMENTS, "suspicion"}


@pytest.mark.parametrize("name", sorted({*TYPICAL, "oracle_filter", "random_filter"}))
def test_a_defended_play_has_four_arms_and_a_control_and_crafts_the_poison_once(
    name: str, undefended: tuple[Workspace, Record]
) -> None:
    workspace, plain = undefended
    defended = defended_record(workspace, "--defense", name)
    four = {f"{arm}_{how}" for arm in ("clean", "poisoned") for how in ("undefended", "defended")}
    match = {"poisoned_matched"} if filters(name) else set()
    assert set(defended.arms) == four | {"control_undefended"} | match
    assert ("delta_total_matched" in defended.metrics) == bool(match)
    assert defended.poison.sha256 == plain.poison.sha256
    assert "poison feature_collision" in defended.reused
    for arm in plain.arms:
        assert defended.arms[arm].correct == plain.arms[arm].correct
    figures = {"delta_total_defended", "delta_total_defended_own", "clean_cost", "time_ratio", "memory_ratio"}
    assert figures <= set(defended.metrics)
    assert defended.metrics["memory_ratio"].value > 0.5
    assert defended.rankable == (name not in ("oracle_filter", "random_filter"))


def test_behind_the_oracle_the_poisoned_arm_is_the_clean_one(workspace: Workspace) -> None:
    record = defended_record(workspace, "--defense", "oracle_filter")
    files = {name.split("/")[-1].removesuffix(".safetensors"): data for name, data in predictions(workspace).items()}
    assert files["poisoned_defended"] == files["clean_defended"] == files["clean_undefended"]
    assert record.metrics["filter_precision"].value == record.metrics["filter_recall"].value == 1.0
    assert record.metrics["success_rate_defended"].value == 0.0
    assert record.metrics["delta_total_defended"].value == record.metrics["clean_cost"].value == 0.0
    assert record.trusted_data == {"ground_truth": 170}
    assert any("never ranked" in warning for warning in record.warnings)


def test_a_random_filter_is_matched_to_the_filter_before_it(workspace: Workspace) -> None:
    words = ("--defense", "feature_norm", "--set", "feature_norm.limit=1")
    filtered = defended_record(workspace, *words)
    random = defended_record(workspace, *words, "--defense", "random_filter")
    trace = {name: record.arms["poisoned_defended"].trace for name, record in (("it", filtered), ("random", random))}
    assert trace["it"]["filter_removed"][0] == trace["random"]["filter_removed"][0] > 0
    assert set(trace["random"]["filter_removed"]) == {trace["random"]["filter_removed"][0]}  # matched to the end
    assert filtered.arms["poisoned_matched"].correct == random.arms["poisoned_defended"].correct  # played by itself
    assert filtered.metrics["filter_recall"].value > random.metrics["filter_recall"].value
    assert filtered.metrics["filter_precision"].value > random.metrics["filter_precision"].value
    assert filtered.metrics["filter_auroc"].value > 0.6
    assert [d["name"] for d in random.cell["defenses"]] == ["feature_norm", "random_filter"]
