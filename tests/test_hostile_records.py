"""Records that somebody made to do harm: each is refused by one line that names it, or is nothing but text."""

import csv
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from molebench.errors import MolebenchError
from molebench.leaderboard.build import build
from tests.board_records import Content, add, put
from tests.browser_home import kinds, visiting
from tests.hostile_text import DO, PAYLOADS, Place, at, fault, names, places, rich, sealed, spoilt
from tests.stored import content

if TYPE_CHECKING:
    from playwright.sync_api import Browser


OTHER_LINKS = re.compile(r"https://(arxiv\.org|doi\.org)/[\w./()-]+")
NAMES = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,150}")
PLAIN = re.compile(r"[A-Za-z0-9_./# -]*")
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
EVALUATED = str(1361 * 991)


# Every place


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Place], list[Place]]:
    """The places and names in which a record may say what it likes; everywhere else one line names it."""
    folder, text = (
        tmp_path_factory.mktemp("one"),
        "".join(PAYLOADS[name] for name in ("script", "image", "up", "turned")),
    )
    free: tuple[list[Place], list[Place]] = [], []
    for kind, found in enumerate((places(rich()), names(rich()))):
        for number, place in enumerate(found):
            changed = spoilt(rich(), text, *(([place], []) if kind == 0 else ([], [place])))
            said = fault(folder / f"{kind}-{number}", changed)
            assert "\n" not in said, place
            assert len(said) < 1000, place
            assert not said or said.startswith("record "), place
            if not said:
                free[kind].append(place)
    return free


def test_what_a_record_says_freely_is_known_and_the_rest_is_refused(taken: tuple[list[Place], list[Place]]) -> None:
    texts, renamed = taken
    assert {("cell", "attack", "name"), ("cell", "profile"), ("warnings", 0), ("data", "classes", 0)} <= set(texts)
    assert ("cell", "attack", "parameters", "balance") in renamed
    closed = {("schema",), ("key",), ("group",), ("status",), ("scenario",), ("verification", "tier")}
    assert closed.isdisjoint(texts)
    assert {place for place in texts if place[-1] in ("predictions", "predictions_sha256")} == set()
    assert {place for place in renamed if len(place) == 1} == set()


# A board of them


@pytest.fixture(scope="module")
def site(taken: tuple[list[Place], list[Place]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The board of an honest record and of one a payload that says it everywhere."""
    top = tmp_path_factory.mktemp("hostile") / "a" / "b" / "c" / "d"
    store = top / "store"
    add(store, seed=0)
    for number, text in enumerate(PAYLOADS.values(), 1):
        record = spoilt(rich(), text, *taken)
        record["cell"]["seed"] = record["seeds"]["cell"] = number
        said = fault(store, record)
        assert said == "", text
    before = {path for path in top.parents[3].rglob("*") if store not in path.parents}
    assert build(store, top / "site") == len(PAYLOADS) + 1
    after = {path for path in top.parents[3].rglob("*") if not {store, top / "site"} & {path, *path.parents}}
    assert after == before - {store}
    return top / "site"


class Parsed(HTMLParser):
    """A page as a browser reads it: elements with their attributes, the text outside of scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text, self.scripts = "", list[str]()
        self.feed(path.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts[-1] += data
        else:
            self.text += data


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Parsed]:
    return {path: Parsed(path) for path in sorted(site.rglob("*.html"))}


def test_no_element_and_no_attribute_comes_from_a_record(pages: dict[Path, Parsed]) -> None:
    for path, page in pages.items():
        for tag, attributes in page.elements:
            assert tag not in ("iframe", "object", "embed", "base", "form", "style", "svg", "math", "noscript"), path
            assert [name for name in attributes if name.startswith("on") or name in ("style", "srcdoc")] == [], path
            assert not any(name == "http-equiv" for name in attributes) or "default-src 'none'" in attributes["content"]
            plain = [attributes.get(name, "") for name in ("href", "src", "id", "class", "data-shards", "for")]
            assert [each for each in plain if not PLAIN.fullmatch(each) and not OTHER_LINKS.fullmatch(each)] == [], path


def test_every_link_leads_to_a_file_of_the_site_or_to_a_paper(pages: dict[Path, Parsed], site: Path) -> None:
    for path, page in pages.items():
        for tag, attributes in page.elements:
            for link in filter(None, (attributes.get("href"), attributes.get("src"))):
                if ":" in link or link.startswith("//"):
                    assert tag == "a", (path, link)
                    assert OTHER_LINKS.fullmatch(link), (path, link)
                elif not link.startswith("#"):
                    file = (path.parent / link.partition("#")[0].partition("?")[0]).resolve()
                    assert file.is_relative_to(site), (path, link)
                    assert file.is_file(), (path, link)


def test_a_script_is_a_file_of_the_site_or_holds_data(pages: dict[Path, Parsed]) -> None:
    for path, page in pages.items():
        elements = [attributes for tag, attributes in page.elements if tag == "script"]
        for attributes, inside in zip(elements, page.scripts, strict=True):
            if "src" in attributes:
                assert inside.strip() == "", path
            else:
                assert attributes["type"] == "application/json", path
                strictly(inside)
                assert not set("<>&") & set(inside), path


def test_it_is_there_as_text_and_nothing_of_it_is_computed(pages: dict[Path, Parsed]) -> None:
    text = "".join(page.text for page in pages.values())
    for name in ("image", "script", "comment", "entity", "formula", "latex"):
        assert PAYLOADS[name] in text, name
    assert EVALUATED not in text
    assert "root:x:" not in text


def test_letters_that_hide_or_turn_text_are_named(site: Path) -> None:
    found = {path: UNSEEN.search(path.read_text("utf-8")) for path in site.rglob("*.html")}
    assert [path for path, letter in found.items() if letter] == []


def test_files_have_plain_names(site: Path) -> None:
    names = {part for path in site.rglob("*") for part in path.relative_to(site).parts} - {".molebench-site"}
    assert [name for name in names if not NAMES.fullmatch(name)] == []
    assert "hacked" not in {Path(name).stem for name in names}
    assert [path for path in site.rglob("*") if path.is_symlink()] == []


def test_no_field_of_a_csv_file_is_a_formula(site: Path) -> None:
    files = sorted(site.rglob("*.csv"))
    assert site / "data" / "records.csv" in files
    for path in files:
        lines = list(csv.reader(io.StringIO(path.read_text("utf-8"), newline="")))
        assert len({len(line) for line in lines}) == 1, path
        fields = [field for line in lines for field in line if field.startswith(("=", "+", "-", "@", "\t", "\r"))]
        assert [field for field in fields if not is_number(field)] == [], path


def is_number(field: str) -> bool:
    return bool(re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?", field))


def test_json_is_strict_and_scripts_of_data_call_one_function(site: Path) -> None:
    found = list(site.rglob("*.json"))
    assert len(found) > len(PAYLOADS)
    for path in found:
        strictly(path.read_text("utf-8"))
    for path in (site / "data").glob("*.js"):
        call = re.fullmatch(r"molebench\.rows\((\[.*\])\);\n", path.read_text("utf-8"))
        assert call, path
        strictly(call[1])
        assert not set("<>&\u2028\u2029") & set(call[1]), path


def strictly(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def test_latex_and_bibtex_hold_no_command_of_a_record(site: Path) -> None:
    files = [*site.rglob("*.tex"), *site.rglob("*.bib")]
    assert files
    for path in files:
        text = path.read_text("utf-8")
        assert not re.search(r"\\(input|write18)", text), path
        assert UNSEEN.search(text) is None, path


def test_nothing_of_it_runs_in_a_browser(site: Path, browser: "Browser") -> None:
    with visiting(browser, f"{site.as_uri()}/") as visit:
        visit.page.on("dialog", lambda dialog: visit.problems.append(f"a dialog: {dialog.message}"))
        for path in sorted({*kinds(site), *(each.relative_to(site).as_posix() for each in says(site, DO))}):
            page = visit.go(path)
            for each in page.locator("details > summary").all():
                each.click()
            assert page.evaluate("window.hacked") is None, path


def says(site: Path, text: str) -> list[Path]:
    """The pages of cells that a text is on."""
    return [path for path in (site / "cell").iterdir() if text in path.read_text("utf-8")]


# Refused


def raw(change: Callable[[str], str]) -> Callable[[Content], str]:
    return lambda record: change(sealed(record))


def set_in(*place: str | int, to: Any) -> Callable[[Content], str]:
    """A sealed record with another value in one place."""

    def changed(record: Content) -> str:
        at(record, place[:-1])[place[-1]] = to
        return sealed(record)

    return changed


BROKEN: dict[str, Callable[[Content], str]] = {
    "not a number": raw(lambda text: re.sub(r'"threads":2', '"threads":NaN', text)),
    "infinity": raw(lambda text: re.sub(r'"threads":2', '"threads":-Infinity', text)),
    "a number too large for any float": raw(lambda text: re.sub(r'"threads":2', '"threads":1e999', text)),
    "a number of 5000 digits": raw(lambda text: re.sub(r'"threads":2', f'"threads":{"9" * 5000}', text)),
    "nested 100 000 deep": raw(lambda text: text.replace('"gpu":null', f'"gpu":{"[" * 100_000}{"]" * 100_000}')),
    "nested 900 deep": raw(lambda text: text.replace('"gpu":null', f'"gpu":{"[" * 900}{"]" * 900}')),
    "half of a letter": raw(lambda text: text.replace('"gpu":null', '"gpu":"\\ud800"')),
    "a field twice": raw(
        lambda text: text.replace('{"arms"', '{"scenario":"offline","arms"', 1).replace("active", "x")
    ),
    "not UTF-8": raw(lambda text: text.replace('"gpu":null', '"gpu":"\ud8ff"')),
    "no end": raw(lambda text: text[:-1]),
    "two records": raw(lambda text: text * 2),
    "an unknown scenario": set_in("scenario", to="x"),
    "predictions elsewhere": set_in("arms", "clean_undefended", "predictions", to="../../../store.json"),
    "predictions anywhere": set_in("arms", "clean_undefended", "predictions", to="/etc/passwd"),
    "predictions of a name too long": set_in("arms", "clean_undefended", "predictions", to="a" * 5000),
    "predictions of a name that ends early": set_in("arms", "clean_undefended", "predictions", to="a\x00b"),
    "a count beyond any machine": set_in("arms", "clean_undefended", "n", 0, to=10**400),
    "a count below nothing": set_in("arms", "clean_undefended", "correct", 0, to=-1),
    "as many classes as fill the memory": set_in("arms", "clean_undefended", "n", to=[0] * 400_000),
    "no class": set_in("data", "classes", to=[]),
    "no arm": set_in("arms", to={}),
    "no attack": set_in("cell", "attack", to=None),
    "a seed that is a text": set_in("cell", "seed", to="0"),
    "a metric that its predictions do not give": set_in("metrics", "delta_total", "value", to=90.0),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_what_is_no_record_is_named_in_one_line_and_nothing_is_written(
    change: Callable[[Content], str], tmp_path: Path
) -> None:
    name = content()["key"]
    put(tmp_path / "store", name, change(content()))
    with pytest.raises(MolebenchError) as refused:
        build(tmp_path / "store", tmp_path / "site")
    line = str(refused.value)
    assert name[:12] in line
    assert "\n" not in line
    assert len(line) < 1000
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_text_of_ten_million_letters_is_cut_on_pages_and_whole_in_its_file(tmp_path: Path) -> None:
    long = "<b>" + "x" * 10_000_000

    def change(record: Content) -> None:
        record["cell"]["attack"]["name"] = record["warnings"][0] = long

    record = add(tmp_path / "store", 1, change)
    build(tmp_path / "store", tmp_path / "site")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "site").rglob("*") if path.is_file()}
    assert sizes[f"{record.key}.json"] > 2 * len(long)
    assert {name: size for name, size in sizes.items() if size > 2_000_000 and not name.endswith(".json")} == {}
