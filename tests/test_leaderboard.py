"""The first page: every record a row or part of one, nothing but text in it, the same bytes every time, all or none."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from molebench.leaderboard.build import build
from molebench.leaderboard.rows import board
from molebench.nets import FrozenExtractor
from molebench.record import Record
from molebench.runner import run
from molebench.stages import key
from molebench.store import Store, load_records
from molebench.workspace import Workspace
from tests.commands import one_line, typed
from tests.conftest import ROOT
from tests.test_store import CELL

HOSTILE = "<img src=x onerror=alert(1)>\"'&{{ 7*7 }}"
VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """A page read strictly: its tags must nest; its attributes, texts by tag and table rows are kept."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.rows: list[list[str]] = []
        self.texts: list[str] = []
        self.feed(path.read_text("utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]

    def table(self) -> list[dict[str, str]]:
        """The rows of all tables, by column."""
        found: list[dict[str, str]] = []
        for cells in self.rows:
            if cells[0] == "attack":
                header = cells
            else:
                found.append({n: " ".join(c.split()) for n, c in zip(header, cells, strict=True)})
        return found


@pytest.fixture(scope="module")
def made(fetched: Workspace, lite0: FrozenExtractor, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A store with one real record."""
    workspace = replace(fetched, store=tmp_path_factory.mktemp("made"))
    run(CELL, workspace)
    return workspace


@pytest.fixture
def home(made: Workspace, tmp_path: Path) -> Workspace:
    """A copy of it."""
    shutil.copytree(made.store, tmp_path / "store")
    return replace(made, store=tmp_path / "store")


def add(workspace: Workspace, change: Callable[[dict[str, Any]], object]) -> Record:
    """A record like the first, changed as its maker could have, beside it."""
    first = load_records(workspace.store)[0].plain()
    first |= {"status": "ok", "warnings": []}
    change(first)
    cell = first["cell"]
    first |= {"key": key(cell), "group": key({k: v for k, v in cell.items() if k != "seed"})}
    record = Record.model_validate(first).sealed()
    Store(workspace.store).commit(record)
    return record


def seed(n: int) -> Callable[[dict[str, Any]], None]:
    """Makes it another seed's."""

    def change(record: dict[str, Any]) -> None:
        record["cell"]["seed"] = record["seeds"]["cell"] = n

    return change


def built(workspace: Workspace, out: Path) -> Page:
    """What the command makes."""
    done = typed(workspace, "leaderboard", "build", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert str(out / "index.html") in done.stdout
    return Page(out / "index.html")


# What stands there


def test_seeds_are_one_row_with_a_link_to_each_record(home: Workspace, tmp_path: Path) -> None:
    for n in (8, 9):
        add(home, seed(n))
    first, records = load_records(home.store)[0], load_records(home.store)
    add(home, lambda r: (seed(8)(r), r["cell"]["victim"]["parameters"].update(head="nn2")))
    page = built(home, tmp_path / "site")
    rows = {row["parameters"].split()[0]: row for row in page.table()}
    assert len(rows) == len(page.table()) == 2
    row = rows["victim.head=nn1"]
    assert (row["attack"], row["profile"], row["intervals over"]) == ("noise", "tiny", "seeds")
    assert row["seeds and records"] == "0 8 9"
    clean = sum(r.metrics["accuracy_clean"].value for r in records) / 3
    assert row["accuracy_clean"].startswith(f"{clean:.3f} [")
    assert f"victim.epochs = {first.cell['victim']['parameters']['epochs']}" in row["parameters"]
    assert rows["victim.head=nn2"]["intervals over"] == "items"


def test_each_link_leads_somewhere_and_each_record_is_there_unchanged(home: Workspace, tmp_path: Path) -> None:
    record = add(home, seed(8))
    page = built(home, tmp_path / "site")
    links = [a["href"] for a in page.all("a")] + [a["href"] for a in page.all("link")]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for link in links:
        assert link.removeprefix("#") in ids if link.startswith("#") else (tmp_path / "site" / link).is_file(), link
    assert f"data/{record.key}.json" in links
    kept = json.loads((tmp_path / "site" / "data" / f"{record.key}.json").read_text("utf-8"))
    assert Record.model_validate(kept) == record


def test_each_figure_is_explained(home: Workspace, tmp_path: Path) -> None:
    page = built(home, tmp_path / "site")
    header = next(row for row in page.rows if row[0] == "attack")
    figures = header[header.index("parameters") + 1 : header.index("intervals over")]
    assert "delta_total" in figures
    assert [a["id"] for a in page.all("dt")] == [f for f in figures if "ranked" not in f]
    assert "points of accuracy, poisoned - clean, all test items" in page.texts


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"status": "unhealthy", "warnings": ["the victim slept"]}, "status unhealthy; the victim slept"),
        ({"status": "invalid"}, "status invalid"),
        ({"weights": [{"name": "net", "source": "random", "sha256": "0"}]}, "random weights"),
        ({"trusted_data": {"labels": 3}}, "a part of it knows what no defense could know"),
    ],
    ids=str,
)
def test_what_may_not_be_ranked_is_shown_in_a_table_of_its_own(
    home: Workspace, tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    add(home, lambda r: seed(8)(r))
    barred = add(home, lambda r: (r["cell"]["victim"]["parameters"].update(head="nn2"), r.update(change)))
    assert not barred.rankable
    page = built(home, tmp_path / "site")
    rows = [row for row in page.table() if "why it is not ranked" in row]
    assert rows[-1]["why it is not ranked"] == why
    assert "Shown, not ranked" in page.texts
    assert "Nothing is ranked yet" in page.texts


def test_defenses_and_their_figures_have_their_columns(home: Workspace, tmp_path: Path) -> None:
    figure = {"value": -3.25, "low": -4.0, "high": -2.0, "definition": ""}

    def defended(record: dict[str, Any]) -> None:
        seed(8)(record)
        record["cell"]["defenses"] = [{"name": "sieve", "parameters": {"mesh": 3}}]
        record["metrics"]["delta_total_defended"] = figure

    add(home, defended)
    rows = {row["defenses"]: row for row in built(home, tmp_path / "site").table()}
    assert rows["sieve"]["delta_total_defended"] == "-3.2 [-4.0, -2.0]"
    assert "sieve.mesh = 3" in rows["sieve"]["parameters"]
    assert rows["none"]["delta_total_defended"] == "–"


# Safe, accessible, the same


def test_hostile_text_appears_as_text(home: Workspace, tmp_path: Path) -> None:
    def hostile(record: dict[str, Any]) -> None:
        cell = record["cell"]
        for role in ("attack", "victim", "dataset"):
            cell[role]["name"] = HOSTILE
        cell["attack"]["parameters"] = {HOSTILE: HOSTILE}
        cell["defenses"] = [{"name": HOSTILE, "parameters": {}}]
        cell["profile"] = HOSTILE
        record["data"]["classes"] = [HOSTILE] * 10
        record |= {"status": "invalid", "warnings": [HOSTILE]}
        record["metrics"]["accuracy_clean"]["definition"] = HOSTILE

    record = add(home, hostile)
    page = built(home, tmp_path / "site")
    assert {"img", "script", "iframe"}.isdisjoint(tag for tag, _ in page.tags)
    assert [n for _, attributes in page.tags for n in attributes if n.startswith("on") or n == "style"] == []
    (row,) = (row for row in page.table() if row["victim"] == HOSTILE)
    assert row["attack"] == row["dataset"] == row["defenses"] == row["profile"] == HOSTILE
    assert "49" not in row["attack"]
    assert row["why it is not ranked"].endswith(HOSTILE)
    assert (tmp_path / "site" / "data" / f"{record.key}.json").is_file()


def test_a_policy_forbids_everything_but_the_page_s_own_style(home: Workspace, tmp_path: Path) -> None:
    page = built(home, tmp_path / "site")
    (policy,) = (m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.split("; ")[:2] == ["default-src 'none'", "style-src 'self'"]
    assert [link["href"] for link in page.all("link")] == ["style.css"]
    text = "".join(f.read_text("utf-8") for f in (tmp_path / "site").iterdir() if f.is_file())
    assert "http://" not in text
    assert "https://" not in text


def test_the_page_has_what_a_screen_reader_needs(home: Workspace, tmp_path: Path) -> None:
    add(home, lambda r: (seed(8)(r), r.update(status="invalid")))
    page = built(home, tmp_path / "site")
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1
    assert len(page.all("caption")) == len(page.all("table"))
    assert {th.get("scope") for th in page.all("th")} == {"col", "row"}
    assert len([th for th in page.all("th") if th["scope"] == "row"]) == len(page.table())
    assert page.all("a")[0]["href"] == "#results"
    regions = [d for d in page.all("div") if d.get("role") == "region"]
    assert [(r["tabindex"], r["aria-labelledby"]) for r in regions] == [("0", c["id"]) for c in page.all("caption")]


def files(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_the_same_records_make_the_same_bytes_anywhere(home: Workspace, tmp_path: Path) -> None:
    add(home, seed(8))
    built(home, tmp_path / "one")
    shutil.copytree(home.store, tmp_path / "moved")
    built(replace(home, store=tmp_path / "moved"), tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    built(home, tmp_path / "one")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert str(tmp_path).encode() not in b"".join(files(tmp_path / "one").values())


def test_building_imports_neither_torch_nor_timm_nor_sklearn(home: Workspace, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom molebench.leaderboard.build import build\n"
        f"build(Path({str(home.store)!r}), Path({str(tmp_path / 'site')!r}))\n"
        "print(sorted({'torch', 'timm', 'sklearn', 'tensorflow', 'torchvision', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
    assert (tmp_path / "site" / "index.html").is_file()


# All or nothing


def test_no_record_is_one_line_and_no_folder(home: Workspace, tmp_path: Path) -> None:
    empty = replace(home, store=tmp_path / "empty")
    done = typed(empty, "leaderboard", "build", "--out", str(tmp_path / "site"))
    assert done.returncode == 2
    assert "make one with molebench run" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "site").exists()


def refused(workspace: Workspace, out: Path) -> str:
    done = typed(workspace, "leaderboard", "build", "--out", str(out))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_a_damaged_or_misplaced_record_is_named_and_the_old_page_stays(home: Workspace, tmp_path: Path) -> None:
    site = tmp_path / "site"
    built(home, site)
    before = files(site)
    record = add(home, seed(8))
    path = Store(home.store).cell(record.key) / "record.json"
    path.write_text(path.read_text("utf-8").replace('"tiny"', '"huge"'), "utf-8")
    assert f"record {record.key[:12]}/record.json was changed" in refused(home, site)
    forged = record.model_copy(update={"key": "../../../../etc/x"}).sealed()
    path.write_text(forged.text(), "utf-8")
    assert "'../../../../' stands under a key, group or seed that is not its cell's" in refused(home, site)
    path.write_text(record.model_copy(update={"group": "0" * 64}).sealed().text(), "utf-8")
    assert "is not its cell's" in refused(home, site)
    assert files(site) == before
    assert [f.name for f in tmp_path.iterdir() if f.name.startswith(".")] == []


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["cell"].pop("victim"),
        lambda r: r["cell"].update(defenses="none"),
        lambda r: r["cell"]["attack"].update(name=["<b>"]),
        lambda r: r["cell"].update(profile=None),
        lambda r: r["cell"].update(extractor="resnet50"),
        lambda r: r["seeds"].update(cell=7),
        lambda r: r["seeds"].clear(),
    ],
)
def test_a_record_whose_cell_is_none_is_one_line(
    home: Workspace, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    add(home, change)
    assert "is not its cell's" in refused(home, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_folder_with_other_files_is_left_alone(home: Workspace, tmp_path: Path) -> None:
    site = tmp_path / "site"
    built(home, site)
    (site / "data" / "thesis.txt").write_text("mine", "utf-8")
    assert "holds data/thesis.txt, which no build has made" in refused(home, site)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "README").write_text("mine", "utf-8")
    assert "holds README" in refused(home, tmp_path / "docs")
    (tmp_path / "a file").write_text("mine", "utf-8")
    assert "is no folder" in refused(home, tmp_path / "a file")
    assert "is no folder" not in refused(home, home.store)
    (tmp_path / "empty").mkdir()
    built(home, tmp_path / "empty")


def test_a_build_that_cannot_take_its_place_leaves_the_old_one(
    home: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    built(home, site)
    before, rename = files(site), Path.rename

    def full(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", full)
    add(home, seed(8))
    assert "No space left on device" in refused(home, site)
    assert files(site) == before
    assert not list(tmp_path.glob(".site.*"))


def test_a_record_that_is_gone_leaves_no_file_behind(home: Workspace, tmp_path: Path) -> None:
    record = add(home, seed(8))
    built(home, tmp_path / "site")
    Store(home.store).supersede(record.key)
    built(home, tmp_path / "site")
    assert [f.stem for f in (tmp_path / "site" / "data").iterdir()] == [r.key for r in load_records(home.store)]


def test_a_place_that_cannot_be_written_is_one_line(home: Workspace, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("mine", "utf-8")
    assert "cannot write the board to" in refused(home, tmp_path / "a file" / "site")


def test_the_build_counts_its_records(home: Workspace, tmp_path: Path) -> None:
    add(home, seed(8))
    assert build(home.store, tmp_path / "site") == 2
    assert len(board(load_records(home.store)).rows + board(load_records(home.store)).shown) == 1
    assert "1 record" not in typed(home, "leaderboard", "build", "--out", str(tmp_path / "site")).stdout
    assert one_line(typed(home, "leaderboard", "biuld"))
