"""One browser for all tests of a process: two at once would share Playwright's event loop."""

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Debian's Chromium, or another that is installed."""
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install 'molebench[dev]'")
    program = next((found for found in map(shutil.which, ("/usr/bin/chromium", *PROGRAMS)) if found), None)
    if program is None:
        pytest.skip("no Chromium or Chrome is installed")
    with api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield made
        made.close()
