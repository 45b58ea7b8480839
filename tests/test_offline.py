"""Offline recruitment from cell to record: one small victim, trained once, and what moles make of it."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from molebench import places
from molebench.errors import CellFailed, MolebenchError
from molebench.moles import Pair
from molebench.record import Record
from molebench.scenarios import trained
from molebench.scenarios.offline import as_trained, play
from molebench.splits import share_of
from molebench.stages import Stages
from molebench.trial import Outcome
from molebench.types import Array, Poison, Samples
from molebench.updates import Recruitment, RecruitView, Update, order_of
from tests.offline_home import PAIRS, POOL, VICTIM, Home

ITEMS = 359  # test items of the digits
ARMS = ("poisoned_undefended", "control_undefended")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("offline")
    (folder / "small.py").write_text(VICTIM, "utf-8")
    with mock.patch.dict(os.environ, {places.VARIABLE: str(folder / "small.py"), "MOLEBENCH_THREADS": "1"}):
        yield Home.at(folder)


@pytest.fixture(scope="module")
def grid(home: Home) -> Record:
    """Three pairs, the first cell of all."""
    return home.run()


# ------------------------------------------------------------------ the record


def points(y: Array, mine: Array, after: Array, before: Array) -> float:
    """Delta of some items, in points."""
    return 100.0 * float((after[mine] == y[mine]).mean() - (before[mine] == y[mine]).mean())


def recomputed(y: Array, before: list[Array], after: list[Array]) -> dict[str, float]:
    """The statistics over pairs, by their definitions."""
    rows = list(zip(PAIRS, before, after, strict=True))
    lost = [points(y, y == a, new, old) for (a, _), old, new in rows]
    totals = [points(y, y >= 0, new, old) for _, old, new in rows]
    others = [[points(y, y == c, new, old) for c in set(range(10)) - set(pair)] for pair, old, new in rows]
    return {
        "max_delta_a": min(lost),
        "p95_delta_a": float(np.percentile(lost, 5)),
        "mean_delta_a": float(np.mean(lost)),
        "mean_delta_confounding": float(np.mean([points(y, y == c, new, old) for (_, c), old, new in rows])),
        "mean_delta_other": float(np.mean(others)),
        "max_delta_total": min(totals),
        "mean_delta_total": float(np.mean(totals)),
    }


def test_every_figure_follows_from_the_predictions_on_disk(home: Home, grid: Record) -> None:
    y, before = home.before(grid)
    after, control = (list(home.after(grid, arm)) for arm in ARMS)
    assert np.shape(after) == np.shape(control) == (3, ITEMS)
    expected = {
        "accuracy_clean": (before == y).mean(),
        "accuracy_poisoned": np.mean([row == y for row in after]),
        "accuracy_control": np.mean([row == y for row in control]),
        "accuracy_train": (home.scores()["scores"].argmax(axis=1) == pool(home).y).mean(),
    }
    expected |= recomputed(y, [before] * 3, after)
    expected |= {f"{name}_control": value for name, value in recomputed(y, [before] * 3, control).items()}
    expected |= {f"{name}_vs_control": value for name, value in recomputed(y, control, after).items()}
    found = {name: metric.value for name, metric in grid.metrics.items()}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-3)
    assert len({tuple(row) for row in (before, *after, *control)}) == 7  # no two of them are the same predictions


def test_every_update_has_its_pair_its_counts_and_its_arms(home: Home, grid: Record) -> None:
    assert [(u.pairs[0].attacked, u.pairs[0].confounding) for u in grid.updates] == [(str(a), str(c)) for a, c in PAIRS]
    y, _ = home.before(grid)
    for number, update in enumerate(grid.updates):
        assert (update.moles, update.size, update.pairs[0].n) == (10, 100, 10)
        assert set(update.arms) == set(ARMS)
        for name, arm in update.arms.items():
            table = np.zeros((10, 10), dtype=int)
            np.add.at(table, (y, home.after(grid, name)[number]), 1)
            assert arm.confusion == table.tolist()
            assert (arm.n, arm.correct) == (table.sum(axis=1).tolist(), table.diagonal().tolist())
    assert (grid.poison.n, grid.poison.violations, grid.status) == (30, [], "ok")
    assert grid.data.sizes == {"pool": POOL, "test": ITEMS}


def test_the_clean_arm_is_the_victim_as_its_cache_has_it(home: Home, grid: Record) -> None:
    found = home.scores()
    assert found["predicted"].tolist() == home.before(grid)[1].tolist()
    assert found["scores"].shape == (POOL, 10)
    assert found["scores"].sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    assert grid.metrics["accuracy_clean"].value > 0.6  # it has learnt something


def pool(home: Home) -> Samples:
    """The images that the victim was trained on."""
    return share_of(home.trial().dataset.splits["train"], 300, 0, "pool")


def test_moles_are_the_images_that_look_most_like_the_attacked_class(home: Home, grid: Record) -> None:
    scores, y = home.scores()["scores"], pool(home).y
    for update, (a, c) in zip(grid.updates, PAIRS, strict=True):
        mine = np.sort(scores[y == c, a])[::-1]
        assert update.pairs[0].mean_score == pytest.approx(mine[:10].mean(), abs=1e-6)
        assert update.pairs[0].rho == pytest.approx(np.percentile(mine, 99), abs=1e-6)


# ------------------------------------------------------------------ what is computed once


def test_a_pair_alone_is_the_same_pair_among_others_and_trains_nothing_anew(home: Home, grid: Record) -> None:
    alone = home.run(attack__pairs="all", attack__attacked="5", attack__confounding="3")
    arm = "poisoned_undefended"
    assert home.after(alone, arm)[0].tolist() == home.after(grid, arm)[1].tolist()
    assert alone.updates[0].pairs == grid.updates[1].pairs
    assert {"victim", "scores", "updates (poisoned)"} <= set(alone.reused)
    assert not {"victim", "scores", "updates (poisoned)"} & set(alone.durations)
    assert {"delta_a", "delta_confounding", "delta_other", "delta_total"} <= set(alone.metrics)


@pytest.mark.parametrize("pair", [0, 2])
def test_the_control_of_a_pair_alone_is_its_control_among_others(pair: int, home: Home, grid: Record) -> None:
    alone = home.run(attack__pairs=["3<5", "5<3", "8<1"][pair])
    assert home.after(alone, "control_undefended")[0].tolist() == home.after(grid, "control_undefended")[pair].tolist()


def test_one_victim_serves_every_attack_and_every_arithmetic_of_its_predictions(home: Home, grid: Record) -> None:
    records = (
        home.run("random_recruitment"),
        home.run("optimized_moles", attack__unit=5, attack__rho_min=0.0),
        home.run(victim__evaluation="bfloat16"),
    )
    for record in records:
        assert "victim" in record.reused
        assert "victim" not in record.durations
    assert grid.reused == []
    assert len(home.stages("victims")) == 1


def test_bfloat16_judges_the_victim_and_its_updates_alike(home: Home, grid: Record) -> None:
    rough = home.run(victim__evaluation="bfloat16")
    assert not {"updates (poisoned)", "updates (control)"} & set(rough.reused)
    pairs = [(home.before(rough)[1], home.before(grid)[1])]
    pairs += [(home.after(rough, arm), home.after(grid, arm)) for arm in ARMS]
    assert all((one == other).mean() > 0.97 for one, other in pairs)


def test_a_seed_of_its_own_fixes_the_model_while_the_draws_vary(home: Home, grid: Record) -> None:
    other = home.run(seed=1, victim__seed=0)
    assert "victim" in other.reused
    assert other.seeds == {"cell": 1, "model": 0}
    assert home.before(other)[1].tolist() == home.before(grid)[1].tolist()
    assert other.poison.sha256 != grid.poison.sha256  # other random images beside the same moles


def test_what_a_victim_is_judged_by_is_no_part_of_what_it_was_trained_by() -> None:
    identity = {"name": "v", "parameters": {"epochs": 3, "seed": 1, "evaluation": "bfloat16"}, "code": "c"}
    assert as_trained(identity) == {"name": "v", "parameters": {"epochs": 3}, "code": "c"}


def test_running_again_gives_the_record_of_before(home: Home, grid: Record) -> None:
    assert home.run() == grid


def test_fresh_folders_give_the_same_predictions_to_the_byte(grid: Record, tmp_path: Path) -> None:
    again = Home.at(tmp_path).run()
    assert again.metrics == grid.metrics
    assert [u.arms for u in again.updates] == [u.arms for u in grid.updates]
    assert again.reused == []


# ------------------------------------------------------------------ updates that change nothing, victims that know all


def test_no_attack_leaves_the_victim_and_its_two_accuracies(home: Home, grid: Record) -> None:
    record = home.run("none")
    assert set(record.metrics) == {"accuracy_clean", "accuracy_train"}
    assert (record.updates, record.poison.n, record.status) == ([], 0, "ok")
    assert set(record.arms) == {"clean_undefended"}


def test_an_update_of_size_0_leaves_every_prediction_as_it_was(home: Home, grid: Record) -> None:
    record = home.run("optimized_moles", attack__rho_min=0.0, attack__min_units=0, attack__r="0,1", attack__unit=20)
    assert (record.updates[0].size, record.updates[0].moles) == (0, 0)
    for arm in ARMS:
        assert home.after(record, arm)[0].tolist() == home.before(grid)[1].tolist()
    assert record.metrics["delta_total"].value == 0.0


def test_compounded_pairs_share_one_update(home: Home, grid: Record) -> None:
    record = home.run("optimized_moles", attack__unit=5, attack__rho_min=0.0)
    (update,) = record.updates
    named = [name for pair in update.pairs for name in (pair.attacked, pair.confounding)]
    assert len(update.pairs) == len(set(named)) / 2 == 5
    assert update.size == 2 * update.moles  # five classes are confounding, five are not
    assert record.metrics["n_pairs"].value == 5


def test_pairs_that_are_not_confusable_enough_leave_a_record_that_says_so(home: Home, grid: Record) -> None:
    record = home.run("optimized_moles", attack__rho_min=0.9999)
    assert (record.updates, record.status) == ([], "unhealthy")
    assert any(w.startswith("no pair has rho >= 0.9999: the largest is ") for w in record.warnings)


def test_a_victim_that_interpolates_its_pool_is_said_to_know_it_by_heart(home: Home, grid: Record) -> None:
    fitted = home.run(attack__n=5, victim__pool=60, victim__epochs=30, victim__batch=20)
    assert fitted.metrics["accuracy_train"].value == 1.0
    assert "the victim knows 100.00% of its pool by heart: it cannot be confounded" in fitted.warnings
    assert grid.metrics["accuracy_train"].value < 0.99
    assert not any("by heart" in w for w in grid.warnings)


# ------------------------------------------------------------------ what an attack may return, and see

Craft = Callable[[RecruitView, np.random.Generator], Any]


def played(home: Home, craft: Craft, **more: Any) -> Outcome:
    """A play in which somebody else crafts, without a control."""
    trial = home.trial()
    return play(replace(trial, attack=replace(trial.attack, craft=craft, check=None, **more), control=None))


def test_the_control_is_trained_on_in_the_attack_s_order(home: Home) -> None:
    # a control that recruits the very same images, moles no longer marked, does the very same harm
    def same(view: RecruitView, rng: np.random.Generator) -> Recruitment:
        assert view.like is not None
        assert view.scores is None  # it does not know the victim
        return Recruitment(tuple(Update(u.index, np.zeros(len(u), bool), u.pairs) for u in view.like.updates))

    trial = home.trial()
    assert trial.control is not None
    outcome = play(replace(trial, control=replace(trial.control, craft=same)))
    found = {name: arm.predicted.tolist() for name, arm in outcome.update_arms.items()}
    assert found["control_undefended"] == found["poisoned_undefended"]
    assert outcome.metrics["max_delta_a_vs_control"].value == 0.0


def test_the_order_of_an_update_is_named_by_its_pairs_and_size_alone() -> None:
    pairs = (Pair(3, 5, 0.5, 2), Pair(1, 2, 0.3, 9))
    assert order_of(Update(np.array([7, 8]), np.array([True, False]), pairs)) == (3, 5, 1, 2, 2)
    assert order_of(Update(np.array([1, 9]), np.array([False, False]), pairs)) == (3, 5, 1, 2, 2)


WRONG: dict[str, tuple[Callable[[RecruitView], Any], str]] = {
    "a list": (lambda view: [1, 2], "returned list; expected a Recruitment"),
    "a poison": (lambda view: Poison(view.base[:1], np.array([0])), "returned Poison; expected a Recruitment"),
    "an image twice": (
        lambda view: Recruitment((Update(np.array([1, 1]), np.zeros(2, bool)),)),
        "returned what cannot be trained on: names an image twice",
    ),
    "an image that is not there": (
        lambda view: Recruitment((Update(np.array([POOL]), np.zeros(1, bool)),)),
        f"returned what cannot be trained on: names an image outside 0..{POOL - 1}",
    ),
    "an exception": (lambda view: 1 // 0, "raised ZeroDivisionError"),
}


@pytest.mark.parametrize(("craft", "says"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_trained_on_fails_the_cell_by_name(
    craft: Callable[[RecruitView], Any], says: str, home: Home
) -> None:
    with pytest.raises(CellFailed, match=f"attack mole_recruitment {says}"):
        played(home, lambda view, rng: craft(view))


def test_an_attack_cannot_write_into_what_others_will_see(home: Home) -> None:
    def scribbles(view: RecruitView, rng: np.random.Generator) -> Recruitment:
        assert view.scores is not None
        for array in (view.base.x, view.base.y, view.scores):
            with pytest.raises(ValueError, match="read-only"):
                array[:1] = 0
        return Recruitment(())

    played(home, scribbles)


@pytest.mark.parametrize(("knows", "told"), [({"data"}, False), ({"data", "victim"}, True)])
def test_scores_are_shown_to_those_who_know_the_victim(knows: set[str], told: bool, home: Home) -> None:
    seen: list[RecruitView] = []

    def looks(view: RecruitView, rng: np.random.Generator) -> Recruitment:
        seen.append(view)
        return Recruitment(())

    threat = replace(home.trial().attack.threat, knows=frozenset(knows))
    played(home, looks, threat=threat)
    (view,) = seen
    assert (view.scores is not None) == told
    assert (len(view.base), view.batch, len(view.classes)) == (POOL, 50, 10)
    assert view.base.fingerprint == pool(home).fingerprint


def test_a_play_touches_no_global_generator(home: Home, tmp_path: Path) -> None:
    before: Any = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    play(replace(home.trial(), stages=Stages(tmp_path)))
    after: Any = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1][1].tolist() == after[1][1].tolist()


# ------------------------------------------------------------------ refused


def test_a_pool_of_one_class_is_refused_before_anything_is_trained(tmp_path: Path, home: Home) -> None:
    trial = home.trial()
    ones = {name: samples[samples.y == 1] for name, samples in trial.dataset.splits.items()}
    alone = replace(trial, dataset=replace(trial.dataset, splits=ones), stages=Stages(tmp_path))
    for attack in (alone.attack, replace(alone.attack, check=None)):
        with pytest.raises(MolebenchError, match="the pool holds images of one class; two or more are needed"):
            play(replace(alone, attack=attack))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("attack", ["mole_recruitment", "random_recruitment", "none"])
def test_a_victim_that_diverged_is_refused_by_name_and_leaves_no_record(
    attack: str, home: Home, tmp_path: Path
) -> None:
    wild = Home(replace(home.workspace, cache=tmp_path / "cache", store=tmp_path / "store"))
    with pytest.raises(MolebenchError, match="NaN or infinite"):
        wild.run(attack, victim__pool=120, victim__epochs=2, victim__lr=1e30)
    assert list((tmp_path / "store").rglob("record.json")) == []


def test_an_update_that_diverged_is_refused_by_name(home: Home, grid: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt(*given: Any) -> torch.nn.Module:
        network = updated(*given)
        next(network.parameters()).data.fill_(float("nan"))
        return network

    updated = trained.updated
    monkeypatch.setattr(trained, "updated", spoilt)
    one = Recruitment((Update(np.arange(100), np.zeros(100, bool), (Pair(3, 5, 0.5, 10),)),))
    with pytest.raises(MolebenchError, match="NaN or infinite"):
        played(home, lambda view, rng: one)


# ------------------------------------------------------------------ pools


def balanced(y: Mapping[int, int]) -> Samples:
    """So many samples of each class; x is the number of each."""
    labels = np.concatenate([np.full(n, c) for c, n in y.items()])
    return Samples(np.arange(len(labels)).astype(np.uint8).reshape(-1, 1, 1, 1), labels)


def test_a_smaller_pool_has_the_same_share_of_every_class() -> None:
    train = balanced({0: 40, 1: 20, 2: 60})
    found = share_of(train, 30, 0, "pool")
    assert np.bincount(found.y).tolist() == [10, 5, 15]
    assert (np.diff(found.x[:, 0, 0, 0].astype(int)) > 0).all()  # in the order of the whole, each once
    assert share_of(train, 30, 0, "pool").fingerprint == found.fingerprint != share_of(train, 30, 1, "pool").fingerprint


def test_every_class_keeps_an_image_and_a_large_enough_pool_is_the_whole() -> None:
    train = balanced({0: 40, 1: 2})
    assert np.bincount(share_of(train, 4, 0, "pool").y).tolist() == [4, 1]
    assert share_of(train, None, 0, "pool") is share_of(train, 42, 0, "pool") is train
