"""Metrics made again from counts: on numbers to see at a glance, and on every record that the project has published."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from molebench.contributions import contributions
from molebench.recomputed import follows, wrong
from molebench.record import ArmRecord, Record
from molebench.store import load_predictions, load_records
from tests.stored import content

RESULTS = Path(__file__).parents[1] / "leaderboard" / "results"
FIRST = content()


def arm(n: list[int], correct: list[int]) -> dict[str, Any]:
    """An arm of these counts; its predictions are looked at elsewhere."""
    told = ArmRecord(n=n, correct=correct, confusion=[], predictions="x", predictions_sha256="", trace={})
    return told.model_dump()


def record(arms: dict[str, Any], scenario: str = "active", **changes: Any) -> Record:
    """The first record with other arms."""
    data = {**FIRST["data"], "classes": ["cat", "dog", "cow"]}
    return Record.model_validate({**FIRST, "scenario": scenario, "arms": arms, "data": data, **changes})


def update(pairs: list[tuple[str, str]], **arms: dict[str, Any]) -> dict[str, Any]:
    """An update with these pairs (attacked, confounding)."""
    told = [{"attacked": a, "confounding": c, "rho": 0.5, "n": 10, "mean_score": None} for a, c in pairs]
    return {"pairs": told, "moles": 10, "size": 30, "arms": arms}


def test_an_active_learner_s_deltas_are_differences_of_shares() -> None:
    found = follows(
        record(
            {
                "clean_undefended": arm([10, 10, 20], [9, 8, 10]),  # 90, 80, 50 %; 27 of 40
                "poisoned_undefended": arm([10, 10, 20], [5, 8, 6]),  # 50, 80, 30 %; 19 of 40
                "poisoned_defended": arm([10, 10, 20], [9, 8, 6]),  # 23 of 40
                "clean_defended": arm([10, 10, 20], [9, 8, 8]),  # 25 of 40
            }
        )
    )
    assert found["accuracy_clean"] == 0.675
    assert found["delta_total"] == -20.0
    assert found["max_delta_a"] == -40.0
    assert found["mean_delta_a"] == -20.0
    assert found["delta_total_defended"] == -10.0
    assert found["clean_cost"] == -5.0
    assert found["recovery"] == 0.5
    assert "recovery_matched" not in found


def test_nothing_is_recovered_of_what_was_never_taken() -> None:
    same = arm([10, 10, 20], [9, 8, 10])
    arms = dict.fromkeys(("clean_undefended", "poisoned_undefended", "poisoned_defended", "clean_defended"), same)
    assert "recovery" not in follows(record(arms))


def test_an_update_s_deltas_are_of_its_pair_and_of_the_rest() -> None:
    before = {"clean_undefended": arm([10, 10, 20], [9, 8, 10])}
    one = update([("cat", "dog")], poisoned_undefended=arm([10, 10, 20], [5, 9, 9]))
    found = follows(record(before, "offline", updates=[one]))
    assert (found["delta_a"], found["delta_confounding"], found["delta_other"]) == pytest.approx((-40.0, 10.0, -5.0))
    assert found["delta_total"] == pytest.approx(-10.0)
    assert (found["n_pairs"], found["n_attacked"]) == (1.0, 1.0)


def test_of_several_updates_the_mean_is_over_pairs() -> None:
    before = {"clean_undefended": arm([10, 10, 20], [9, 8, 10])}
    first = update([("cat", "dog")], poisoned_undefended=arm([10, 10, 20], [5, 8, 10]))  # cat -40
    second = update([("cow", "dog")], poisoned_undefended=arm([10, 10, 20], [9, 8, 8]))  # cow -10
    found = follows(record(before, "offline", updates=[first, second]))
    assert (found["mean_delta_a"], found["max_delta_a"]) == pytest.approx((-25.0, -40.0))
    assert (found["mean_delta_total"], found["max_delta_total"]) == pytest.approx((-7.5, -10.0))


def test_relative_changes_leave_out_classes_that_were_never_known() -> None:
    arms = {
        "clean_undefended": arm([10, 10, 10], [8, 5, 1]),  # cow: 10 % says nothing
        "poisoned_undefended": arm([10, 10, 10], [4, 5, 0]),
    }
    updates = [update([("cat", "dog"), ("cow", "dog")])]
    found = follows(record(arms, "continual", updates=updates))
    assert found["delta_a_rel"] == pytest.approx(-50.0)  # the cat alone
    assert found["delta_total_rel"] == pytest.approx(-25.0)  # cat and dog
    assert found["mean_delta_a"] == pytest.approx(-25.0)  # cat -40, cow -10


def test_a_metric_that_does_not_follow_is_named_with_what_is_due() -> None:
    arms = {
        "clean_undefended": arm([10, 10, 20], [9, 8, 10]),
        "poisoned_undefended": arm([10, 10, 20], [5, 8, 6]),
    }
    told = {"value": -2.0, "low": -3.0, "high": -1.0, "definition": "a test's"}
    assert list(wrong(record(arms, metrics={"delta_total": told}))) == [
        "its delta_total is -2, but its predictions give -20"
    ]


def published() -> list[Record]:
    """Of each scenario, attack and victim the first two records, with and without a defense."""
    kinds: dict[tuple[object, ...], list[Record]] = {}
    for each in load_records(RESULTS):
        name = each.scenario, each.cell["attack"]["name"], each.cell["victim"]["name"], bool(each.cell["defenses"])
        kinds.setdefault(name, []).append(each)
    return [each for kind in kinds.values() for each in kind[:2]]


def test_the_metrics_of_published_records_follow_from_their_predictions() -> None:
    found = published()
    assert {each.scenario for each in found} == {"active", "offline", "continual"}
    assert [line for each in found for line in wrong(each)] == []
    assert all(len(follows(each)) >= 1 for each in found)


def test_what_items_contribute_adds_up_to_the_figure() -> None:
    scored = 0
    for each in published():
        found = contributions(each, partial(load_predictions, RESULTS / "cells" / each.key))
        if found is not None:
            assert found.c.sum() == pytest.approx(each.metrics[found.figure].value, abs=1e-3)
            scored += 1
    assert scored >= 5
