"""What may be ranked and what is only shown, and why."""

from typing import Any

import numpy as np
import pytest

from molebench.cards import UNRANKED
from molebench.contributions import Contributions
from molebench.leaderboard.loading import Loaded
from molebench.leaderboard.placing import standings
from molebench.leaderboard.standings import Entry
from molebench.record import Record
from tests.stored import content, seeded

FIRST = content()
UNRANKED_FACT = min(UNRANKED)
Y = np.repeat(np.arange(4), 25)


def record(seed: int, attack: str, defense: str, delta: float, **changes: Any) -> Record:
    """A record of this attack and defense, whose Delta is given."""
    metrics = {"delta_total_defended" if defense else "delta_total": delta}
    told = {n: {"value": v, "low": v - 1, "high": v + 1, "definition": "a test's"} for n, v in metrics.items()}
    defenses = [{"name": defense, "parameters": {}}] if defense else []
    cell = {**FIRST["cell"], "attack": {"name": attack, "parameters": {}}, "defenses": defenses, "seed": seed}
    plain = {"metrics": told, "status": "ok", "weights": [], "warnings": [], **changes}
    return seeded(seed, **plain).model_copy(update={"cell": cell, "key": f"{attack} {defense} {seed}"})


def five(attack: str, defense: str, delta: float, seeds: int = 5, **changes: Any) -> list[Record]:
    """The same on several seeds, a little apart."""
    return [record(s, attack, defense, delta + 0.1 * s, **changes) for s in range(seeds)]


def scored(each: Record, kept: float) -> Contributions:
    """Contributions that add up to a record's figure."""
    rng = np.random.default_rng(each.seeds["cell"])
    noise = rng.normal(size=len(Y)) * 0.01
    return Contributions("delta_total", Y, noise - noise.mean() + kept / len(Y))


def placed(*records: Record, own: bool = True, **tiers: str) -> dict[str, Entry]:
    """The entries of the one setting that the records are of, by defense."""
    known = {r.key: scored(r, next(iter(r.metrics.values())).value) for r in records}
    [found] = standings(Loaded(list(records), {}, known, tiers), own)
    assert [e.state for e in found.entries] == sorted(
        (e.state for e in found.entries), key=["ranked", "provisional", "shown"].index
    )
    return {entry.defense: entry for entry in found.entries}


def test_five_seeds_of_every_attack_make_a_rank() -> None:
    found = placed(
        *five("feature_collision", "", -20.0),
        *five("noise", "", -1.0),
        *five("feature_collision", "feature_norm", -2.0),
        *five("noise", "feature_norm", -3.0),
    )
    best, base = found["feature_norm"], found["none"]
    assert (best.state, best.rank, best.group, best.worst) == ("ranked", (1, 1), 1, "noise")
    assert (base.state, base.rank, base.group, base.worst) == ("ranked", (2, 2), 2, "feature_collision")
    assert best.score.value == pytest.approx(-2.8)
    assert best.score.low < best.score.value < best.score.high
    assert best.why == ""


def test_equal_defenses_share_a_group_and_a_rank() -> None:
    found = placed(*five("noise", "", -5.0), *five("noise", "feature_norm", -2.0), *five("noise", "random_query", -2.0))
    assert [found[n].rank for n in ("feature_norm", "random_query", "none")] == [(1, 2), (1, 2), (3, 3)]
    assert [found[n].group for n in ("feature_norm", "random_query", "none")] == [1, 1, 2]


def test_fewer_than_five_seeds_are_provisional() -> None:
    found = placed(*five("noise", "", -5.0), *five("noise", "feature_norm", -2.0, seeds=4))
    assert (found["feature_norm"].state, found["feature_norm"].rank) == ("provisional", None)
    assert found["feature_norm"].why == "4 of 5 seeds"
    assert found["none"].rank == (1, 1)


def test_seeds_of_one_s_own_choice_are_no_substitute() -> None:
    other = [record(s, "noise", "feature_norm", -0.1) for s in range(10, 15)]
    found = placed(*five("noise", "", -5.0), *other)["feature_norm"]
    assert (found.state, found.why) == ("provisional", "not the seeds 0, 1, 2, 3, 4 of the undefended victim")


def test_a_defense_that_has_not_met_the_suite_is_shown() -> None:
    found = placed(*five("noise", "", -5.0), *five("feature_collision", "", -9.0), *five("noise", "feature_norm", -1.0))
    entry = found["feature_norm"]
    assert (entry.state, entry.missing) == ("shown", ("feature_collision",))
    assert entry.why == "incomplete: has not met feature_collision"


def test_an_attack_that_one_defense_alone_has_met_leaves_the_others_whole() -> None:
    """Nobody's own attack pushes others off the board; it counts against who met it."""
    found = placed(
        *five("noise", "", -5.0),
        *five("noise", "feature_norm", -1.0),
        *five("noise", "random_query", -2.0),
        *five("feature_collision", "random_query", -30.0),
    )
    assert found["feature_norm"].rank == (1, 1)
    assert found["random_query"].rank == (3, 3)
    assert found["random_query"].worst == "feature_collision"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"status": "unhealthy"}, "status unhealthy"),
        ({"weights": [{"name": "x", "source": "random", "sha256": ""}]}, "random weights"),
        ({"trusted_data": {UNRANKED_FACT: 1}}, "is told what no defense could know"),
    ],
)
def test_what_does_not_count_is_shown_with_the_reason(changes: dict[str, Any], why: str) -> None:
    records = five("noise", "feature_norm", -1.0)
    odd = record(0, "noise", "feature_norm", -1.0, **changes)
    found = placed(*five("noise", "", -5.0), odd, *records[1:])["feature_norm"]
    assert (found.state, found.rank, found.why) == ("shown", None, why)


def test_a_self_reported_record_is_shown_until_somebody_else_has_run_it() -> None:
    records = [*five("noise", "", -5.0), *five("noise", "feature_norm", -1.0)]
    assert placed(*records, own=False)["feature_norm"].why == "self-reported: nobody else has run it yet"
    checked = dict.fromkeys((r.key for r in records), "reproduced")
    assert placed(*records, own=False, **checked)["feature_norm"].rank == (1, 1)
    trusted = {**checked, records[-1].key: "local-trusted"}
    assert placed(*records, own=False, **trusted)["feature_norm"].state == "shown"


def test_a_setting_is_a_victim_with_its_data_profile_and_parameters() -> None:
    other = [r.model_copy(update={"cell": {**r.cell, "profile": "small"}}) for r in five("noise", "", -5.0)]
    records = [*five("noise", "", -5.0), *other]
    known = {r.key: scored(r, -5.0) for r in records}
    found = standings(Loaded(records, {}, known), own=True)
    assert len({s.setting.name for s in found}) == 2


def test_an_attack_that_has_not_met_five_seeds_yet_bars_nobody() -> None:
    found = placed(
        *five("noise", "", -5.0),
        *five("noise", "feature_norm", -1.0),
        *five("feature_collision", "", -30.0, seeds=1),
        *five("feature_collision", "feature_norm", -3.0, seeds=1),
    )
    assert (found["feature_norm"].rank, found["feature_norm"].worst) == ((1, 1), "noise")
    assert [met.attack for met in found["feature_norm"].met] == ["feature_collision", "noise"]  # shown all the same
