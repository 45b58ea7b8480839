"""Plans: which cells would run, which not and why, what they share and cost; and that planning is quick."""

import os
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from molebench.codehash import code_sha256
from molebench.grid import Cell, modules, resolve
from molebench.index import Entry, Index
from molebench.planning import Plan, explained, plain, plan, planned, text
from molebench.record import Component, Record
from molebench.sharing import Foundation, Tally
from molebench.store import Store
from molebench.sweep_file import load_sweep
from molebench.workspace import Workspace
from tests.null_sweeps import PLUGINS
from tests.stored import content

NULL = "attack: null_attack\nvictim: null_victim\n"
Planning = Callable[[str], Plan]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Folders of the test's own, where the null plug-ins are known."""
    monkeypatch.setenv("MOLEBENCH_PLUGINS", os.pathsep.join(map(str, PLUGINS)))
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store")


@pytest.fixture
def file(home: Workspace) -> Path:
    return home.store.parent / "mine.yaml"


@pytest.fixture
def planning(home: Workspace, file: Path) -> Planning:
    """What planning a sweep's text gives."""

    def made(text: str) -> Plan:
        file.write_text(text, "utf-8")
        return planned(file, home)

    return made


def null(seed: int = 0, **more: str | int) -> Cell:
    parameters = {name.replace("_", ".", 1): value for name, value in more.items()}
    return Cell(attack="null_attack", victim="null_victim", parameters=parameters, seed=seed)


def recorded(home: Workspace, cell: Cell, seconds: float = 10.0, edited: str = "") -> Path:
    """A record of a cell that took so long, made by today's code but for one part; its path."""
    resolved = resolve(cell)
    shas = {who: code_sha256(module) for who, module in modules(resolved).items()} | ({edited: ""} if edited else {})
    parts = [(*who.split(), sha) for who, sha in shas.items()]
    components = [Component(kind=k, name=n, version="", origin="", code_sha256=sha) for k, n, sha in parts]
    own = {
        "key": resolved.key,
        "group": resolved.group,
        "cell": resolved.canonical,
        "scenario": resolved.scenario,
        "seeds": {"cell": cell.seed},
        "durations": {"victim": seconds / 2, "arms": seconds / 2},
        "components": components,
    }
    return Store(home.store).commit(Record.model_validate({**content(), **own}).sealed())


# States


def test_nothing_has_run_where_there_is_no_store_and_none_is_made(planning: Planning, home: Workspace) -> None:
    made = planning(f"{NULL}seed: [0, 1]\nset: {{attack.n: [1, 2]}}")
    assert [(each.state, each.cell.seed, each.cell.parameters["attack.n"]) for each in made.cells] == [
        ("to run", 0, 1),
        ("to run", 0, 2),
        ("to run", 1, 1),
        ("to run", 1, 2),
    ]
    assert not home.store.exists()


def test_a_planned_cell_has_the_key_and_the_group_that_its_record_will_have(planning: Planning) -> None:
    for each in planning(f"{NULL}seed: [0, 1]\nset: {{attack.n: [1, 2], victim.seconds: 0}}").cells:
        resolved = resolve(each.cell)
        assert (each.key, each.group) == (resolved.key, resolved.group)


def test_a_cell_is_done_stale_failed_before_or_to_run(planning: Planning, home: Workspace) -> None:
    recorded(home, null(0))
    recorded(home, null(1), edited="attack null_attack")
    Store(home.store).failed(resolve(null(2)).key, {"type": "CellFailed", "message": "boom"})
    made = planning(f"{NULL}seed: [0, 1, 2, 3]")
    assert [each.state for each in made.cells] == ["done", "stale", "failed before", "to run"]
    assert [each.stale for each in made.cells] == [(), ("attack null_attack",), (), ()]
    assert [line.split(": ", 1)[1] for line in explained(made).splitlines()] == [
        "its record is by today's code",
        "the code of attack null_attack has changed since its record",
        "failed attempts: 1",
        "it has no record",
    ]
    assert text(made).splitlines()[-1] == "4 cells, 1 done, 1 stale, 1 failed before"


def test_a_cell_whose_record_is_damaged_runs_again_and_says_so(planning: Planning, home: Workspace) -> None:
    path = recorded(home, null(0))
    path.write_text(path.read_text("utf-8").replace('"seed":0', '"seed":9', 1), "utf-8")
    (one,) = planning(NULL).cells
    assert (one.state, one.done) == ("to run", False)
    assert one.why.startswith("its record is damaged: ")


def test_two_spellings_of_one_cell_are_one(planning: Planning) -> None:
    made = planning(f"{NULL}dataset: [null, null_data]\nset: {{attack.n: [1, '1']}}\nseed: [0, 1]")
    assert [each.cell.seed for each in made.cells] == [0, 1]


def test_zipped_seeds_keep_their_rows_order(planning: Planning) -> None:
    made = planning(f"{NULL}zip: {{seed: [3, 1, 3], attack.n: [0, 1, 2]}}")
    assert [(each.cell.seed, each.cell.parameters["attack.n"]) for each in made.cells] == [(3, 0), (1, 1), (3, 2)]


# Words


def test_a_dry_run_tells_cells_apart_by_what_varies(planning: Planning) -> None:
    lines = text(planning(f"{NULL}set: {{attack.n: [1, 2], victim.seconds: 0}}")).splitlines()
    assert lines[0].endswith("  to run        null_attack null_victim - none seed 0 attack.n=1")
    assert lines[1].endswith("  to run        null_attack null_victim - none seed 0 attack.n=2")


def test_what_is_skipped_is_told_with_its_reason(planning: Planning) -> None:
    made = planning(f"{NULL}defense: [none, random_filter]\nseed: [0, 1, 2]")
    assert text(made).splitlines()[3:] == [
        "skipped  null_attack null_victim null_data random_filter: "
        "defense random_filter acts in active and offline and continual; victim null_victim belongs to null",
        "victim: 3 trainings for 3 cells",
        "poison: 3 poisons for 3 cells",
        "cost: nothing is known of such cells; 3 to run",
        "3 cells, 0 done, 1 combinations skipped",
    ]
    assert plain(made)["skipped"] == [
        {
            "attack": "null_attack",
            "victim": "null_victim",
            "dataset": "null_data",
            "defense": ["random_filter"],
            "reason": made.skipped[0].reason,
        }
    ]


def test_the_cost_is_the_median_of_like_cells_then_of_the_victim_s_then_unknown(
    planning: Planning, home: Workspace
) -> None:
    for seed, seconds in enumerate((10.0, 20.0, 90.0)):
        recorded(home, null(seed), seconds)
    made = planning(f"{NULL}seed: [0, 3, 4]")
    assert [each.seconds for each in made.cells] == [None, 20.0, 20.0]
    assert "cost: about 40 s on one worker, for 2 of 2 cells" in text(made).splitlines()
    other = planning(f"{NULL}profile: tiny")  # records of small say nothing of tiny
    assert [each.seconds for each in other.cells] == [None]
    assert "cost: nothing is known of such cells; 1 to run" in text(other).splitlines()


def test_what_another_attack_took_stands_in_and_what_is_unknown_is_counted(home: Workspace, file: Path) -> None:
    file.write_text(f"{NULL}seed: [0, 1]", "utf-8")
    sweep = load_sweep(file)
    entry = Entry("", "", "ok", "null", "another", "null_victim", "null_data", (), "small", 0, "", 60.0, {})
    index = Index(Store(home.store), {"x": entry}, {}, frozenset())
    made = plan(sweep, index)
    assert [each.seconds for each in made.cells] == [60.0, 60.0]
    half = replace(made, cells=(made.cells[0], replace(made.cells[1], seconds=None)))
    assert "cost: about 1 min on one worker, for 1 of 2 cells; nothing is known of 1" in text(half).splitlines()


# What cells share


def test_cells_that_differ_in_the_attack_share_the_victim(planning: Planning, home: Workspace) -> None:
    sweep = f"{NULL}seed: [0, 1]\nset: {{attack.n: [1, 2, 3]}}"
    assert [str(each) for each in planning(sweep).shared] == [
        "victim: 2 trainings for 6 cells",
        "poison: 6 poisons for 6 cells",
    ]
    recorded(home, null(0, attack_n=1))
    assert [str(each) for each in planning(sweep).shared] == [
        "victim: 2 trainings for 5 cells",
        "poison: 5 poisons for 5 cells",
    ]


def test_an_offline_victim_of_a_seed_of_its_own_is_trained_once_for_all_draws() -> None:
    own, of_the_cell, continual = (
        Foundation({"victim": "v", "poison": "p"}, model, offline)
        for model, offline in ((5, True), (None, True), (5, False))
    )
    for foundation, trainings in ((own, 1), (of_the_cell, 3), (continual, 3)):
        tally = Tally()
        for seed in (0, 1, 2):
            tally.add(foundation, seed)
        assert [(each.stage, each.times, each.cells) for each in tally.shared] == [
            ("victim", trainings, 3),
            ("poison", 3, 3),
        ]


# Speed


def test_ten_thousand_cells_are_planned_in_three_seconds_done_or_not(home: Workspace, file: Path) -> None:
    file.write_text(f"{NULL}seed: {list(range(1000))}\nset: {{attack.n: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}}", "utf-8")
    start = time.process_time()
    made = planned(file, home)
    assert len(text(made).splitlines()) > len(made.cells) == 10_000
    assert time.process_time() - start < 3
    code = {who: code_sha256(module) for who, module in modules(resolve(null())).items()}
    like = Entry("", "", "ok", "null", "null_attack", "null_victim", "null_data", (), "small", 0, "", 1.0, code)
    index = Index(Store(home.store), {each.key: like for each in made.cells}, {}, frozenset())
    start = time.process_time()
    assert all(each.done for each in plan(load_sweep(file), index).cells)
    assert time.process_time() - start < 3


def test_a_planned_cell_takes_little_memory_however_many_there_are(home: Workspace, file: Path) -> None:
    used = []
    for seeds in (500, 2_000):
        file.write_text(f"{NULL}seed: {list(range(seeds))}", "utf-8")
        tracemalloc.start()
        planned(file, home)
        used.append(tracemalloc.get_traced_memory()[1] / seeds)
        tracemalloc.stop()
    assert max(used) < 10_000  # bytes at the peak, the file's tree of tokens included
