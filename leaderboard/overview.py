"""The first page: what this is, how to read it, how to take part, and the head of every board."""

from collections import Counter
from collections.abc import Iterator

from molebench.leaderboard.boards import FIRST, anchor, defense, group, measured, place, title, worst_page
from molebench.leaderboard.naming import file_safe, slug
from molebench.leaderboard.site import SUBJECTS, Page, Site, board_page
from molebench.leaderboard.standings import Standings
from molebench.leaderboard.tables import Cell, Column, Row, Table, whole

BEST = 3  # entries shown of a setting
MOST = 8  # settings shown of a scenario
COLUMNS = (
    Column("setting", "setting", wide=True),
    *FIRST,
    Column("seeds", "seeds", numeric=True),
    Column("state", "state", help="method.html#states"),
)


def overview(site: Site) -> Iterator[Page]:
    """index.html."""
    states = Counter(entry.state for standings in site.standings for entry in standings.entries)
    context = {
        "counts": counts(site),
        "states": {state: states[state] for state in ("ranked", "provisional", "shown")},
        "boards": [(scenario, board_page(scenario), short(site, scenario)) for scenario in site.scenarios],
        "unhealthy": sum(not row.rankable for row in site.rows),
        "shown": MOST,
    }
    yield Page("index.html", "index.html.j2", "Results", context)


def counts(site: Site) -> list[tuple[str, int, str]]:
    """How much there is of everything, and where."""
    lists = [(kinds, len(site.subjects[kind]), f"{kinds}.html") for kind, kinds in SUBJECTS.items()]
    failed = [("failed cells", len(site.failures), "coverage.html#failures")] if site.failures else []
    rows = ("cells, seeds together", len(site.rows), "cells.html")
    return [("records", len(site.records), "data/records.csv"), rows, *lists, *failed]


def short(site: Site, scenario: str) -> Table:
    """The best entries of a scenario's first settings."""
    settings = sorted(site.board(scenario), key=telling)[:MOST]
    return Table(
        slug=f"short-{slug(scenario)}",
        caption=f"{scenario}: the first {BEST} of the settings with most defenses",
        columns=COLUMNS,
        rows=tuple(row for standings in settings for row in best(standings)),
        enhanced=False,
    )


def telling(standings: Standings) -> tuple[int, int]:
    """A key to sort settings by: those with most ranked entries first, then those with most entries."""
    return -sum(entry.state == "ranked" for entry in standings.entries), -len(standings.entries)


def best(standings: Standings) -> Iterator[Row]:
    """The head of a setting's board."""
    name = file_safe(standings.setting.name)
    where = f"{board_page(standings.setting.scenario)}#{anchor(standings)}"
    for entry in standings.entries[:BEST]:
        cells = (
            Cell(title(standings), where),
            defense(entry),
            place(entry),
            group(entry),
            measured(entry.score, worst_page(entry)),
            Cell(entry.worst),
            whole(entry.seeds),
            Cell(entry.state),
        )
        yield Row(f"{name}-{slug(entry.defense)}", cells)
