"""The build as a whole: every page whole and linked, the same bytes every time, all or nothing, and no torch for it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from molebench.errors import MolebenchError
from molebench.leaderboard.build import build, write
from molebench.leaderboard.site import File
from molebench.record import Record
from molebench.store import Store, load_records
from molebench.workspace import Workspace
from tests.board_records import add
from tests.commands import one_line, typed
from tests.conftest import ROOT

VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """A page read strictly: its tags must nest; its attributes, texts and table rows are kept."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.rows: list[list[str]] = []
        self.texts: list[str] = []
        self.feed(html)
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

    @property
    def ids(self) -> list[str]:
        """Every id."""
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]

    @property
    def links(self) -> list[str]:
        """Every address that it names."""
        return [found[name] for _, found in self.tags for name in ("href", "src") if name in found]

    @property
    def text(self) -> str:
        """All its words."""
        return " ".join(" ".join(self.texts).split())

    def table(self) -> list[dict[str, str]]:
        """The rows of all tables, by column."""
        found: list[dict[str, str]] = []
        header: list[str] = []
        for cells, (_, tr) in zip(self.rows, (each for each in self.tags if each[0] == "tr"), strict=True):
            if "data-id" in tr:
                found.append({n: " ".join(c.split()) for n, c in zip(header, cells, strict=True)})
            else:
                header = [" ".join(cell.split()) for cell in cells]
        return found


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    """A store with two seeds of one cell."""
    store = tmp_path / "store"
    for seed in (0, 1):
        add(store, seed)
    return Workspace(tmp_path / "data", tmp_path / "cache", store, offline=True)


def built(workspace: Workspace, out: Path) -> Path:
    """What the command makes."""
    done = typed(workspace, "leaderboard", "build", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert str(out / "index.html") in done.stdout
    return out


def files(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def pages(site: Path) -> dict[str, Page]:
    """Every page of a site."""
    return {f.relative_to(site).as_posix(): Page(f.read_text("utf-8")) for f in sorted(site.rglob("*.html"))}


def test_each_link_leads_somewhere_and_each_record_is_there_unchanged(home: Workspace, tmp_path: Path) -> None:
    site = built(home, tmp_path / "site")
    found = pages(site)
    outside = set()
    for path, page in found.items():
        assert len(page.ids) == len(set(page.ids)), path
        for link in page.links:
            file, _, anchor = link.partition("#")
            if "://" in link:
                outside.add(link.split("/")[2])
                continue
            target = ((site / path).parent / file).resolve() if file else site / path
            assert target.is_file(), (path, link)
            if anchor:
                assert anchor in found[target.relative_to(site.resolve()).as_posix()].ids, (path, link)
    assert outside <= {"arxiv.org", "doi.org"}
    for record in load_records(home.store):
        assert any(f"data/{record.key}.json" in link for link in found[f"cell/{record.key}.html"].links)
        assert Record.model_validate(json.loads((site / "data" / f"{record.key}.json").read_text("utf-8"))) == record


def test_every_page_has_a_policy_and_what_a_screen_reader_needs(home: Workspace, tmp_path: Path) -> None:
    for path, page in pages(built(home, tmp_path / "site")).items():
        (policy,) = (m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
        assert policy == (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; "
            "form-action 'none'"
        )
        assert page.all("html") == [{"lang": "en"}]
        assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1, path
        assert len(page.all("caption")) == len(page.all("table"))
        assert {th.get("scope") for th in page.all("th")} <= {"col", "row"}
        assert page.all("a")[0] == {"class": "skip", "href": "#content"}
        assert all("aria-label" in nav for nav in page.all("nav"))
        assert path == "index.html" or any(nav["aria-label"] == "Breadcrumb" for nav in page.all("nav"))
        regions = [d["aria-labelledby"] for d in page.all("div") if d.get("role") == "region"]
        assert regions == [caption["id"] for caption in page.all("caption")]
        assert not [n for _, a in page.tags for n in a if n.startswith("on") or n == "style"]
        assert all("src" in script or script["type"] == "application/json" for script in page.all("script"))


def test_the_same_records_make_the_same_bytes_anywhere(home: Workspace, tmp_path: Path) -> None:
    built(home, tmp_path / "one")
    moved = shutil.copytree(home.store, tmp_path / "moved")
    assert build(moved, tmp_path / "two") == 2
    assert files(tmp_path / "one") == files(tmp_path / "two")
    built(home, tmp_path / "one")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert str(tmp_path).encode() not in b"".join(files(tmp_path / "one").values())


def test_building_imports_neither_torch_nor_timm_nor_sklearn(home: Workspace, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom molebench.leaderboard.build import build\n"
        f"build(Path({str(home.store)!r}), Path({str(tmp_path / 'site')!r}))\n"
        "print(sorted({'torch', 'timm', 'sklearn', 'tensorflow', 'torchvision'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
    assert (tmp_path / "site" / "index.html").is_file()


def test_two_things_never_share_a_file(tmp_path: Path) -> None:
    with pytest.raises(MolebenchError, match=r"two things on the board would be x\.html"):
        write(tmp_path, iter([File("x.html", b"1"), File("x.html", b"2")]))
    assert (tmp_path / "x.html").read_bytes() == b"1"


# All or nothing


def test_no_record_is_one_line_and_no_folder(home: Workspace, tmp_path: Path) -> None:
    empty = Workspace(home.data, home.cache, tmp_path / "empty", offline=True)
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
    record = add(home.store, 8)
    path = Store(home.store).cell(record.key) / "record.json"
    path.write_text(path.read_text("utf-8").replace('"tiny"', '"huge"'), "utf-8")
    assert f"record {record.key[:12]}/record.json was changed" in refused(home, site)
    forged = record.model_copy(update={"key": "../../../../etc/x"}).sealed()
    path.write_text(forged.text(), "utf-8")
    assert f"record {record.key[:12]!r} stands under a key, group or seed that is not its cell's" in refused(home, site)
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
    ids=["no victim", "defenses", "name", "profile", "extractor", "seed", "seeds"],
)
def test_a_record_whose_cell_is_none_is_one_line(
    home: Workspace, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    add(home.store, 8, change)
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
    add(home.store, 8)
    assert "No space left on device" in refused(home, site)
    assert files(site) == before
    assert not list(tmp_path.glob(".site.*"))


def test_a_record_that_is_gone_leaves_no_file_behind(home: Workspace, tmp_path: Path) -> None:
    record = add(home.store, 8)
    built(home, tmp_path / "site")
    Store(home.store).supersede(record.key)
    built(home, tmp_path / "site")
    kept = [r.key for r in load_records(home.store)]
    assert sorted(f.stem for f in (tmp_path / "site" / "data").glob("*.json")) == sorted([*kept, "board"])
    assert sorted(f.stem for f in (tmp_path / "site" / "cell").iterdir()) == sorted(kept)


def test_a_place_that_cannot_be_written_is_one_line(home: Workspace, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("mine", "utf-8")
    assert "cannot write the board to" in refused(home, tmp_path / "a file" / "site")


def test_the_build_counts_its_records(home: Workspace, tmp_path: Path) -> None:
    assert "2 records: " in typed(home, "leaderboard", "build", "--out", str(tmp_path / "site")).stdout
    assert one_line(typed(home, "leaderboard", "biuld"))
