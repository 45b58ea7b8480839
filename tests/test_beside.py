"""Measured beside published: verdicts, on what a number was measured, and why where it was not."""

import csv
import io
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from molebench import beside, registry
from molebench.beside import Line
from molebench.errors import MolebenchError
from molebench.grid import resolve
from molebench.nets import FrozenExtractor
from molebench.record import MetricValue, Record
from molebench.report import number
from molebench.runner import note_failure, run
from molebench.stages import key
from molebench.store import Store, load_records
from molebench.sweep_file import Sweep, load_sweep
from molebench.verdicts import rounding, verdict
from molebench.workspace import Workspace
from tests.commands import SIZES, VICTIM, one_line, typed
from tests.conftest import ROOT

SETTINGS = ", ".join(f"{name}: {value}" for name, value in (size.split("=") for size in SIZES))
PHOTO = f"dataset: Photos, ours: {{photo_patches: cut small}}, victim: {VICTIM}"
BOTH = "accuracy_clean: 0.5, accuracy_poisoned: 0.4"
OTHERS = f"victim: {VICTIM}, set: {{attack.psnr: 20}}, figures: {{success_rate: 1}}"
SWEEP = f"""
profile: tiny
victim: {VICTIM}
attack: [noise, unperturbed]
set: {{{SETTINGS}, attack.psnr: [20, 30]}}
seed: [0, 1]
published:
  source: A | paper & its <sequel>, 50 %
  arxiv: "2101.10792"
  table: Table_9
  decimals: 3
  attack: noise
  rows:
    - {{dataset: Sound, ours: {{fsdd_of_old: }}, victim: al_ear, note: comes with ears, set: {{attack.psnr: 20}},
       figures: {{accuracy_clean: 0.5}}}}
    - {{{PHOTO}, set: {{attack.psnr: 20}},
       figures: {{{BOTH}, n_poison: 10, success_rate: 0.2, input_norm: 3, noise_norm: 5}}}}
    - {{{PHOTO}, set: {{attack.psnr: 30}}, figures: {{accuracy_clean: 0.5}}}}
    - {{dataset: Letters, ours: {{letters: }}, {OTHERS}}}
    - {{dataset: Planes, ours: {{cifar10: }}, {OTHERS}}}
    - {{dataset: Digits, ours: {{digits: }}, {OTHERS}}}
"""
PHOTOS = "Photos, psnr 20"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sweep") / "mine.yaml"
    path.write_text(SWEEP, "utf-8")
    return path


@pytest.fixture(scope="module")
def made(file: Path, fetched: Workspace, lite0: FrozenExtractor, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A store with two seeds of the row about PSNR 20 and one of its control; no data but what is embedded."""
    workspace = replace(fetched, store=tmp_path_factory.mktemp("made"), data=tmp_path_factory.mktemp("data"))
    sweep = load_sweep(file)
    assert sweep.published
    row = sweep.published.rows[1]
    first, _ = (
        run(sweep.published_cell(row, attack, "photo_patches", 0), workspace) for attack in ("noise", "unperturbed")
    )
    Store(workspace.store).commit(another_seed(first))
    return workspace


def another_seed(record: Record) -> Record:
    """The same as of seed 1, a tenth better everywhere."""
    content = record.plain()
    content["cell"]["seed"] = content["seeds"]["cell"] = 1
    for figure in content["metrics"].values():
        figure["value"] += 0.1
    return Record.model_validate({**content, "key": key(content["cell"])}).sealed()


@pytest.fixture
def copied(made: Workspace, tmp_path: Path) -> Workspace:
    """The same with a store that a test may change."""
    shutil.copytree(made.store, tmp_path / "store")
    return replace(made, store=tmp_path / "store")


def told(file: Path, workspace: Workspace) -> dict[str, list[Line]]:
    """The report's lines by row."""
    sweep = load_sweep(file)
    assert sweep.published
    rows: dict[str, list[Line]] = {}
    for line in beside.lines(sweep, sweep.published, file, workspace):
        rows.setdefault(line.row, []).append(line)
    return rows


def noise(workspace: Workspace) -> list[Record]:
    """The records of the published attack, by seed."""
    found = [r for r in load_records(workspace.store) if r.cell["attack"]["name"] == "noise"]
    return sorted(found, key=lambda r: r.seeds["cell"])


# Verdicts


@pytest.mark.parametrize(
    ("name", "value", "low", "high", "published", "says"),
    [
        ("accuracy_clean", 0.469, 0.456, 0.483, 0.470, ("inside", "")),
        ("accuracy_clean", 0.469, 0.456, 0.483, 0.4834, ("inside", "")),  # inside once rounding is granted
        ("accuracy_clean", 0.469, 0.456, 0.483, 0.484, ("outside", "lower by 1.5 points")),
        ("accuracy_clean", 0.469, 0.456, 0.483, 0.432, ("outside", "higher by 3.7 points")),
        ("delta_total", -18.8, -20.4, -17.1, -17.0, ("inside", "")),
        ("delta_total", -18.8, -20.4, -17.1, -16.5, ("outside", "lower by 2.3 points")),
        ("success_rate", 0.998, None, None, 1.0, ("inside", "")),
        ("success_rate", 0.960, None, None, 0.832, ("outside", "higher by 12.8 points")),
        ("random_success_rate", 0.0125, None, None, 0.013, ("inside", "")),  # rounds to it
        ("random_success_rate", 0.0125, None, None, 0.014, ("outside", "lower by 0.15 points")),
        ("n_poison", 500.0, None, None, 500.0, ("inside", "")),
        ("n_poison", 499.0, None, None, 500.0, ("outside", "lower by 1")),
        ("noise_norm", 100.0, None, None, 104.9, ("inside", "")),
        ("noise_norm", 100.0, None, None, 105.1, ("outside", "lower by 5.100")),
    ],
    ids=str,
)
def test_a_verdict_says_whether_and_by_how_much_two_numbers_differ(
    name: str, value: float, low: float | None, high: float | None, published: float, says: tuple[str, str]
) -> None:
    figure = MetricValue(value=value, low=low, high=high, definition="")
    assert verdict(name, figure, published, rounding(3, of_two_fractions=name == "delta_total")) == says


@pytest.mark.parametrize(
    ("published", "spread", "says"),
    [
        (-17.0, 0.0, ("inside", "")),
        (-16.9, 0.0, ("outside", "lower by 1.9 points")),  # the interval ends at -17.0, rounding reaches to -16.95
        (-15.0, 2.0, ("inside", "")),
        (-14.9, 2.0, ("outside", "lower by 3.9 points")),
        (-24.0, 3.6, ("inside", "")),
        (-24.0, 3.0, ("outside", "higher by 5.2 points")),
    ],
)
def test_a_published_number_s_own_spread_widens_it(published: float, spread: float, says: tuple[str, str]) -> None:
    figure = MetricValue(value=-18.8, low=-20.4, high=-17.0, definition="")
    assert verdict("max_delta_a", figure, published, rounding(1) + spread) == says


def test_a_zero_has_no_sign_and_a_count_no_decimals() -> None:
    assert [number(-0.04, "delta_total"), number(-0.0001, "recovery"), number(500.0, "n_poison")] == [
        "0.0",
        "0.000",
        "500",
    ]


# Lines


def test_a_measured_row_holds_what_its_records_say_over_seeds(file: Path, made: Workspace) -> None:
    lines = {line.metric: line for line in told(file, made)[PHOTOS]}
    records = noise(made)
    assert list(lines)[:3] == ["accuracy_clean", "accuracy_poisoned", "delta_total"]
    assert len(records) == 2
    clean = lines["accuracy_clean"]
    assert clean.measured
    assert clean.measured.value == pytest.approx(sum(r.metrics["accuracy_clean"].value for r in records) / 2)
    assert (clean.over, clean.published) == ("seeds", 0.5)
    norm = lines["noise_norm"].measured
    assert norm
    assert norm.value == pytest.approx(sum(r.poison.facts["l2"]["mean"] for r in records) / 2)
    assert lines["n_poison"].verdict == "inside"
    assert clean.where.startswith("on photo_patches (cut small); seeds 0, 1")


def test_the_published_drop_is_the_difference_of_the_published_accuracies(file: Path, made: Workspace) -> None:
    (drop,) = (line for line in told(file, made)[PHOTOS] if line.metric == "delta_total")
    assert drop.published == pytest.approx(-10.0)
    assert "poisoned less clean" in drop.note


def test_a_figure_that_records_do_not_hold_says_so(file: Path, made: Workspace) -> None:
    (line,) = (line for line in told(file, made)[PHOTOS] if line.metric == "input_norm")
    assert (line.verdict, line.measured, line.published) == ("not recorded", None, 3)


def test_one_seed_has_an_interval_over_items_and_names_the_missing_seed(file: Path, copied: Workspace) -> None:
    Store(copied.store).supersede(noise(copied)[1].key)
    lines = {line.metric: line for line in told(file, copied)[PHOTOS]}
    assert lines["accuracy_clean"].over == "items"
    assert lines["accuracy_clean"].measured == noise(copied)[0].metrics["accuracy_clean"]
    assert "seed 0; 1 of 2 seeds not run" in lines["accuracy_clean"].where
    assert (lines["success_rate"].over, lines["success_rate"].note) == ("", "tolerance 0.01")


def test_a_control_stands_behind_its_row_beside_nothing(file: Path, made: Workspace) -> None:
    rows = told(file, made)
    lines = rows[f"{PHOTOS}, control unperturbed"]
    assert list(rows).index(f"{PHOTOS}, control unperturbed") == list(rows).index(PHOTOS) + 1
    assert {line.published for line in lines} == {None}
    assert {line.verdict for line in lines} == {"-"}
    assert "accuracy_poisoned" in {line.metric for line in lines}


def test_each_row_that_was_not_run_says_why(file: Path, made: Workspace) -> None:
    rows = told(file, made)
    lines = [line for row in rows.values() for line in row if line.verdict == "not run"]
    assert {line.row: line.where for line in lines} == {
        "Sound, psnr 20": "no victim al_ear in this version (comes with ears)",
        "Photos, psnr 30": (
            f"not run yet: molebench run --attack noise --victim {VICTIM} --dataset photo_patches --profile tiny "
            f"--seed 0 {' '.join(f'--set {size}' for size in SIZES)} --set attack.psnr=30"
        ),
        "Letters, psnr 20": "no dataset letters in this version",
        "Planes, psnr 20": "dataset cifar10 is not here: molebench data fetch cifar10",
        "Digits, psnr 20": (
            f"not run yet: molebench run --attack noise --victim {VICTIM} --dataset digits --profile tiny "
            f"--seed 0 {' '.join(f'--set {size}' for size in SIZES)} --set attack.psnr=20"
        ),
    }
    assert [line.row for line in lines] == [
        line.row for row in list(rows.values())[2:] for line in row
    ]  # they come last


def test_a_cell_of_the_sweep_that_was_not_run_names_the_sweep(made: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "on digits.yaml"
    path.write_text(SWEEP.replace("seed: [0, 1]", "seed: 0\ndataset: digits"), "utf-8")
    assert told(path, made)["Digits, psnr 20"][0].where == f"not run yet: molebench sweep {path}"


def test_a_cell_that_failed_says_what_of(file: Path, copied: Workspace) -> None:
    sweep = load_sweep(file)
    assert sweep.published
    cell = resolve(sweep.published_cell(sweep.published.rows[5], "noise", "digits", 0))
    for message in ("first", "the dog\nate it"):
        note_failure(Store(copied.store), cell, MolebenchError(message))
    assert told(file, copied)["Digits, psnr 20"][0].where == "failed: the dog ate it"
    (Store(copied.store).cell(cell.key) / "attempts" / "02.json").write_text("{", "utf-8")
    assert told(file, copied)["Digits, psnr 20"][0].where == "failed: 02.json cannot be read"


def rewritten(workspace: Workspace, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes every record of a store as its maker could have."""
    for record in load_records(workspace.store):
        content = record.plain()
        change(content)
        Store(workspace.store).commit(Record.model_validate(content).sealed())


def test_records_of_older_code_are_shown_and_marked(file: Path, copied: Workspace) -> None:
    rewritten(copied, lambda r: r["components"][0].update(code_sha256="0" * 64))
    rows = told(file, copied)
    assert "; stale" in rows[PHOTOS][0].where
    assert "stale" in rows[f"{PHOTOS}, control unperturbed"][0].where
    assert "stale: made by code" in typed(copied, "report", str(file)).stdout
    assert typed(copied, "report").stdout.count("(stale)") == 2
    lines = typed(copied, "sweep", str(file), "--dry-run", "--offline").stdout.splitlines()
    assert [line.split()[1] for line in lines[:-1]].count("stale") == 3
    assert lines[-1] == "6 cells, 0 done, 3 stale"


def test_an_unhealthy_record_is_shown_with_its_warning(file: Path, copied: Workspace) -> None:
    rewritten(copied, lambda r: r.update(status="unhealthy", warnings=["the victim slept"]))
    assert "unhealthy: the victim slept" in told(file, copied)[PHOTOS][0].where


def test_records_that_no_published_row_is_about_are_counted(copied: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "less.yaml"
    head, rows = SWEEP.split("  rows:\n")
    path.write_text(head + "  rows:\n" + "\n".join(rows.splitlines()[:2]), "utf-8")
    assert "no published row is about: 3;" in typed(copied, "report", str(path)).stdout


# Formats


def test_csv_has_a_line_a_number_and_nothing_else(file: Path, made: Workspace) -> None:
    rows = list(csv.DictReader(io.StringIO(typed(made, "report", str(file), "--format", "csv").stdout)))
    expected = [line for lines in told(file, made).values() for line in lines]
    columns = "row metric measured low high interval_over published published_sd verdict note"
    assert list(rows[0]) == columns.split()
    assert [(r["row"], r["metric"], r["verdict"]) for r in rows] == [(e.row, e.metric, e.verdict) for e in expected]
    assert all(len(r) == 10 and None not in r.values() for r in rows)
    for got, line in zip(rows, expected, strict=True):
        assert (float(got["measured"]) if got["measured"] else None) == (
            pytest.approx(line.measured.value, rel=1e-5) if line.measured else None
        )


def test_md_is_one_table_with_a_caption_and_a_legend(file: Path, made: Workspace) -> None:
    text = typed(made, "report", str(file)).stdout
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {8}
    assert text.startswith("Table_9 of A | paper & its <sequel>, 50 % (arXiv:2101.10792)")
    assert "inside: the published number, give or take its rounding (to 3 decimals)" in text
    assert "Intervals over items are those of one seed" in text


class Tags(HTMLParser):
    """Counts the tags of a text."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)


def test_html_and_latex_escape_what_a_file_says(file: Path, made: Workspace) -> None:
    page = typed(made, "report", str(file), "--format", "html").stdout
    tags = Tags()
    tags.feed(page)
    assert "sequel" not in tags.seen
    assert {"table", "tr", "td", "p"} <= set(tags.seen)
    latex = typed(made, "report", str(file), "--format", "latex").stdout
    assert r"\toprule" in latex
    assert r"Table\_9 of A | paper \& its <sequel>, 50 \%" in latex


def test_a_report_in_an_unknown_format_names_those_there_are(file: Path, made: Workspace) -> None:
    assert "no report format named 'htm'" in one_line(typed(made, "report", str(file), "--format", "htm"))


def test_a_table_of_a_store_says_what_each_interval_is_over(made: Workspace) -> None:
    rows = list(csv.DictReader(io.StringIO(typed(made, "report", "--format", "csv").stdout)))
    assert {(r["attack"], r["seeds"], r["intervals over"]) for r in rows} == {
        ("noise", "2", "seeds"),
        ("unperturbed", "1", "items"),
    }


# The sweep that comes with the house


def test_the_paper_s_table_is_reported_in_full_where_nothing_was_run(fresh: Workspace) -> None:
    path = ROOT / "benchmarks" / "paper_active_table1.yaml"
    sweep = load_sweep(path)
    assert isinstance(sweep, Sweep)
    assert sweep.published
    assert [(r.dataset, r.set["victim.head"]) for r in sweep.published.rows] == [
        (d, h) for h in ("nn1", "nn2") for d in ("STL10", "CIFAR-10", "AudioSet-10")
    ]
    rows = told(path, fresh)
    assert {line.verdict for lines in rows.values() for line in lines} == {"not run"}
    assert all(len(lines) == 9 for lines in rows.values())
    assert all(lines[0].where for lines in rows.values())
    if "al_yamnet" not in registry.files("victims"):
        assert "no victim al_yamnet in this version" in rows["AudioSet-10, head nn1"][0].where
