"""A defense is worth what is left when the attack comes that hurts it most."""

from typing import Any

from molebench.record import Record
from molebench.worst_case import HEAD, scores, table
from tests.stored import content, seeded

FIRST = content()


def record(seed: int, attack: str, defense: str, delta: float, **cell: Any) -> Record:
    """A record of this attack and defense, whose Delta is given."""
    name = "delta_total_defended" if defense else "delta_total"
    metrics = {name: {"value": delta, "low": delta - 1, "high": delta + 1, "definition": "a test's"}}
    if defense:
        metrics["clean_cost"] = {"value": -0.5, "low": -1.0, "high": 0.0, "definition": "a test's"}
    parts = {
        **FIRST["cell"],
        "attack": {"name": attack, "parameters": {}},
        "defenses": [{"name": defense, "parameters": {}}] if defense else [],
        **cell,
    }
    return seeded(seed, metrics=metrics).model_copy(update={"cell": {**parts, "seed": seed}})


def table_of(*records: Record) -> dict[str, Any]:
    return {score.defense: score for score in scores(records)}


def test_the_score_is_the_worst_mean_over_seeds_of_any_attack() -> None:
    found = table_of(
        record(0, "noise", "feature_norm", -1.0),
        record(1, "noise", "feature_norm", -2.0),
        record(0, "feature_collision", "feature_norm", -9.0),
        record(1, "feature_collision", "feature_norm", -5.0),
    )["feature_norm"]
    assert (found.worst.attack, found.worst.figure.value, found.worst.seeds) == ("feature_collision", -7.0, 2)
    assert found.missing == ()


def test_an_attack_that_only_others_have_met_makes_a_score_incomplete() -> None:
    found = table_of(
        record(0, "noise", "feature_norm", -1.0),
        record(0, "noise", "", -3.0),
        record(0, "feature_collision", "", -20.0),
    )
    assert found["feature_norm"].missing == ("feature_collision",)
    assert not found["feature_norm"].rankable
    assert found["none"].worst.figure.value == -20.0
    assert found["none"].missing == ()


def test_the_best_comes_first_and_what_is_no_attack_does_not_count() -> None:
    found = scores(
        [
            record(0, "noise", "feature_norm", -4.0),
            record(0, "noise", "random_filter", -1.0),
            record(0, "none", "feature_norm", -30.0),
        ]
    )
    assert [(score.defense, score.worst.figure.value) for score in found] == [
        ("random_filter", -1.0),
        ("feature_norm", -4.0),
    ]


def test_other_data_or_another_profile_is_another_setting() -> None:
    found = scores([record(0, "noise", "feature_norm", -1.0), record(0, "noise", "", -2.0, profile="paper")])
    assert [score.missing for score in found] == [(), ()]
    assert {score.setting[2] for score in found} == {FIRST["cell"]["profile"], "paper"}


def test_a_record_that_never_counts_makes_a_score_that_never_counts() -> None:
    told = record(0, "noise", "oracle_filter", -1.0).model_copy(update={"trusted_data": {"ground_truth": 5}})
    (score,) = scores([told])
    assert not score.rankable
    assert "never ranked" in table([told], "csv")


def test_the_table_says_who_is_worst_and_what_is_missing() -> None:
    rows = table(
        [record(0, "noise", "feature_norm", -1.0), record(0, "noise", "", -1.5), record(0, "unperturbed", "", -2.0)],
        "csv",
    ).splitlines()
    assert rows[0] == ",".join(HEAD)
    (line,) = (row for row in rows if ",feature_norm," in row)
    assert "-1.0 [-2.0, 0.0],noise,1 of 2,1" in line.replace('"', "")
    assert "has not met unperturbed" in line
