"""The board in a browser: quiet, accessible, as wide as the window, and its tables and charts do what they promise."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from tests.browser_home import Visit, kinds, served, serving, site, visiting
from tests.conftest import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["served", "site"]  # fixtures

LEADERBOARD = ROOT / "leaderboard"
HOSTILE = "<img src=x onerror=alert(1)> &amp; \u202e</script>"
COLOURS = "{runOnly: ['color-contrast', 'link-in-text-block']}"  # axe-core's rules of them, up to AA
SCHEMES: dict[Literal["light", "dark"], str] = {"light": "{}", "dark": COLOURS}
SHOWN = "[...document.querySelectorAll('table.enhanced tbody tr[data-id]')]"  # in JavaScript


# Every kind of page


@dataclass(frozen=True)
class Seen:
    """What one page is like in light and in dark, and how wide it is where a phone is 390 pixels wide."""

    violations: tuple[str, ...]
    width: int


@pytest.fixture(scope="module")
def seen(browser: "Browser", served: str, site: Path) -> dict[str, Seen]:
    """Every kind of page, looked at once; a console message or a request to elsewhere would be an error here."""
    with visiting(browser, served) as visit:
        return {path: look(visit, path) for path in kinds(site)}


def look(visit: Visit, path: str) -> Seen:
    """Looks at a page in light, at its colours in dark, then makes its window narrow."""
    page = visit.go(path)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    found = []
    for scheme, rules in SCHEMES.items():
        page.emulate_media(color_scheme=scheme)
        found += [f"{scheme}: {what}" for what in violations(page, rules)]
    page.set_viewport_size({"width": 390, "height": 844})
    width = page.evaluate("document.scrollingElement.scrollWidth")
    return Seen(tuple(found), width)


def violations(page: "Page", rules: str) -> list[str]:
    """What axe-core finds serious or critical."""
    result = page.evaluate(f"axe.run({{resultTypes: ['violations'], ...{rules}}})")
    bad = [each for each in result["violations"] if each["impact"] in ("serious", "critical")]
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in bad]


def test_axe_finds_nothing_serious_in_light_or_in_dark(seen: dict[str, Seen]) -> None:
    assert {path: page.violations for path, page in seen.items() if page.violations} == {}
    assert {path.split("/")[0] for path in seen} >= {"index.html", "cells.html", "cell", "method.html"}


def test_a_phone_scrolls_down_only(seen: dict[str, Seen]) -> None:
    assert {path: page.width for path, page in seen.items() if page.width > 390} == {}


def test_every_kind_of_page_is_quiet_from_a_disk(browser: "Browser", site: Path) -> None:
    with visiting(browser, f"{site.as_uri()}/") as visit:
        for path in kinds(site):
            assert visit.go(path).locator("h1").count() == 1


def test_without_scripts_the_tables_stand_as_they_are(browser: "Browser", served: str) -> None:
    with visiting(browser, served, java_script_enabled=False) as visit:
        visit.page.goto(served + "cells.html")
        assert visit.page.locator("table.enhanced tbody tr").count() > 8
        assert visit.page.locator("table.enhanced thead th").first.is_visible()
        assert visit.page.locator(".tools, button").count() == 0


# Tables


@pytest.fixture(params=["http", "file"])
def cells(request: pytest.FixtureRequest, browser: "Browser", served: str, site: Path) -> "Iterator[Page]":
    """The page of all cells, from a server and from a disk."""
    with visiting(browser, served if request.param == "http" else f"{site.as_uri()}/") as visit:
        yield visit.go("cells.html")


def column(page: "Page", key: str) -> list[str]:
    """The texts of a column as they are shown, from top to bottom."""
    place = page.evaluate(f"[...document.querySelectorAll('thead th')].findIndex(th => th.dataset.key === '{key}')")
    found: list[str] = page.evaluate(f"{SHOWN}.map(tr => tr.cells[{place}].textContent.trim())")
    return found


def number(page: "Page") -> str:
    """The key of a column with several numbers."""
    key: str = page.evaluate(
        f"""[...document.querySelectorAll('thead th[data-type=number]')].find(th =>
        new Set({SHOWN}.map(tr => tr.cells[th.cellIndex].dataset.value).filter(Boolean)).size > 2).dataset.key"""
    )
    return key


def values(page: "Page", key: str) -> list[float | None]:
    """The numbers of a column, from top to bottom."""
    found: list[float | None] = page.evaluate(
        f"""(place => {SHOWN}.map(tr => tr.cells[place].dataset.value).map(v => v === undefined ? null : Number(v)))(
        document.querySelector('thead th[data-key={key}]').cellIndex)"""
    )
    return found


def said(page: "Page") -> str:
    """What the table's live region says."""
    return page.locator(".tools [role=status]").first.inner_text()


def test_sorting_by_keyboard_goes_up_then_down_and_what_is_missing_comes_last(cells: "Page") -> None:
    key = number(cells)
    there = sorted(value for value in values(cells, key) if value is not None)
    head = cells.locator(f"thead th[data-key={key}]")
    for direction, wanted in (("ascending", there), ("descending", there[::-1])):
        head.get_by_role("button").focus()
        cells.keyboard.press("Enter")
        cells.wait_for_selector(f"thead th[data-key={key}][aria-sort={direction}]")
        assert [value for value in values(cells, key) if value is not None] == wanted
        assert values(cells, key)[: len(wanted)] == wanted
    assert cells.url.endswith(f".sort={key}.desc")


def test_search_filter_and_group_leave_what_they_say_and_a_link_keeps_it(cells: "Page") -> None:
    attacks = column(cells, "attack")
    rows, every = cells.locator("tbody tr[data-id]"), len(attacks)
    found, one = min((rows.filter(has_text=attack).count(), attack) for attack in attacks)
    assert found < every
    cells.get_by_label("Search").fill(one)
    cells.wait_for_function(f"{SHOWN}.length === {found}")
    assert all(one in text for text in rows.all_inner_texts())
    cells.get_by_label("Search").fill("")
    cells.locator(".filters > summary").click()
    cells.locator(".filters").get_by_label("attack", exact=True).select_option(one)
    assert column(cells, "attack") == [one] * attacks.count(one)
    assert said(cells) == f"{attacks.count(one)} of {every} rows"
    cells.keyboard.press("Escape")
    cells.get_by_label("Group by").select_option("victim")
    victims = column(cells, "victim")
    assert victims == sorted(victims)
    assert cells.locator("tr.dtrg-group").count() == len(set(victims))
    cells.reload()
    cells.wait_for_selector("tr.dtrg-group")
    assert (column(cells, "victim"), said(cells)) == (victims, f"{len(victims)} of {every} rows")


def test_the_back_button_undoes_and_reset_undoes_all(cells: "Page") -> None:
    before, key = column(cells, "attack"), number(cells)
    cells.get_by_label("Group by").select_option("dataset")
    cells.locator(f"thead th[data-key={key}]").get_by_role("button").click()
    cells.wait_for_selector(f"thead th[data-key={key}].dt-ordering-asc")
    cells.go_back()
    cells.wait_for_selector(f"thead th[data-key={key}]:not(.dt-ordering-asc)")
    assert cells.locator("tr.dtrg-group").count() > 0
    cells.get_by_role("button", name="Reset").click()
    assert column(cells, "attack") == before
    assert "#" not in cells.url


def test_two_rows_are_compared_by_keyboard_alone_and_by_a_link(cells: "Page") -> None:
    key = number(cells)
    numbers = values(cells, key)
    first, second = [place for place, value in enumerate(numbers) if value is not None][:2]
    for place in (first, second):
        cells.locator("input.pick").nth(place).focus()
        cells.keyboard.press("Space")
    cells.get_by_role("button", name="Compare (2 of 2)").focus()
    cells.keyboard.press("Enter")
    dialog = cells.get_by_role("dialog")
    dialog.wait_for()
    title = cells.locator(f"thead th[data-key={key}]").first.inner_text().split("\n")[0]
    shown = dialog.get_by_role("row").filter(has=cells.get_by_role("rowheader", name=title, exact=True))
    one, other = numbers[first], numbers[second]
    assert one is not None
    assert other is not None
    says = shown.locator("td").last.inner_text().replace("\u2212", "-")
    assert says == "the same" if one == other else float(says) == pytest.approx(other - one, rel=1e-3)
    link = cells.url
    cells.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert cells.get_by_role("button", name="Compare (2 of 2)").evaluate("b => b === document.activeElement")
    cells.goto("about:blank")
    cells.goto(link)
    cells.get_by_role("dialog").wait_for()


def test_hostile_rows_of_a_shard_are_text_and_lead_nowhere(browser: "Browser", site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    for name in ("static", "vendor"):
        (folder / name).symlink_to(site / name)
    rows = [{"id": f"r{n}", "cells": [[HOSTILE, "javascript:alert(1)", None], [f"{n}", None, n]]} for n in range(300)]
    (folder / "rows.js").write_text(f"molebench.rows({json.dumps(rows)});", "utf-8")
    (folder / "index.html").write_text(PAGE.replace("SCRIPTS", scripts(site / "cells.html")), "utf-8")
    with serving(tmp_path) as address, visiting(browser, f"{address}/site/") as visit:
        page = visit.go("index.html#?t.page=2")
        assert page.locator("tbody tr[data-id]").count() == 100
        assert said(page) == "300 rows, page 2 of 3"
        assert page.locator("tbody img, tbody a").count() == 0
        assert page.locator("tbody tr[data-id] td").first.inner_text() == " ".join(HOSTILE.split())
        page.get_by_label("Search").fill("onerror &amp;")
        page.wait_for_function("document.querySelector('.count').textContent === '300 rows, page 1 of 3'")
        page.get_by_label("Group by").select_option("name")
        assert page.locator("tr.dtrg-group").inner_text() == f"name: {' '.join(HOSTILE.split())} (300 rows)"


PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>t</title>
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'">
<link rel="icon" href="static/icon.svg">
SCRIPTS</head><body><table class="enhanced" data-table="t" data-shards="rows.js"><caption>t</caption>
<thead><tr><th data-key="name" data-type="text">name</th><th data-key="n" data-type="number">n</th></tr></thead>
<tbody></tbody></table></body></html>"""


def scripts(page: Path) -> str:
    """The script elements of a page with tables."""
    return "".join(re.findall(r"<script [^>]*src=[^>]*></script>", page.read_text("utf-8")))


# Charts and colours


@pytest.fixture
def charted(browser: "Browser", served: str, site: Path) -> "Iterator[Page]":
    """A page with charts."""
    path = next(p for p in sorted(site.glob("*.html")) if 'class="chart"' in p.read_text("utf-8"))
    with visiting(browser, served, color_scheme="light") as visit:
        page = visit.go(path.name)
        page.locator("figure.chart").first.scroll_into_view_if_needed()
        page.wait_for_selector("figure.chart canvas")
        yield page


def test_a_chart_takes_its_picture_s_place_and_arrow_keys_read_it(charted: "Page") -> None:
    figure = charted.locator("figure.chart").filter(has=charted.locator("canvas")).first
    assert not figure.locator("img").is_visible()
    assert figure.get_by_role("application").get_attribute("aria-label") == figure.locator("img").get_attribute("alt")
    figure.get_by_role("application").focus()
    charted.keyboard.press("ArrowRight")
    assert figure.locator(".tip b").first.inner_text() != ""
    charted.keyboard.press("Escape")
    assert not figure.locator(".tip").is_visible()


def test_a_chosen_theme_holds_on_the_next_page_and_charts_follow_it(charted: "Page") -> None:
    picture = "document.querySelector('figure.chart canvas').toDataURL()"
    light = charted.evaluate(picture)
    button = charted.get_by_role("button", name="Theme:")
    for choice in ("light", "dark"):
        button.click()
        assert button.inner_text() == f"Theme: {choice}"
    charted.wait_for_function(f"before => {picture} !== before", arg=light)
    charted.reload()
    assert charted.evaluate("document.documentElement.dataset.theme") == "dark"
    assert charted.evaluate("getComputedStyle(document.body).colorScheme") == "dark"


# What is vendored


def test_vendored_files_are_those_that_the_readme_names() -> None:
    table: dict[str, Any] = dict(
        re.findall(r"^\| (\S+\.js) \|.*\| ([0-9a-f]{64}) \|$", (LEADERBOARD / "vendor" / "README.md").read_text(), re.M)
    )
    found = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in (LEADERBOARD / "vendor").glob("*.js")}
    assert found == table
    licences = set(re.findall(r"LICENSE\.\w+\.txt", (LEADERBOARD / "vendor" / "README.md").read_text()))
    assert licences == {f.name for f in (LEADERBOARD / "vendor").glob("LICENSE.*")}


def test_our_scripts_never_make_markup_or_code_of_text() -> None:
    for script in (LEADERBOARD / "static").glob("*.js"):
        text = script.read_text("utf-8")
        assert re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text) is None
        assert len(text.splitlines()) < 300
