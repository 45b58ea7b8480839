"""All rows of the store: records that differ in their seed together, 500 a page, and all of them for the script."""

from collections.abc import Iterator, Sequence

from molebench.leaderboard.naming import slug
from molebench.leaderboard.rows import Row
from molebench.leaderboard.site import Crumb, File, Page, Site, cell_page, row_page, subject_page
from molebench.leaderboard.tables import Cell, Column, Link, Table, figure, listed, shard
from molebench.leaderboard.tables import Row as Line

PER_PAGE = 500
PER_SHARD = 1000
NAMES = ("attack", "victim", "dataset", "defenses", "profile", "parameters")
BEHIND = ("over", "seeds", "status", "why")


def cells(site: Site) -> Iterator[Page]:
    """cells.html, cells-2.html, ..."""
    columns, shards = columns_of(site), tuple(shard_path(n) for n, _ in enumerate(parts(site.rows, PER_SHARD)))
    pages = [tuple(line(row, columns) for row in part) for part in parts(site.rows, PER_PAGE)]
    for n, lines in enumerate(pages):
        caption = f"Rows {n * PER_PAGE + 1} to {n * PER_PAGE + len(lines)} of {len(site.rows)}"
        made = Table(name(n).removesuffix(".html"), caption, columns, lines, shards if len(pages) > 1 else ())
        context = {"table": made, "here": n, "pages": [name(i) for i in range(len(pages))], "count": len(site.rows)}
        crumbs = (Crumb("All cells", "cells.html"),) if n else ()
        yield Page(name(n), "cells.html.j2", "All cells" + (f", page {n + 1}" if n else ""), context, crumbs)


def shards(site: Site) -> Iterator[File]:
    """data/rows-1.js, ...: nothing where one page holds all rows."""
    if len(site.rows) > PER_PAGE:
        columns = columns_of(site)
        for n, part in enumerate(parts(site.rows, PER_SHARD)):
            yield File(shard_path(n), shard([line(row, columns) for row in part]).encode())


def parts(rows: Sequence[Row], size: int) -> list[tuple[Row, ...]]:
    """The rows, so many at a time; one empty part where there are none."""
    return [tuple(rows[i : i + size]) for i in range(0, len(rows), size)] or [()]


def name(n: int) -> str:
    """The file of a page, counted from 0."""
    return f"cells-{n + 1}.html" if n else "cells.html"


def shard_path(n: int) -> str:
    """The file of a shard, counted from 0."""
    return f"data/rows-{n + 1}.js"


def columns_of(site: Site) -> tuple[Column, ...]:
    """Names, the main figures that some row has, and what is to know of the rest."""
    figures = (Column(slug(n), n, numeric=True, help=f"metrics.html#{n}") for n in site.figures)
    behind = (Column("over", "intervals over"), Column("seeds", "seeds"), Column("status", "status"))
    names = (Column(n, n, wide=n == "parameters") for n in NAMES)
    return (*names, *figures, *behind, Column("why", "why it is not ranked", wide=True))


def line(row: Row, columns: Sequence[Column]) -> Line:
    """A row in these columns."""
    href = row_page(row.keys)
    figures = [c.title for c in columns[len(NAMES) : -len(BEHIND)]]
    names = (Cell(row.names[kind], subject_page(kind, row.names[kind])) for kind in ("attack", "victim", "dataset"))
    apart = " ".join(f"{n}={value}" for n, value in row.apart.items())
    seeds = listed((Link(str(seed), cell_page(key)) for seed, key in row.seeds.items()), float(len(row.seeds)))
    return Line(
        row.keys[0],
        (
            *names,
            defenses(row),
            Cell(row.names["profile"]),
            Cell(apart),
            *(figure(row.figures.get(n), n, href) for n in figures),
            Cell(row.over),
            seeds,
            Cell(row.status),
            Cell(row.why),
        ),
    )


def defenses(row: Row) -> Cell:
    """The defenses of a row, each with its page."""
    return listed(Link(part, subject_page("defense", part)) for part in row.parts)
