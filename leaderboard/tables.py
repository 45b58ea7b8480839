"""A table of the site: once made, it is HTML, rows for the script, CSV, LaTeX and JSON.

Addresses in it begin at the site's root: cell/<key>.html.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from molebench.leaderboard.naming import readable
from molebench.record import MetricValue
from molebench.report import interval, number, rendered

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute
HTML = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


@dataclass(frozen=True, slots=True)
class Column:
    """key: file-safe and unique in a table. note: behind the title, smaller. help: where its meaning is said."""

    key: str
    title: str
    numeric: bool = False
    help: str = ""
    wide: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A text and where it leads."""

    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Cell:
    """text leads to href, if there is one. note: behind it, smaller. value: to sort and compute by, with its interval.

    links: several, in place of text and href.
    """

    text: str
    href: str = ""
    note: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A row; its first cell is its head."""

    id: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """slug: file-safe and unique on the site. shards: scripts that hold all its rows, where a page does not show all.

    files: whether it can be had as CSV and LaTeX. enhanced: whether the script may sort, filter and search it.
    anchored: whether a row can be led to by its id, which then is file-safe.
    """

    slug: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    shards: tuple[str, ...] = ()
    files: bool = False
    enhanced: bool = True
    anchored: bool = False


NOTHING = Cell("–")


def figure(value: MetricValue | None, name: str, href: str = "") -> Cell:
    """A measured number with its interval, or that there is none."""
    if value is None:
        return NOTHING
    return Cell(number(value.value, name), href, interval(value, name), value.value, value.low, value.high)


def points(value: float, low: float, high: float, href: str = "") -> Cell:
    """A Delta in points with its interval."""
    return Cell(number(value, "delta"), href, f"[{number(low, 'delta')}, {number(high, 'delta')}]", value, low, high)


def whole(value: int, href: str = "") -> Cell:
    """A count."""
    return Cell(str(value), href, value=float(value))


def listed(links: Iterable[Link], value: float | None = None) -> Cell:
    """Several links in one cell."""
    found = tuple(links)
    text = " ".join(link.text for link in found)
    return Cell(text, found[0].href if found else "", value=value, links=found if len(found) > 1 else ())


# Other forms


def script_json(value: Any) -> str:
    """JSON that may stand in a script element: no letter in it that HTML reads, none beyond ASCII."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).translate(HTML)


def shard(rows: Sequence[Row]) -> str:
    """A script that hands rows to the table's script; a page opened from a disk can fetch nothing."""
    plain = [{"id": row.id, "cells": [shown(cell) for cell in row.cells]} for row in rows]
    return f"molebench.rows({script_json(plain)});\n"


def shown(cell: Cell) -> list[Any]:
    """Text, address and sort value of a cell."""
    return [readable(words(cell)), cell.href or None, cell.value]


def words(cell: Cell) -> str:
    """A cell as text."""
    return f"{cell.text} {cell.note}".strip()


def safe(value: str | float | int | None) -> str | float | int | None:
    """A CSV field that no spreadsheet computes; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    return f"'{readable(value)}" if value.startswith(FORMULA) else readable(value)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[str | float | int | None]]) -> str:
    """CSV with safe fields."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([safe(name) for name in header])
    writer.writerows([safe(value) for value in row] for row in rows)
    return out.getvalue()


def as_csv(table: Table) -> str:
    """The table for programs: a number is followed by the ends of its interval, if any row has one."""
    spans = {i for row in table.rows for i, cell in enumerate(row.cells) if cell.low is not None}
    names = [[c.key, f"{c.key}_low", f"{c.key}_high"] if i in spans else [c.key] for i, c in enumerate(table.columns)]
    rows = (
        [field for i, cell in enumerate(row.cells) for field in fields(cell, table.columns[i].numeric, i in spans)]
        for row in table.rows
    )
    return csv_text([name for each in names for name in each], rows)


def fields(cell: Cell, numeric: bool, span: bool) -> list[str | float | None]:
    """A cell's fields in CSV."""
    first = cell.value if numeric else words(cell)
    return [first, cell.low, cell.high] if span else [first]


def as_latex(table: Table) -> str:
    """The table for papers."""
    header = [readable(f"{column.title} {column.note}".strip()) for column in table.columns]
    return rendered(header, [[readable(words(cell)) for cell in row.cells] for row in table.rows], "latex") + "\n"
