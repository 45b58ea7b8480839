"""What is said of updates: both readings of "max", pair by pair, models x draws, and beside the paper's tables.

The records are made by hand: three classes of ten test items, so that one item of a class is ten points.
"""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_rel

from molebench import beside
from molebench.beside import Line
from molebench.grid import MODELS, Cell, resolve
from molebench.metrics import confusion
from molebench.models_table import models_table
from molebench.pair_deltas import effects
from molebench.pairs_table import pairs_table
from molebench.published import Scalar
from molebench.record import ArmRecord, Record
from molebench.report import over_seeds
from molebench.runner import components
from molebench.stats import seed_interval
from molebench.store import Store
from molebench.sweep_file import load_sweep
from molebench.types import Array
from molebench.workspace import Workspace
from tests.commands import one_line, typed
from tests.conftest import ROOT

CLASSES = ("cat", "dog", "fox")
Y = np.repeat([0, 1, 2], 10)
Counts = tuple[int, int, int]  # items of each class that are right


@dataclass(frozen=True)
class Made:
    """An update by hand. right: after it. control: after its control. n: moles of each pair."""

    pairs: Sequence[str]
    right: Counts
    control: Counts = (10, 10, 10)
    n: int = 20
    rho: float | None = 0.5


def answers(right: Counts) -> Array:
    """Predictions in which so many items of each class are right, the first ones; the rest are of the next class."""
    place = np.tile(np.arange(10), 3)
    return np.where(place < np.array(right)[Y], Y, (Y + 1) % 3)


def written(
    store: Store,
    updates: Sequence[Made],
    seed: int = 0,
    parameters: dict[str, Scalar] | None = None,
    attack: str = "mole_recruitment",
    before: Counts = (10, 10, 10),
    metrics: dict[str, float] | None = None,
) -> Record:
    """A committed record of these updates, of a cell that there is; metrics are what it is told."""
    cell = Cell(
        attack=attack,
        victim="offline_resnet18",
        dataset="digits",
        profile="tiny",
        seed=seed,
        parameters=parameters or {},
    )
    resolved = resolve(cell)
    arms = {"poisoned_undefended": [u.right for u in updates], "control_undefended": [u.control for u in updates]}
    played = {name: arm(store, resolved.key, name, rights) for name, rights in arms.items() if rights}
    content: dict[str, Any] = {
        "schema": "molebench.result/1",
        "key": resolved.key,
        "group": resolved.group,
        "cell": resolved.canonical,
        "scenario": "offline",
        "status": "ok",
        "started": "2026-01-01T00:00:00+00:00",
        "durations": {},
        "reused": [],
        "peak_memory_mib": 1.0,
        "components": [c.model_dump() for c in components(resolved)],
        "threat_model": {},
        "poison": {"sha256": "0", "n": 0, "violations": [], "unmet": [], "facts": {}},
        "data": {"files": {}, "splits": {}, "sizes": {}, "classes": CLASSES},
        "weights": [],
        "seeds": {"cell": seed, "model": seed},
        "environment": {},
        "code": {},
        "arms": {"clean_undefended": arm(store, resolved.key, "clean_undefended", [before], flat=True)[0]},
        "updates": [
            {
                "pairs": [pair(text, u, i) for i, text in enumerate(u.pairs)],
                "moles": u.n * len(u.pairs),
                "size": 3 * u.n,
                "arms": {name: each[i] for name, each in played.items()},
            }
            for i, u in enumerate(updates)
        ],
        "metrics": {
            name: {"value": value, "low": None, "high": None, "definition": "by hand"}
            for name, value in (metrics or {}).items()
        },
    }
    record = Record.model_validate(json.loads(json.dumps(content, default=lambda m: m.model_dump()))).sealed()
    store.commit(record)
    return record


def pair(text: str, update: Made, place: int) -> dict[str, Any]:
    """'dog<cat' as a record has it; pairs behind the first have a smaller rho."""
    attacked, _, confounding = text.partition("<")
    rho = None if update.rho is None else update.rho / (place + 1)
    return {"attacked": attacked, "confounding": confounding, "rho": rho, "n": 17 + place, "mean_score": rho}


def arm(store: Store, key: str, name: str, rights: Sequence[Counts], flat: bool = False) -> list[ArmRecord]:
    """An arm's predictions in the store, a row an update, and what a record says of each."""
    rows = np.stack([answers(right) for right in rights])
    file, digest = store.save_predictions(key, name, {"y": Y, "predicted": rows[0] if flat else rows})
    tables = [confusion(Y, row, 3) for row in rows]
    return [
        ArmRecord(
            n=t.sum(axis=1).tolist(),
            correct=t.diagonal().tolist(),
            confusion=t.tolist(),
            predictions=file,
            predictions_sha256=digest,
            trace={},
        )
        for t in tables
    ]


@pytest.fixture
def store(fresh: Workspace) -> Store:
    return Store(fresh.store)


# Deltas from counts


def test_deltas_of_a_pair_are_counted_from_its_arms(store: Store) -> None:
    made = Made(["dog<cat"], right=(10, 3, 8), control=(10, 9, 10), rho=0.5)
    (found,) = effects(written(store, [made], before=(9, 8, 10)))
    assert (found.attacked, found.confounding, found.update, found.size) == ("dog", "cat", 0, 60)
    assert found.figures == pytest.approx(
        {
            "rho": 0.5,
            "n": 17,
            "mean_score": 0.5,
            "delta_a": -50,  # dog 8 -> 3 of 10
            "delta_confounding": 10,  # cat 9 -> 10
            "delta_total": -20,  # 27 -> 21 of 30
            "delta_a_control": 10,
            "delta_confounding_control": 10,
            "delta_total_control": 100 * 2 / 30,
        }
    )


def test_what_is_not_known_of_a_pair_is_left_out(store: Store) -> None:
    (found,) = effects(written(store, [Made(["dog<cat"], right=(10, 3, 8), rho=None)]))
    assert "rho" not in found.figures
    assert found.figures["n"] == 17


def worst(*deltas: tuple[float, float]) -> dict[str, float]:
    """The figures that say that a record is one of many pairs."""
    (a, total) = deltas[0]
    control = {"max_delta_a_control": 0.0, "max_delta_total_control": 0.0}
    return {"max_delta_a": a, "max_delta_total": total, "mean_delta_a": a / 2} | control


@pytest.fixture
def two(store: Store) -> list[Record]:
    """Two seeds. dog<cat: -60 and 0; fox<dog: -20 and -50 (and its control -10 and -30)."""
    first = [Made(["dog<cat"], (10, 4, 10)), Made(["fox<dog"], (10, 10, 8), control=(10, 10, 9))]
    second = [Made(["dog<cat"], (10, 10, 10)), Made(["fox<dog"], (10, 10, 5), control=(10, 10, 7))]
    return [
        written(store, first, seed=0, metrics=worst((-60.0, -20.0))),
        written(store, second, seed=1, metrics=worst((-50.0, -50 / 3))),
    ]


def test_the_worst_pair_of_the_mean_is_not_the_mean_of_the_worst_pairs(two: list[Record]) -> None:
    figures = over_seeds(two)
    assert figures["max_delta_a"].value == pytest.approx(-55.0)
    found = figures["max_mean_delta_a"]
    assert (found.value, found.low, found.high) == pytest.approx(seed_interval([-20.0, -50.0]))  # fox<dog; dog: -30
    assert figures["max_mean_delta_total"].value == pytest.approx((-20 / 3 - 50 / 3) / 2)
    assert figures["max_mean_delta_a_control"].value == pytest.approx(-20.0)
    assert "control's arm" in figures["max_mean_delta_a_control"].definition


def test_of_one_seed_both_readings_are_one_and_the_second_has_no_interval(two: list[Record]) -> None:
    found = over_seeds(two[:1])
    assert found["max_mean_delta_a"].value == pytest.approx(found["max_delta_a"].value)
    assert found["max_mean_delta_total"].value == pytest.approx(found["max_delta_total"].value)
    assert (found["max_mean_delta_a"].low, found["max_mean_delta_a"].high) == (None, None)


def test_a_cell_of_one_pair_has_no_worst_one(store: Store) -> None:
    record = written(store, [Made(["dog<cat"], (10, 4, 10))], metrics={"delta_a": -60.0, "delta_total": -20.0})
    assert over_seeds([record]).keys() == {"delta_a", "delta_total"}


def test_a_pair_that_a_seed_lacks_is_none_of_the_mean(store: Store, two: list[Record]) -> None:
    third = written(store, [Made(["dog<cat"], (10, 4, 10))], seed=2, metrics=worst((-60.0, -20.0)))
    assert over_seeds([*two, third])["max_mean_delta_a"].value == pytest.approx(-40.0)  # dog<cat alone


def test_sizes_of_a_sweep_are_kept_apart(store: Store) -> None:
    records = [
        written(
            store,
            [Made(["dog<cat"], (10, small, 10), n=20), Made(["dog<cat"], (10, large, 10), n=40)],
            seed=seed,
            metrics=worst((-60.0, -20.0)),
        )
        for seed, (small, large) in enumerate([(4, 10), (10, 5)])
    ]
    assert over_seeds(records)["max_mean_delta_a"].value == pytest.approx(-30.0)  # n=20; n=40: -25


def test_the_pairs_of_one_update_are_matched_whatever_its_size(store: Store) -> None:
    pairs, shown = ["dog<cat", "fox<cat"], {"max_delta_a": -60.0}
    records = [
        written(store, [Made(pairs, (10, 4, 9), n=20)], seed=0, attack="optimized_moles", metrics=shown),
        written(store, [Made(pairs, (10, 6, 9), n=10)], seed=1, attack="optimized_moles", metrics=shown),
    ]
    assert over_seeds(records)["max_mean_delta_a"].value == pytest.approx(-50.0)


def test_the_interval_over_models_takes_each_models_draws_together(store: Store) -> None:
    values = {(0, 0): -1.0, (0, 1): -3.0, (1, 0): -5.0, (1, 1): -7.0}  # (model, draw)
    records = [
        written(store, [], seed=draw, parameters={MODELS: m}, metrics={"mean_delta_a": value})
        for (m, draw), value in values.items()
    ]
    found = over_seeds(records)["mean_delta_a"]
    assert (found.value, found.low, found.high) == pytest.approx(seed_interval([-2.0, -6.0]))


# Pair by pair


def cells(table: str) -> list[list[str]]:
    """The rows of a plain table, its head first."""
    lines = [line for line in table.splitlines() if not line.startswith("--")]
    return [[cell for cell in line.split("  ") if cell.strip()] for line in lines]


def test_few_pairs_stay_in_the_attack_s_order(store: Store) -> None:
    made = Made(["fox<cat", "dog<cat"], (9, 4, 10), control=(10, 10, 9), rho=0.8)
    caption, table = pairs_table([written(store, [made], attack="optimized_moles")])
    assert caption == "The pairs of one update, 20 moles of each (N: what each would take alone); Deltas in points:"
    head, *rows = ([cell.strip() for cell in row] for row in cells(table))
    assert head[:5] == ["attacked", "confounding", "rho", "N", "mean score"]
    assert head[5:] == ["Delta_a", "Delta_a control", "Delta_confounding"]
    assert rows == [
        ["fox", "cat", "0.800", "17", "0.800", "0.0", "-10.0", "-10.0"],
        ["dog", "cat", "0.400", "18", "0.400", "-60.0", "0.0", "-10.0"],
    ]


def test_of_many_pairs_the_ten_worst_are_shown_worst_first(store: Store) -> None:
    lost = [3, 7, 1, 0, 9, 2, 8, 4, 6, 5, 10]
    made = [Made(["dog<cat"], (10, 10 - n, 10), n=i + 1) for i, n in enumerate(lost)]
    caption, table = pairs_table([written(store, made)])
    assert caption == "The 10 of 11 pairs whose attacked class loses most; Deltas in points:"
    shown = [row[5].strip() for row in cells(table)[1:]]
    assert shown == [f"-{10 * n}.0" for n in range(10, 0, -1)]


def test_over_seeds_a_pair_has_means_and_says_in_how_many_it_was_attacked(store: Store) -> None:
    records = [
        written(store, [Made(["dog<cat"], (10, 4, 10), rho=0.4)], seed=0, attack="optimized_moles"),
        written(store, [Made(["dog<cat"], (10, 6, 10), rho=0.6)], seed=1, attack="optimized_moles"),
        written(store, [Made(["fox<cat"], (10, 10, 7), rho=None)], seed=2, attack="optimized_moles"),
    ]
    caption, table = pairs_table(records)
    assert caption == "Pair by pair, mean over 3 trials; Deltas in points:"
    assert [[cell.strip() for cell in row] for row in cells(table)[1:]] == [
        ["dog", "cat", "0.500", "17", "0.500", "-50.0", "0.0", "0.0", "2 of 3"],
        ["fox", "cat", "-", "17", "-", "-30.0", "0.0", "0.0", "1 of 3"],
    ]


def test_a_record_without_pairs_has_no_such_table(store: Store) -> None:
    assert pairs_table([written(store, [])]) == []
    assert pairs_table([written(store, [Made([], (10, 10, 10))], seed=1)]) == []


def test_a_report_of_one_cell_has_its_pairs_and_of_several_has_not(fresh: Workspace, store: Store) -> None:
    written(store, [Made(["dog<cat"], (10, 4, 10))])
    assert "Pair by pair" in typed(fresh, "report").stdout
    page = typed(fresh, "report", "--format", "html").stdout
    assert "<p>Pair by pair" in page
    assert len(list(csv.reader(io.StringIO(typed(fresh, "report", "--format", "csv").stdout)))) == 2
    written(store, [Made(["dog<cat"], (10, 4, 10))], parameters={"attack.n": 30})
    assert "Pair by pair" not in typed(fresh, "report").stdout


# Models x draws


def trial(store: Store, model: int | None, draw: int, value: float) -> Record:
    parameters: dict[str, Scalar] = {} if model is None else {MODELS: model}
    return written(store, [], seed=draw, parameters=parameters, metrics={"max_delta_a": value, "n_pairs": 90.0})


def test_models_and_draws_are_split_where_there_are_two_of_both(store: Store) -> None:
    # means 2 and 6: between (16 - 2) / 2 = 7, within 2 (tests/test_metrics_stats.py)
    records = [trial(store, m, d, v) for m, d, v in [(0, 0, 1.0), (0, 1, 3.0), (1, 0, 5.0), (1, 1, 7.0)]]
    caption, table = models_table(records, "plain")
    assert caption.startswith("Models x draws.")
    assert [[cell.strip() for cell in row] for row in cells(table)[1:]] == [
        ["mole_recruitment against offline_resnet18 on digits, tiny", "max_delta_a", "2", "2", "4.0", "2.6", "1.4"]
    ]


def test_a_trial_under_two_names_is_one(store: Store) -> None:
    records = [trial(store, m, d, v) for m, d, v in [(0, 0, 1.0), (0, 1, 3.0), (1, 0, 5.0), (1, 1, 7.0)]]
    twin = trial(store, None, 1, 7.0)  # victim.seed not given: the cell's, so model 1 and draw 1
    assert models_table([*records, twin], "plain") == models_table(records, "plain")


@pytest.mark.parametrize("trials", [[(0, 0), (0, 1)], [(0, 0), (1, 0), (2, 0)], [(0, 0), (0, 1), (1, 0)]])
def test_nothing_is_split_without_two_models_of_two_draws(store: Store, trials: list[tuple[int, int]]) -> None:
    assert models_table([trial(store, m, d, float(m + d)) for m, d in trials], "plain") == []


def test_cells_that_differ_in_more_than_their_seeds_are_split_apart(fresh: Workspace, store: Store) -> None:
    for epochs in (3, 4):
        for m, d in [(0, 0), (0, 1), (1, 0), (1, 1)]:
            settings: dict[str, Scalar] = {MODELS: m, "victim.epochs": epochs}
            written(store, [], seed=d, parameters=settings, metrics={"max_delta_a": float(-m)})
    text = typed(fresh, "report").stdout
    assert text.count("Models x draws.") == 1
    assert [text.count(f"digits, tiny, victim.epochs={n}") for n in (3, 4)] == [1, 1]
    assert "Models x draws" not in typed(fresh, "report", "--format", "csv").stdout


# Beside the paper's tables

SWEEP = """
profile: tiny
dataset: [digits]
victim: [offline_resnet18]
attack: [mole_recruitment, optimized_moles]
seed: [0, 1]
published:
  source: A paper
  table: Tables 1 and 2
  decimals: 1
  decimals_of: {rho: 2, n: 0}
  attack: mole_recruitment
  rows:
    - {dataset: Zoo, model: ResNet, ours: {digits: }, victim: offline_resnet18,
       figures: {max_delta_a: -45, max_mean_delta_a: -35, max_delta_total: -18}, spread: {max_delta_a: 6}}
    - {dataset: Zoo, ours: {digits: }, victim: offline_resnet18, pair: fox<dog, figures: {delta_a: -35, rho: 0.9}}
    - {dataset: Zoo, ours: {digits: }, victim: offline_resnet18, attack: optimized_moles,
       figures: {delta_total: -20, n_moles: 20, n_pairs: 2, rho_1: 0.8, rho_3: 0.1}}
    - {dataset: Zoo, ours: {digits: }, victim: offline_resnet18, attack: optimized_moles, pair: dog<cat,
       figures: {delta_a: -60, n: 18}}
    - {dataset: Zoo, ours: {digits: }, victim: offline_resnet18, attack: optimized_moles, pair: cat<fox,
       figures: {delta_a: -60}}
    - {dataset: Zoo, model: Eagle, ours: {digits: }, victim: offline_eagle, figures: {max_delta_a: -1}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(SWEEP, "utf-8")
    return path


def told(file: Path, workspace: Workspace) -> dict[str, dict[str, Line]]:
    """The lines of a report by row and metric."""
    sweep = load_sweep(file)
    assert sweep.published
    rows: dict[str, dict[str, Line]] = {}
    for line in beside.lines(sweep, sweep.published, file, workspace):
        rows.setdefault(line.row, {})[line.metric] = line
    return rows


def optimised(store: Store, seed: int, right: Counts, n: int = 20) -> Record:
    made = Made(["fox<cat", "dog<cat"], right, control=(10, 10, 9), rho=0.8, n=n)
    figures = {"delta_total": 100 * (sum(right) - 30) / 30, "n_pairs": 2.0}
    return written(store, [made], seed=seed, attack="optimized_moles", metrics=figures)


def test_a_row_over_pairs_has_both_readings_its_spread_and_its_control(
    file: Path, fresh: Workspace, two: list[Record]
) -> None:
    rows = told(file, fresh)
    lines = rows["Zoo, ResNet"]
    worst, mean = lines["max_delta_a"], lines["max_mean_delta_a"]
    assert worst.measured
    assert mean.measured
    assert (worst.measured.value, mean.measured.value) == pytest.approx((-55.0, -35.0))
    assert (worst.spread, mean.spread, worst.over) == (6, None, "seeds")
    assert (mean.verdict, worst.where) == ("inside", "on digits; seeds 0, 1")
    control = rows["Zoo, ResNet, control random_recruitment"]
    assert list(control) == ["max_delta_a_control", "max_mean_delta_a_control", "max_delta_total_control"]
    assert {(line.verdict, line.published) for line in control.values()} == {("-", None)}
    text = typed(fresh, "report", str(file)).stdout
    assert "-45.0 (sd 6.0)" in text
    assert "(to 1 decimal, rho to 2, n to 0)" in text
    (row,) = (
        row
        for row in csv.DictReader(io.StringIO(typed(fresh, "report", str(file), "--format", "csv").stdout))
        if (row["row"], row["metric"]) == ("Zoo, ResNet", "max_delta_a")
    )
    assert (row["published"], row["published_sd"]) == ("-45", "6")


def test_a_row_about_a_pair_is_judged_by_that_pair_s_updates(file: Path, fresh: Workspace, two: list[Record]) -> None:
    line = told(file, fresh)["Zoo, fox<dog"]["delta_a"]
    assert line.measured
    assert (line.measured.value, line.measured.low, line.measured.high) == pytest.approx(seed_interval([-20.0, -50.0]))
    assert (line.verdict, line.over) == ("inside", "seeds")
    assert told(file, fresh)["Zoo, fox<dog, control random_recruitment"].keys() == {"delta_a_control"}


def test_of_one_seed_a_pair_s_interval_is_that_of_paired_items(file: Path, fresh: Workspace, store: Store) -> None:
    right = (10, 6, 8)
    optimised(store, 0, right)
    line = told(file, fresh)["Zoo, optimized_moles, dog<cat"]["delta_a"]
    mine = Y == 1
    expected = ttest_rel(100.0 * (answers(right) == Y)[mine], 100.0 * np.ones(10)).confidence_interval(0.95)
    assert line.measured
    assert (line.measured.low, line.measured.high) == pytest.approx((expected.low, expected.high))
    assert (line.measured.value, line.over, line.verdict) == (-40.0, "items", "inside")
    assert line.where == "on digits; seed 0; 1 of 2 seeds not run"


def test_without_its_predictions_one_seed_s_pair_has_no_interval(file: Path, fresh: Workspace, store: Store) -> None:
    record = optimised(store, 0, (10, 6, 8))
    (store.cell(record.key) / "poisoned_undefended.safetensors").unlink()
    line = told(file, fresh)["Zoo, optimized_moles, dog<cat"]["delta_a"]
    assert line.measured
    assert (line.measured.low, line.over) == (None, "")
    assert (line.verdict, line.apart) == ("outside", "higher by 20.0 points")


def test_an_update_s_moles_and_pairs_stand_beside_the_paper_s(file: Path, fresh: Workspace, store: Store) -> None:
    optimised(store, 0, (10, 4, 10))
    optimised(store, 1, (10, 2, 10), n=10)
    lines = told(file, fresh)["Zoo, optimized_moles"]
    shown = {name: line.measured.value for name, line in lines.items() if line.measured}
    assert shown == pytest.approx({"delta_total": -70 / 3, "n_moles": 15.0, "n_pairs": 2.0, "rho_1": 0.8})
    assert [lines[name].verdict for name in ("n_moles", "rho_1", "rho_3")] == ["inside", "inside", "not recorded"]


def test_a_pair_that_was_not_chosen_names_those_that_were(file: Path, fresh: Workspace, store: Store) -> None:
    optimised(store, 0, (10, 4, 10))
    line = told(file, fresh)["Zoo, optimized_moles, cat<fox"]["delta_a"]
    assert (line.verdict, line.measured, line.note) == ("not recorded", None, "chosen here: fox<cat, dog<cat")


def test_a_pair_of_some_trials_says_of_how_many(file: Path, fresh: Workspace, store: Store) -> None:
    optimised(store, 0, (10, 4, 10))
    written(store, [Made(["fox<cat"], (10, 10, 5))], seed=1, attack="optimized_moles")
    assert told(file, fresh)["Zoo, optimized_moles, dog<cat"]["n"].note == "in 1 of 2 trials"


def test_what_was_not_run_says_why_row_by_row(file: Path, fresh: Workspace, store: Store) -> None:
    optimised(store, 0, (10, 4, 10))
    rows = told(file, fresh)
    assert {line.where for line in rows["Zoo, ResNet"].values()} == {f"not run yet: molebench sweep {file}"}
    assert rows["Zoo, Eagle"]["max_delta_a"].where == "no victim offline_eagle in this version"
    assert {line.verdict for line in rows["Zoo, ResNet"].values()} == {"not run"}


def test_a_row_is_over_models_and_draws_where_the_sweep_is(tmp_path: Path, fresh: Workspace, store: Store) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(SWEEP.replace("seed: [0, 1]", "seed: [0, 1]\nset: {victim.seed: [4, 5]}"), "utf-8")
    values = {(4, 0): -40.0, (4, 1): -50.0, (5, 0): -60.0, (5, 1): -70.0}
    for (m, draw), value in values.items():
        written(store, [], seed=draw, parameters={MODELS: m}, metrics={"max_delta_a": value})
    line = told(file, fresh)["Zoo, ResNet"]["max_delta_a"]
    assert line.measured
    assert (line.measured.value, line.measured.low, line.measured.high) == pytest.approx(seed_interval([-45.0, -65.0]))
    assert (line.over, line.where) == ("models", "on digits; models 4, 5; draws 0, 1")
    text = typed(fresh, "report", str(file)).stdout
    assert "Over models: Student's on the mean of each model's draws." in text
    assert "sd between models" in text
    store.supersede(next(r.key for r in store.records() if r.cell["seed"] == 1))
    assert "1 of 4 trials not run" in told(file, fresh)["Zoo, ResNet"]["max_delta_a"].where


# What a report cannot read

BROKEN = {
    "no attack": (lambda r: r["cell"].pop("attack"), "cell.attack: Field required"),
    "a victim without parameters": (lambda r: r["cell"]["victim"].pop("parameters"), "cell.victim.parameters: Field"),
    "a victim in one word": (lambda r: r["cell"].update(victim="offline_resnet18"), "cell.victim: Input should be"),
    "no dataset's name": (lambda r: r["cell"]["dataset"].update(name=None), "cell.dataset.name: Input should be"),
    "defenses in one word": (lambda r: r["cell"].update(defenses="none"), "cell.defenses: Input should be"),
    "no profile": (lambda r: r["cell"].pop("profile"), "cell.profile: Field required"),
    "no seed": (lambda r: r["seeds"].clear(), "its seeds are not its cell's 0"),
    "nothing": (lambda r: r["cell"].clear(), "cell.attack: Field required"),
}


@pytest.mark.parametrize(("damage", "says"), BROKEN.values(), ids=BROKEN)
def test_a_record_whose_cell_lacks_a_part_is_one_line(
    damage: Callable[[dict[str, Any]], object], says: str, file: Path, fresh: Workspace, store: Store
) -> None:
    record = written(store, [Made(["dog<cat"], (10, 4, 10))], metrics={"max_delta_a": -60.0})
    content = record.plain()
    damage(content)
    store.commit(Record.model_validate(content).sealed())
    for words in (["report"], ["report", str(file)]):
        line = one_line(typed(fresh, *words))
        assert f"record {record.key[:12]}: {says}" in line
        assert line.endswith("move it away")


# The sweeps that come with the house


SWEEPS = {
    "paper_mole_table1": ("CIFAR-10, ResNet-18", "max_delta_a", -55.1, 6.0),
    "paper_mole_table2": ("Fashion-MNIST, mole_recruitment, coat<shirt", "delta_a", -29.3, None),
    "paper_mole_table5": ("CIFAR-10, rho_min 0.5, percentile 99", "delta_total", -6.9, None),
    "mole_fashion_mnist": ("Fashion-MNIST, ResNet-18", "p95_delta_a", -16.1, 1.0),
    "mole_cifar10_jpeg": ("CIFAR-10, augment none, optimized_moles, dog<cat", "n", 276, None),
}


@pytest.mark.parametrize(("name", "number"), SWEEPS.items(), ids=SWEEPS)
def test_a_table_is_reported_in_full_where_nothing_was_run(
    name: str, number: tuple[str, str, float, float | None], fresh: Workspace
) -> None:
    path = ROOT / "benchmarks" / f"{name}.yaml"
    rows = told(path, fresh)
    sweep = load_sweep(path)
    assert sweep.published
    assert list(rows) == [row.title for row in sweep.published.rows]  # no two rows have one title
    assert {line.verdict for lines in rows.values() for line in lines.values()} == {"not run"}
    assert all(line.where for lines in rows.values() for line in lines.values())
    title, metric, value, spread = number
    assert (rows[title][metric].published, rows[title][metric].spread) == (value, spread)


@pytest.mark.parametrize("name", SWEEPS)
def test_the_sweep_runs_what_its_published_rows_are_about(name: str) -> None:
    sweep = load_sweep(ROOT / "benchmarks" / f"{name}.yaml")
    assert sweep.published
    first = sweep.seed[0], sweep.set.get(MODELS, [None])[0]
    swept = {resolve(c).key for c in sweep.cells() if (c.seed, c.parameters.get(MODELS)) == first}
    rows = [row for row in sweep.published.rows if row.victim in sweep.victims]
    assert rows
    for row in rows:
        (dataset,) = set(row.ours) & set(sweep.datasets)
        assert dataset
        cell = next(sweep.published_cells(row, sweep.published.attack_of(row), dataset))
        assert resolve(cell).key in swept


def test_table_5_has_every_percentile_and_threshold_of_both_datasets() -> None:
    sweep = load_sweep(ROOT / "benchmarks" / "paper_mole_table5.yaml")
    assert sweep.published
    found = [(r.dataset, r.set["attack.rho_min"], r.set["attack.percentile"]) for r in sweep.published.rows]
    datasets = ("CIFAR-10", "Fashion-MNIST")
    assert found == [(d, rho, p) for d in datasets for rho in (0.01, 0.1, 0.5) for p in (95, 97, 99)]
    for row in sweep.published.rows:
        assert row.figures["n_pairs"] == sum(name.startswith("rho_") for name in row.figures)
