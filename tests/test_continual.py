"""Continual learning from cell to record: digits in tasks, an attack by scores that can be checked, and its control."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from molebench.errors import MolebenchError
from molebench.record import Record
from molebench.store import Store, load_illustration
from molebench.types import Array
from tests.continual_home import Home, small

ARMS = {"clean_undefended", "poisoned_undefended", "control_undefended"}
DEFENDED = {"clean_defended", "poisoned_defended"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("continual")
    with small(folder):
        yield Home.at(folder)


@pytest.fixture(scope="module")
def record(home: Home) -> Record:
    """An attack on finetuning."""
    return home.run()


# ------------------------------------------------------------------ the record


def accuracies(y: Array, predicted: Array) -> Array:
    """By class."""
    return np.array([(predicted[y == c] == c).mean() for c in range(10)])


def test_every_figure_follows_from_the_predictions_on_disk(home: Home, record: Record) -> None:
    y, clean = home.predicted(record, "clean_undefended")
    _, poisoned = home.predicted(record, "poisoned_undefended")
    before, after = accuracies(y, clean), accuracies(y, poisoned)
    kept = before > 0.1
    attacked = {int(p.attacked) for u in record.updates for p in u.pairs}
    left = sorted(c for c in attacked if kept[c])
    shift = 100.0 * (after - before) / np.where(kept, before, np.nan)
    expected = {
        "accuracy_clean": (clean == y).mean(),
        "accuracy_poisoned": (poisoned == y).mean(),
        "delta_total": 100.0 * ((poisoned == y).mean() - (clean == y).mean()),
        "delta_total_rel": shift[kept].mean(),
        "delta_total_rel_of_means": 100.0 * (after.mean() - before.mean()) / before.mean(),
        "n_attacked": len(left),
        "n_pairs": sum(int(p.attacked) in left for u in record.updates for p in u.pairs),
        **({"delta_a_rel": np.median(shift[left])} if left else {}),
    }
    measured = {name: record.metrics[name].value for name in expected}
    assert measured == pytest.approx(expected, abs=1e-4)


def test_its_arms_are_the_clean_one_the_attacks_and_the_controls(record: Record) -> None:
    assert record.arms.keys() == ARMS
    assert record.status == "ok"
    assert record.scenario == "continual"


def test_it_holds_one_update_a_task_and_none_in_the_first(record: Record) -> None:
    """The scorer takes every image of class c for class c - 1: that is the only pair that a later class can make."""
    assert len(record.updates) == 5
    assert record.updates[0].size == 0
    pairs = [(int(p.attacked), int(p.confounding)) for u in record.updates for p in u.pairs]
    assert pairs
    assert all((c - 1) % 10 == a for a, c in pairs)
    assert record.poison.n == sum(u.moles for u in record.updates) > 0
    assert all(p.rho is not None and 0.5 < p.rho < 0.6 for u in record.updates for p in u.pairs)


def test_its_trace_is_the_accuracy_after_each_task(home: Home, record: Record) -> None:
    y, predicted = home.predicted(record, "poisoned_undefended")
    trace = record.arms["poisoned_undefended"].trace
    assert len(trace["accuracy"]) == 5
    assert trace["accuracy"][-1] == pytest.approx((predicted == y).mean())
    assert [len(trace[f"accuracy_on_task_{t}"]) for t in range(5)] == [5, 4, 3, 2, 1]


def test_the_threat_model_says_whether_the_scorer_knows_the_victim(home: Home, record: Record) -> None:
    assert record.threat_model["knows"] == ["data"]
    assert home.run(attack__scorer="victim", attack__rho_min=0.01).threat_model["knows"] == ["data", "victim"]


def test_without_an_attack_there_is_the_clean_arm_alone(home: Home, record: Record) -> None:
    none = home.run(attack="none")
    assert none.arms.keys() == {"clean_undefended"}
    assert none.updates == []
    assert none.metrics["accuracy_clean"] == record.metrics["accuracy_clean"]


def test_random_recruitment_is_an_attack_of_its_own_here(home: Home) -> None:
    found = home.run(attack="random_recruitment", attack__n=5)
    assert [(u.size, u.moles) for u in found.updates] == [(0, 0), *[(10, 0)] * 4]
    assert found.arms.keys() == {"clean_undefended", "poisoned_undefended"}


def test_another_seed_is_another_order_of_classes(home: Home, record: Record) -> None:
    other = home.run(seed=1, attack__rho_min=0.1)
    first, second = ({(p.attacked, p.confounding) for u in each.updates for p in u.pairs} for each in (record, other))
    assert first != second


def test_the_model_can_be_held_while_the_order_varies(home: Home) -> None:
    found = home.run(seed=1, victim__seed=0)
    assert found.seeds == {"cell": 1, "model": 0}


def test_its_folder_keeps_the_most_confusable_pairs_moles(home: Home, record: Record) -> None:
    kept = load_illustration(Store(home.workspace.store).cell(record.key))
    pairs = [p for u in record.updates for p in u.pairs]
    best = max(pairs, key=lambda p: p.rho or 0.0)
    assert kept["pair"].tolist() == [int(best.attacked), int(best.confounding)]
    assert kept["moles"].shape[1:] == (8, 8, 1)
    assert (np.diff(kept["scores"]) <= 0).all()


# ------------------------------------------------------------------ the released code's faults


def test_as_released_says_what_it_reproduces_and_what_does_not_concern_the_learner(home: Home) -> None:
    found = home.run("cl_lwf", attack__protocol="as_released")
    assert "reproduces faults of the released code: pool, teacher" in found.warnings
    idle = "attention_grad, il2m_statistics, memory, prototypes, reset_confusion, train_on_moles"
    assert f"faults that do not concern cl_lwf: {idle}" in found.warnings


def test_moles_from_the_test_images_are_never_ranked(home: Home, record: Record) -> None:
    leak = home.run(attack__pool="train_and_test", attack__r="0,0.5999")
    assert leak.trusted_data["test_images"] > 0
    assert not leak.rankable
    assert record.rankable
    assert leak.arms["clean_undefended"].predictions_sha256 == record.arms["clean_undefended"].predictions_sha256


def test_running_averages_change_what_is_reported_and_no_prediction(home: Home) -> None:
    plain, averaged = (
        home.run("cl_der", victim__memory=20),
        home.run("cl_der", victim__memory=20, attack__reset_confusion=False),
    )
    for arm in ARMS:
        assert plain.arms[arm].predictions_sha256 == averaged.arms[arm].predictions_sha256
    assert plain.metrics["accuracy_clean"].value != averaged.metrics["accuracy_clean"].value


# ------------------------------------------------------------------ defenses


def test_the_oracle_removes_every_mole(home: Home) -> None:
    found = home.run("cl_finetune", "oracle_filter")
    assert found.arms.keys() == ARMS | DEFENDED
    assert found.metrics["filter_recall"].value == 1.0
    assert found.metrics["filter_precision"].value == 1.0


def test_a_defense_that_accepts_no_update_gives_the_clean_arm_back(home: Home, record: Record) -> None:
    found = home.run("cl_finetune", "refuses")
    clean = home.predicted(record, "clean_undefended")[1]
    for arm in DEFENDED:
        assert (home.predicted(found, arm)[1] == clean).all()
    assert found.metrics["delta_total_defended"].value == 0.0


def test_a_schedule_of_replays_alone_leaves_nothing_of_what_was_sent(home: Home) -> None:
    found = home.run("cl_icarl", "replays_only")
    assert found.arms["poisoned_defended"].predictions_sha256 == found.arms["clean_defended"].predictions_sha256
    undefended = found.arms["poisoned_undefended"].predictions_sha256
    assert undefended != found.arms["poisoned_defended"].predictions_sha256


def test_who_admits_everything_changes_nothing_and_who_does_not_changes_what_is_remembered(home: Home) -> None:
    every, dark = (home.run("cl_icarl", name) for name in ("admits_all", "admits_dark"))
    plain = every.arms["poisoned_undefended"].predictions_sha256
    assert every.arms["poisoned_defended"].predictions_sha256 == plain
    assert dark.arms["poisoned_defended"].predictions_sha256 != plain


def test_who_accepts_may_ask_for_trusted_images_and_the_record_counts_them(home: Home) -> None:
    found = home.run("cl_finetune", "asks_trusted")
    undefended = home.run("cl_finetune").arms["poisoned_undefended"].predictions_sha256
    assert found.arms["poisoned_defended"].predictions_sha256 == undefended, (
        "it lets all in, having seen what it should"
    )
    assert found.metrics["trusted_images"].value == 2 * 10
    assert found.trusted_data == {"clean_images": 20}
    assert found.rankable


def test_a_training_of_its_own_answers_the_exams_after_an_update(home: Home) -> None:
    found = home.run("cl_icarl", "nearest_mean")
    y, answers = home.predicted(found, "poisoned_defended")
    assert (answers == y).mean() > 0.2
    assert found.arms["poisoned_defended"].predictions_sha256 != found.arms["poisoned_undefended"].predictions_sha256


def test_a_random_filter_is_played_beside_every_filter(home: Home) -> None:
    found = home.run("cl_finetune", "margin_filter")
    assert found.arms.keys() == ARMS | DEFENDED | {"poisoned_matched"}
    assert {"delta_total_matched", "recovery_matched"} & set(found.metrics)
    removed = [found.arms[f"poisoned_{how}"].trace["filter_removed"] for how in ("defended", "matched")]
    assert removed[0] == removed[1]
    assert sum(removed[0]) > 0


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("victim", "given", "said"),
    [
        ("cl_finetune", {"victim__tasks": 20}, "victim.tasks=20, but the dataset has 10 classes; choose 10 or fewer"),
        ("cl_finetune", {"victim__tasks": 4}, "victim.tasks=4 splits 10 classes unevenly; choose one of 1, 2, 5, 10"),
        ("cl_icarl", {"victim__memory": 9}, "victim.memory=9 holds no exemplar of each of 10 classes; choose 10 or"),
        ("cl_finetune", {"victim__tasks": 1}, "attack continual_moles needs two tasks or more"),
        ("cl_finetune", {"victim__milestones": "soon"}, "victim.milestones='soon'; expected epochs such as 60,120,170"),
        ("cl_ssre", {"victim__search": True, "victim__base": 2}, "victim.search=True tries rates of SGD; with adam"),
        ("cl_ssre", {"victim__base": 1}, "SSRE"),
        ("cl_finetune", {"scorer__labels": 7}, "scorer neighbours scores 7 labels for 199 images; dataset digits"),
        ("cl_finetune", {"attack__r": "steep"}, "r='steep'; expected published, or slope,intercept"),
    ],
)
def test_bad_input_is_one_clear_line(home: Home, victim: str, given: dict[str, Any], said: str) -> None:
    there = set(Path(home.workspace.store).rglob("record.json"))
    with pytest.raises(MolebenchError) as error:
        home.run(victim, **given)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2
    assert set(Path(home.workspace.store).rglob("record.json")) == there


def test_a_rate_search_is_made_once_and_kept(home: Home) -> None:
    """Finetuning names no trade-off: three rates are tried a task, and the attacked arms search for themselves."""
    home.run(victim__search=True, victim__epochs=1)
    made = sorted((home.workspace.cache / "stages" / "searches").glob("*.safetensors"))
    assert len(made) == 5 + 2 * 3  # clean; from the third task on the attacked arms are other networks
    home.run(victim__search=True, victim__epochs=1, attack__rho_min=0.05)
    assert sorted((home.workspace.cache / "stages" / "searches").glob("*.safetensors")) == made
