"""Every metric with its meaning, as the code that computes it says it."""

from collections import Counter
from collections.abc import Iterable, Iterator

from molebench.leaderboard.site import Page, Site
from molebench.leaderboard.tables import Cell, Column, Row, Table, whole
from molebench.metrics import DEFINITIONS, SUFFIXES, definition
from molebench.report import FIRST

COLUMNS = (
    Column("name", "metric"),
    Column("meaning", "meaning", wide=True),
    Column("records", "records that hold it", numeric=True),
)


def glossary(site: Site) -> Iterator[Page]:
    """metrics.html."""
    counts = Counter(name for record in site.records for name in record.metrics)
    names = known(counts)
    rows = tuple(Row(name, (Cell(name), Cell(definition(name)), whole(counts[name]))) for name in names)
    table = Table("metrics", f"{len(names)} metrics", COLUMNS, rows, enhanced=False, anchored=True)
    yield Page("metrics.html", "metrics.html.j2", "Metrics", {"table": table, "suffixes": SUFFIXES})


def known(counts: Iterable[str]) -> list[str]:
    """Those that the code defines, those with suffixes that a table shows, and what else the records hold of them."""
    held = sorted(name for name in counts if means(name))
    return list(dict.fromkeys([*FIRST, *DEFINITIONS, *held]))


def means(name: str) -> bool:
    """Whether the code knows a metric."""
    try:
        return bool(definition(name))
    except KeyError:
        return False
