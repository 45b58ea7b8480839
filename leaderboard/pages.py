"""Which pages there are: one function for each kind."""

from collections.abc import Iterator

from molebench.leaderboard.boards import boards
from molebench.leaderboard.cell import cell_pages
from molebench.leaderboard.cells import cells
from molebench.leaderboard.coverage import coverage
from molebench.leaderboard.glossary import glossary
from molebench.leaderboard.method import method
from molebench.leaderboard.overview import overview
from molebench.leaderboard.papers import papers
from molebench.leaderboard.site import Page, Site
from molebench.leaderboard.subjects import subjects
from molebench.leaderboard.threats import threats

KINDS = (overview, boards, subjects, cells, papers, threats, coverage, glossary, method, cell_pages)


def pages(site: Site) -> Iterator[Page]:
    """Every page of a site, one by one: there may be ten thousand."""
    for kind in KINDS:
        yield from kind(site)
