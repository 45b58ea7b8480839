"""Each defense's maths on points that can be drawn on paper, and each one in a real, tiny, poisoned play."""

import json
from dataclasses import replace

import numpy as np
import pytest

from molebench import registry
from molebench.defenses.feature_norm import ordinary
from molebench.defenses.label_conflict_quarantine import at_peace
from molebench.defenses.random_query import RandomQuery
from molebench.hooks import MOMENTS, View
from molebench.metrics import recovery
from molebench.record import Record
from molebench.workspace import Workspace
from tests.commands import SMALL, typed

DEFENSES = [name for name in registry.files("defenses") if name != "none"]


def test_a_norm_far_below_the_others_is_not_ordinary() -> None:
    z = np.array([[10.0], [11.0], [9.0], [10.5], [9.5], [0.1]])
    assert ordinary(z, limit=3.5).tolist() == [True] * 5 + [False]


def test_where_all_norms_are_equal_all_are_ordinary() -> None:
    assert ordinary(np.ones((4, 3)), limit=3.5).all()


def test_two_classes_at_one_point_are_quarantined_and_the_rest_is_not() -> None:
    z = np.array([[0.0], [0.0], [10.0], [20.0], [10.1]])
    y = np.array([0, 1, 0, 1, 0])
    assert at_peace(z, y, radius=0.25).tolist() == [False, False, True, True, True]


def test_a_class_that_would_lose_everything_keeps_its_items() -> None:
    z = np.array([[0.0], [0.0], [10.0], [20.0]])
    y = np.array([0, 1, 0, 0])
    assert at_peace(z, y, radius=0.25).tolist() == [False, True, True, True]


def test_one_class_at_one_point_is_no_conflict() -> None:
    assert at_peace(np.zeros((3, 2)), np.array([1, 1, 1]), radius=0.25).all()


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


@pytest.mark.parametrize("name", DEFENSES)
def test_a_defense_acts_at_some_moment_and_at_no_unknown_one(name: str) -> None:
    made = registry.find("defenses", name).make
    public = {n for n in vars(made) if not n.startswith("_") and callable(getattr(made, n))} - {"card"}
    assert public
    assert public <= set(MOMENTS)


@pytest.mark.parametrize("name", DEFENSES)
def test_a_defended_play_has_four_arms_and_a_control_and_crafts_the_poison_once(
    name: str, workspace: Workspace
) -> None:
    words = ("run", "--attack", "feature_collision", *SMALL, "--json", "--store")
    bare = typed(workspace, *words, str(workspace.store))
    behind = typed(replace(workspace, store=workspace.store / "b"), *words, str(workspace.store), "--defense", name)
    plain, defended = (Record.model_validate(json.loads(done.stdout)[0]) for done in (bare, behind))
    assert set(defended.arms) == {
        f"{arm}_{how}" for arm in ("clean", "poisoned") for how in ("undefended", "defended")
    } | {"control_undefended"}
    assert defended.poison.sha256 == plain.poison.sha256
    assert "poison feature_collision" in defended.reused
    for arm in plain.arms:
        assert defended.arms[arm].correct == plain.arms[arm].correct
    assert {"delta_total_defended", "delta_total_defended_own", "clean_cost"} <= set(defended.metrics)
