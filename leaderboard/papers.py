"""The papers' tables: each published number beside what the records of this store measured, from records alone.

A published row is about the records without a defense that have its attack, victim and dataset and every parameter that
it or its sweep file sets. A verdict is for the profile of the sweep file; other profiles are shown as what they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from molebench import places
from molebench.beside import Group, Line, compared, described, legend, own_control
from molebench.crossing import Names
from molebench.grid import MODELS
from molebench.leaderboard.naming import file_safe, paper_links, slug
from molebench.leaderboard.site import Page, Site, row_page
from molebench.leaderboard.tables import NOTHING, Cell, Column, Row, Table, figure
from molebench.models_table import families
from molebench.published import Published, PublishedRow
from molebench.record import Record
from molebench.report import number
from molebench.store import Store
from molebench.sweep_file import Sweep, load_sweep
from molebench.verdicts import all_figures

COLUMNS = (
    Column("row", "published row", wide=True),
    Column("metric", "metric"),
    Column("measured", "measured", numeric=True),
    Column("over", "over"),
    Column("published", "published", numeric=True),
    Column("verdict", "verdict"),
    Column("note", "note", wide=True),
)
SMALLER = "another profile"
MOST = 3  # groups of records shown of a published row


@dataclass(frozen=True)
class Told:
    """A line, and the address of the record behind it."""

    line: Line
    href: str = ""


@dataclass(frozen=True)
class Section:
    """A published table: what it is, how much of it was measured, and what the words mean."""

    anchor: str
    heading: str
    said: str
    links: Sequence[tuple[str, str]]
    legend: Sequence[str]
    table: Table


def papers(site: Site) -> Iterator[Page]:
    """papers.html."""
    sections = [section(site, stem, sweep, sweep.published) for stem, sweep in sweeps().items() if sweep.published]
    tables = tuple(each.table for each in sections)
    yield Page("papers.html", "papers.html.j2", "Papers' tables", {"sections": sections}, tables=tables)


@cache
def sweeps() -> Mapping[str, Sweep]:
    """The sweep files of this version that stand for a paper's table, by name."""
    files: dict[str, Path] = {f.stem: f for d in places.folders("benchmarks") for f in sorted(d.glob("*.yaml"))}
    found = {name: load_sweep(path) for name, path in sorted(files.items())}
    return {name: sweep for name, sweep in found.items() if sweep.published}


def section(site: Site, stem: str, sweep: Sweep, table: Published) -> Section:
    """A table of a paper."""
    told = [each for row in table.rows for each in row_lines(site, sweep, table, row)]
    told = sorted(told, key=lambda each: each.line.verdict == "not run")
    measured = sum(each.line.measured is not None and each.line.published is not None for each in told)
    missing = sum(each.line.verdict == "not run" for each in told)
    rows = tuple(Row(f"{file_safe(slug(stem))}-{n}", cells(each)) for n, each in enumerate(told))
    anchor = slug(stem)
    return Section(
        anchor=anchor,
        heading=f"{table.table} of {table.source}",
        said=f"{measured} numbers measured, {missing} not: sweep {stem}, profile {sweep.profile}.",
        links=paper_links(f"arXiv:{table.arxiv}") if table.arxiv else [],
        legend=list(legend([each.line for each in told], table)),
        table=Table(f"paper-{anchor}", f"{table.table}: measured beside published", COLUMNS, rows, files=True),
    )


def row_lines(site: Site, sweep: Sweep, table: Published, row: PublishedRow) -> Iterator[Told]:
    """The lines of a published row for each group of records that is about it, or that there is none."""
    there = families(about(site, sweep, table, row))
    there.sort(key=lambda records: records[0].cell["profile"] != sweep.profile)
    for records in there[:MOST]:
        yield from measured_lines(site, sweep, table, row, records)
    if not there:
        said = f"no record here (profile {sweep.profile}: molebench sweep benchmarks/{sweep.name}.yaml)"
        for name, value in all_figures(row).items():
            spread = row.spread.get(name)
            yield Told(Line(row.title, name, "not run", published=value, spread=spread, where=said))


def measured_lines(
    site: Site, sweep: Sweep, table: Published, row: PublishedRow, records: list[Record]
) -> Iterator[Told]:
    """The lines of one group of records over trials."""
    first = records[0]
    own = first.cell["profile"] == sweep.profile
    apart = site.row_of[first.key].apart
    where = described(row, first.cell["dataset"]["name"], Group(records, len(records), stale=False))
    where = "; ".join([where, f"profile {first.cell['profile']}", *(f"{n}={v}" for n, v in apart.items())])
    store = Store(site.folders[first.key].parent.parent) if first.key in site.folders else Store(Path())
    href = row_page([record.key for record in records])
    for line in (*compared(table, row, records, store), *own_control(row, records, store)):
        line = replace(line, where=where)
        yield Told(line if own or line.measured is None else replace(line, verdict=SMALLER, apart=""), href)


def about(site: Site, sweep: Sweep, table: Published, row: PublishedRow) -> list[Record]:
    """The records that a published row is about."""
    attack = table.attack_of(row)
    rows = site.subjects["attack"].get(attack, [])
    keys = (k for r in rows if r.names["victim"] == row.victim and r.names["dataset"] in row.ours for k in r.keys)
    found = (site.by_key[key] for key in keys)
    return [r for r in found if not r.cell["defenses"] and agrees(r.cell, asked(sweep, row, attack))]


def asked(sweep: Sweep, row: PublishedRow, attack: str) -> dict[str, Any]:
    """The parameters that the sweep file and the row set, trials aside."""
    shared = {**sweep.shared, **sweep.own(Names(attack, row.victim, ""))}
    usual = {name: values[0] for name, values in shared.items() if name != MODELS}
    return usual | {name: value for name, value in row.set.items() if name != MODELS}


def agrees(cell: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a cell has these values, of the parameters that it has at all."""
    for name, value in wanted.items():
        role, _, parameter = name.partition(".")
        own = (cell.get(role) or {}).get("parameters", {})
        if parameter in own and own[parameter] != value:
            return False
    return True


def cells(told: Told) -> tuple[Cell, ...]:
    """A line as cells."""
    line = told.line
    verdict = ", ".join(filter(None, (line.verdict, line.apart)))
    note = "; ".join(filter(None, (line.where, line.note)))
    measured = figure(line.measured, line.metric, told.href)
    return Cell(line.row), Cell(line.metric), measured, Cell(line.over), published(line), Cell(verdict), Cell(note)


def published(line: Line) -> Cell:
    """The paper's number, with its standard deviation where it gives one."""
    if line.published is None:
        return NOTHING
    spread = "" if line.spread is None else f"(sd {number(line.spread, line.metric)})"
    return Cell(number(line.published, line.metric), note=spread, value=line.published)
