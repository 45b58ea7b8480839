"""A site of a few real records, served below a sub-path, and a Chromium that writes down what goes wrong."""

import functools
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from molebench.leaderboard.build import assembled, files, write
from molebench.store import load_records
from tests.conftest import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

RESULTS = ROOT / "leaderboard" / "results"
PATIENCE = 120_000  # milliseconds: a loaded machine is slow, and not wrong
EACH = 4  # records of a scenario


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some committed records of every scenario with a chart of each kind, two folders below what is served."""
    store, out = tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("served") / "some" / "where"
    counts: dict[str, int] = {}
    for record in sorted(load_records(RESULTS), key=lambda record: record.key):
        counts[record.scenario] = counts.get(record.scenario, 0) + 1
        if counts[record.scenario] <= EACH:
            shutil.copytree(RESULTS / "cells" / record.key, store / "cells" / record.key)
    whole = assembled(store)
    charts = {chart.name.split("-")[0]: chart for chart in whole.charts}
    out.mkdir(parents=True)
    write(out, files(replace(whole, charts=list(charts.values()))))
    return out


class Quiet(SimpleHTTPRequestHandler):
    """Serves without a word."""

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="session")
def served(site: Path) -> Iterator[str]:
    """The site's address over http, below a sub-path."""
    top = site.parents[1]
    with serving(top) as address:
        yield f"{address}/{site.relative_to(top).as_posix()}/"


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A folder over http."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Visit:
    """A page in a window of its own, and what went wrong in it: console messages, errors, requests to elsewhere."""

    page: "Page"
    root: str
    problems: list[str] = field(default_factory=list)

    def go(self, path: str) -> "Page":
        """Opens a page of the site and waits until its tables are ready."""
        self.page.goto(self.root + path)
        self.page.wait_for_function(
            "[...document.querySelectorAll('table.enhanced')].every("
            "t => t.tBodies[0].rows.length < 2 || t.querySelector('.dt-column-order'))"
        )
        return self.page

    def requested(self, url: str) -> None:
        """Writes down what is asked of others."""
        if not url.startswith(self.root):
            self.problems.append(f"asked for {url}")


@contextmanager
def visiting(browser: "Browser", root: str, **options: Any) -> Iterator[Visit]:
    """A window; what went wrong in it is an error at its end."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE)
    visit = Visit(context.new_page(), root)
    visit.page.on("console", lambda message: visit.problems.append(f"{visit.page.url}: {message.type} {message.text}"))
    visit.page.on("pageerror", lambda error: visit.problems.append(f"{visit.page.url}: {error}"))
    visit.page.on("request", lambda request: visit.requested(request.url))
    visit.page.on("requestfailed", lambda request: visit.problems.append(f"failed: {request.url}"))
    try:
        yield visit
    finally:
        context.close()
    assert visit.problems == []


def kinds(site: Path) -> list[str]:
    """One page of each kind: those in the root are of the kind that their name begins with."""
    found: dict[str, str] = {}
    for page in sorted(site.rglob("*.html")):
        name = page.relative_to(site).as_posix()
        kind = name.split("/")[0] if "/" in name else name.removesuffix(".html").split("-")[0]
        if kind not in found or len(page.read_bytes()) > len((site / found[kind]).read_bytes()):
            found[kind] = name
    return sorted(found.values())
