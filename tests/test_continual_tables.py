"""The paper's Tables 3 and 4 as published rows, and the sweeps around them: every number, and what stands beside it."""

import csv
import io
from pathlib import Path

import pytest

from molebench import beside
from molebench.beside import Line
from molebench.grid import Cell, resolve
from molebench.published import PublishedRow
from molebench.stats import seed_interval
from molebench.store import Store
from molebench.sweep_file import Sweep, load_sweep
from molebench.workspace import Workspace
from tests.commands import typed
from tests.conftest import ROOT
from tests.continual_records import told

# learner, accuracy and its sd | rho_min, #a, #c, delta_a_rel and its sd, delta_total_rel and its sd; all in percent
TABLES = {
    "paper_mole_table3": """
        lwf 29.3 0.9 | 0.5 18 32 -17.9 21.6 -8.5 3.5 | 0.1 31 60 -4.8 8.5 -2.1 5.3 | 0.01 32 67 -10.1 7.6 -4.8 4.8
        lwm 21.2 1.3 | 0.5 6 7 -42.5 8.2 -2.2 4.8 | 0.1 11 16 -39.6 21.5 -5.8 3.8 | 0.01 11 17 -48.6 13.2 -4.5 2.6
        ssre 60.6 0.3 | 0.5 21 29 -6.6 1.0 -18.2 1.1 | 0.1 34 49 -6.9 1.8 -18.8 1.3 | 0.01 34 50 -7.3 2.2 -18.9 1.2
        icarl 35.0 2.1 | 0.5 24 39 -8.7 4.3 -1.1 2.0 | 0.1 40 76 -12.2 4.7 -10.3 5.6 | 0.01 42 85 -6.4 3.8 -3.9 3.0
        il2m 40.5 2.3 | 0.5 24 39 -6.6 17.4 -6.1 9.9 | 0.1 40 75 -11.8 15.2 -9.7 12.9 | 0.01 42 84 -11.1 11.6 -11.0 5.8
        der 67.0 0.4 | 0.5 27 40 -12.8 3.0 -4.4 1.7 | 0.1 43 78 -12.4 2.6 -4.0 0.9 | 0.01 45 89 -12.2 2.5 -4.0 0.9
    """,
    "paper_mole_table4": """
        lwf 40.0 2.7 | 0.5 29 42 -11.3 3.7 -11.6 3.3 | 0.1 35 59 -18.4 7.7 -13.5 3.1 | 0.01 37 66 -8.8 9.0 -9.9 2.6
        lwm 28.5 3.6 | 0.5 14 18 -18.6 24.7 2.9 9.9 | 0.1 18 26 -8.2 10.6 1.3 8.2 | 0.01 18 28 -22.7 15.3 -1.5 6.9
        ssre 66.6 0.3 | 0.5 32 39 -3.5 0.6 -17.7 1.0 | 0.1 38 50 -2.5 0.2 -17.3 0.8 | 0.01 38 50 -3.6 1.0 -18.0 0.9
        icarl 44.7 2.7 | 0.5 38 57 -15.0 3.2 -10.0 3.6 | 0.1 47 79 -18.3 4.7 -14.5 3.8 | 0.01 46 85 -18.6 3.8 -14.5 2.4
        il2m 39.0 0.7 | 0.5 30 41 -4.1 13.3 -2.0 5.0 | 0.1 38 61 -3.4 10.9 -4.9 3.0 | 0.01 40 61 0.7 8.8 -8.2 2.0
        der 72.0 0.5 | 0.5 42 56 -21.0 1.0 -10.2 1.1 | 0.1 49 81 -20.5 1.3 -10.3 1.1 | 0.01 50 89 -20.4 1.2 -10.2 1.1
    """,
}
DATASETS = {"paper_mole_table3": "split:cifar100", "paper_mole_table4": "split:imagenet_subset"}
LWF = "CIFAR-100, LwF, rho_min 0.1"


def path(name: str) -> Path:
    return ROOT / "benchmarks" / f"{name}.yaml"


def published(name: str) -> tuple[Sweep, list[PublishedRow]]:
    sweep = load_sweep(path(name))
    assert sweep.published
    return sweep, sweep.published.rows


def lines(name: str, workspace: Workspace) -> dict[str, dict[str, Line]]:
    """A report's lines by row and metric."""
    sweep = load_sweep(path(name))
    assert sweep.published
    rows: dict[str, dict[str, Line]] = {}
    for line in beside.lines(sweep, sweep.published, path(name), workspace):
        rows.setdefault(line.row, {})[line.metric] = line
    return rows


@pytest.fixture
def bare(tmp_path: Path) -> Workspace:
    """Nothing anywhere."""
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)


# What the paper says


@pytest.mark.parametrize("name", TABLES)
def test_every_number_of_the_table_stands_in_the_sweep(name: str) -> None:
    expected = {}
    for text in TABLES[name].strip().splitlines():
        head, *settings = (part.split() for part in text.split("|"))
        accuracy, sd = (float(word) / 100 for word in head[1:])
        for rho_min, a, c, of_a, sd_a, total, sd_total in ([float(word) for word in part] for part in settings):
            figures = {"n_attacked": a, "n_pairs": c, "delta_a_rel": of_a, "delta_total_rel": total}
            spread = {"delta_a_rel": sd_a, "delta_total_rel": sd_total}
            expected[f"cl_{head[0]}", rho_min] = figures | {"accuracy_clean": accuracy}, spread | {"accuracy_clean": sd}
    rows = {(row.victim, row.set["attack.rho_min"]): (row.figures, row.spread) for row in published(name)[1]}
    assert list(rows) == list(expected)
    assert len(rows) == 18
    for which, (figures, spread) in expected.items():
        assert rows[which][0] == pytest.approx(figures)
        assert rows[which][1] == pytest.approx(spread)


@pytest.mark.parametrize("name", TABLES)
def test_a_row_is_about_ten_tasks_clip_and_for_ssre_a_base_of_five(name: str) -> None:
    sweep, rows = published(name)
    for row in rows:
        cell = resolve(sweep.published_cell(row, "continual_moles", DATASETS[name], 0))
        victim, attack = cell.parts["victim"].values, cell.parts["attack"].values
        assert (victim["tasks"], victim["base"]) == (10, 5 if row.victim == "cl_ssre" else 1)
        assert (attack["scorer"], attack["protocol"], attack["rho_min"]) == ("clip", "paper", row.set["attack.rho_min"])
        assert (victim["pool"], victim["exam"], cell.cell.profile) == (None, None, "paper")
        if name == "paper_mole_table4":
            assert (victim["backbone"], victim["batch"]) == ("resnet18", 256)
            assert (victim["epochs"], victim["later_epochs"]) == (100, 100)


@pytest.mark.parametrize("name", TABLES)
def test_two_sweeps_run_what_the_rows_are_about_and_nothing_else(name: str) -> None:
    sweep, rows = published(name)
    cells = [cell for each in (name, f"{name}_ssre") for cell in load_sweep(path(each)).cells()]
    assert [cell.seed for cell in cells].count(0) == 18
    assert len(cells) == 18 * 5
    swept = {resolve(cell).key for cell in cells if cell.seed == 0}
    assert swept == {resolve(sweep.published_cell(row, "continual_moles", DATASETS[name], 0)).key for row in rows}


# Beside it


def measured(workspace: Workspace, row: int, seed: int, figures: dict[str, float]) -> None:
    """A record of a row's cell."""
    sweep, rows = published("paper_mole_table3")
    told(Store(workspace.store), sweep.published_cell(rows[row], "continual_moles", "split:cifar100", seed), figures)


def test_measured_stands_beside_published_with_its_control(bare: Workspace) -> None:
    for seed, shift in ((0, -1.0), (1, 1.0)):
        figures = {"delta_a_rel": -10.0 + shift, "delta_total_rel": 30.0 + shift, "delta_a_rel_control": shift}
        measured(bare, 1, seed, figures | {"accuracy_clean": 0.3, "n_attacked": 31.0 + shift, "n_pairs": 60.0})
    rows = lines("paper_mole_table3", bare)
    mine = rows[LWF]
    of_a, total = mine["delta_a_rel"], mine["delta_total_rel"]
    assert of_a.measured
    assert (of_a.measured.value, of_a.measured.low, of_a.measured.high) == pytest.approx(seed_interval([-11.0, -9.0]))
    assert (of_a.published, of_a.spread, of_a.over, of_a.verdict) == (-4.8, 8.5, "seeds", "inside")
    assert (total.verdict, total.apart) == ("outside", "higher by 32.1 points")  # +30 +- 12.7 beside -2.1 +- 5.3
    assert (mine["n_pairs"].verdict, mine["n_attacked"].verdict, mine["accuracy_clean"].verdict) == ("inside",) * 3
    assert of_a.where == "on split:cifar100; seeds 0, 1; 3 of 5 seeds not run"
    control = rows[f"{LWF}, control random_recruitment"]
    assert list(control) == ["delta_a_rel_control"]
    assert control["delta_a_rel_control"].measured
    assert control["delta_a_rel_control"].measured.value == pytest.approx(0.0)
    assert (control["delta_a_rel_control"].published, control["delta_a_rel_control"].verdict) == (None, "-")


def test_one_seed_s_counts_are_judged_without_an_interval(bare: Workspace) -> None:
    measured(bare, 1, 0, {"n_attacked": 31.0, "n_pairs": 59.0})
    mine = lines("paper_mole_table3", bare)[LWF]
    assert (mine["n_attacked"].verdict, mine["n_attacked"].over) == ("inside", "")
    assert (mine["n_pairs"].verdict, mine["n_pairs"].apart) == ("outside", "lower by 1")
    assert mine["delta_a_rel"].verdict == "not recorded"


def test_the_report_prints_both_and_says_what_the_figures_mean(bare: Workspace) -> None:
    measured(bare, 1, 0, {"delta_a_rel": -9.0, "n_pairs": 60.0, "accuracy_clean": 0.3})
    text = typed(bare, "report", str(path("paper_mole_table3"))).stdout
    assert "-4.8 (sd 8.5)" in text
    assert "0.293 (sd 0.009)" in text
    assert "(to 1 decimal, accuracy_clean to 3, n_attacked to 0, n_pairs to 0)" in text
    assert "delta_a_rel: percent that attacked classes gain of their accuracy, median over those above 10 %" in text
    assert "n_pairs: pairs of an attacked and a confounding class" in text
    rows = csv.DictReader(io.StringIO(typed(bare, "report", str(path("paper_mole_table3")), "--format", "csv").stdout))
    (row,) = (row for row in rows if (row["row"], row["metric"]) == (LWF, "delta_a_rel"))
    assert (row["measured"], row["published"], row["published_sd"]) == ("-9", "-4.8", "8.5")


def test_where_nothing_was_run_each_row_says_why(bare: Workspace) -> None:
    for name, dataset in DATASETS.items():
        rows = lines(name, bare)
        assert list(rows) == [row.title for row in published(name)[1]]
        assert {line.verdict for row in rows.values() for line in row.values()} == {"not run"}
        said = f"dataset {dataset} is not here: molebench data fetch {dataset}"
        assert {line.where for row in rows.values() for line in row.values()} == {said}
        assert all(len(row) == 5 for row in rows.values())


def test_where_the_data_are_here_it_says_what_to_type(bare: Workspace) -> None:
    bare.data.mkdir()
    (bare.data / "cifar-100-binary.tar.gz").write_bytes(b"")
    rows = lines("paper_mole_table3", bare)
    assert rows[LWF]["n_pairs"].where == f"not run yet: molebench sweep {path('paper_mole_table3')}"
    assert rows["CIFAR-100, SSRE, base 5, rho_min 0.5"]["n_pairs"].where == (
        "not run yet: molebench run --attack continual_moles --victim cl_ssre --dataset split:cifar100 --profile paper "
        "--seed 0 --set victim.tasks=10 --set attack.scorer=clip --set attack.rho_min=0.5 --set victim.base=5"
    )


# The learners among themselves


def test_the_bounds_are_of_every_learner_on_its_own_split() -> None:
    plain, ssre = (list(load_sweep(path(name)).cells()) for name in ("continual_bounds", "continual_bounds_ssre"))
    both = {"split:cifar10_jpeg", "split:fashion_mnist"}

    def listed(cells: list[Cell]) -> set[tuple[str, str | None, int]]:
        return {(cell.victim, cell.dataset, cell.seed) for cell in cells}

    seven = ("finetune", "lwf", "lwm", "icarl", "il2m", "der", "joint")
    assert listed(plain) == {(f"cl_{v}", d, s) for v in seven for d in both for s in range(3)}
    assert listed(ssre) == {(f"cl_{v}", d, s) for v in ("ssre", "finetune", "joint") for d in both for s in range(3)}
    assert {(cell.attack, cell.profile) for cell in (*plain, *ssre)} == {("none", "small")}

    def splits(cells: list[Cell]) -> set[tuple[int, int]]:
        sizes = [resolve(cell).parts["victim"].values for cell in cells]
        return {(each["tasks"], each["base"]) for each in sizes}

    assert (splits(plain), splits(ssre)) == ({(5, 1)}, {(5, 2)})
