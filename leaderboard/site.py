"""The site as a value: the records and what is made of them, and the nouns of what is written.

Addresses in pages begin at the site's root; a page in a folder puts `../` before them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from molebench.leaderboard.charts.chart import Chart
from molebench.leaderboard.figures import Figure, figure
from molebench.leaderboard.naming import slug
from molebench.leaderboard.plugins import KINDS, Card, card, installed
from molebench.leaderboard.rows import SHOWN, Row, rows
from molebench.leaderboard.standings import Standings
from molebench.leaderboard.tables import Table
from molebench.record import Record
from molebench.store import Attempt
from molebench.submission.form import Form

SCENARIOS = ("active", "offline", "continual")
SUBJECTS = {"attack": "attacks", "victim": "victims", "defense": "defenses", "dataset": "datasets"}


@dataclass(frozen=True)
class Crumb:
    """A step on the way from the first page to this one."""

    text: str
    href: str


@dataclass(frozen=True)
class Page:
    """path: of its file, from the root. template: in templates/. context: what the template is given.

    tables: which of its tables can be had as CSV and LaTeX.
    """

    path: str
    template: str
    title: str
    context: Mapping[str, Any]
    crumbs: tuple[Crumb, ...] = ()
    tables: tuple[Table, ...] = ()

    @property
    def root(self) -> str:
        """What leads from the page back to the site's root."""
        return "../" * self.path.count("/")


@dataclass(frozen=True)
class File:
    """A file that is no page."""

    path: str
    content: bytes


@dataclass(frozen=True)
class Failure:
    """A cell that has no record although it was tried. cell: what was tried, where its file says so."""

    key: str
    cell: Mapping[str, Any]
    attempts: Sequence[Attempt]


@dataclass(frozen=True, eq=False)
class Site:
    """All that the pages are made of. By key: folders of the records, tiers: how far somebody else checked them, and
    invalid: why they count no more. forms: of submissions, by slug."""

    records: Sequence[Record]
    folders: Mapping[str, Path] = field(default_factory=dict)
    standings: Sequence[Standings] = ()
    charts: Sequence[Chart] = ()
    failures: Sequence[Failure] = ()
    tiers: Mapping[str, str] = field(default_factory=dict)
    invalid: Mapping[str, str] = field(default_factory=dict)
    forms: Mapping[str, Form] = field(default_factory=dict)

    @cached_property
    def rows(self) -> list[Row]:
        """Groups of records, seeds together."""
        return rows(self.records)

    @cached_property
    def figures(self) -> list[str]:
        """The figures that some row has."""
        there = {name for row in self.rows for name in row.figures}
        return [name for name in SHOWN if name in there]

    @cached_property
    def row_of(self) -> dict[str, Row]:
        """The row of each record, by key."""
        return {key: row for row in self.rows for key in row.keys}

    @cached_property
    def by_key(self) -> dict[str, Record]:
        """The records."""
        return {record.key: record for record in self.records}

    @cached_property
    def subjects(self) -> dict[str, dict[str, list[Row]]]:
        """By kind and name, the rows that are about it."""
        found: dict[str, dict[str, list[Row]]] = {kind: {} for kind in KINDS}
        for row in self.rows:
            for kind in KINDS:
                for name in dict.fromkeys(row.parts if kind == "defense" else (row.names[kind],)):
                    found[kind].setdefault(name, []).append(row)
        return {kind: dict(sorted(names.items())) for kind, names in found.items()}

    @cached_property
    def cards(self) -> dict[str, dict[str, Card | None]]:
        """By kind and name, the card of everything that has records or is installed; None where it is not."""
        found = {kind: installed(kind) for kind in KINDS}
        more = {kind: {n: card(kind, n) for n in self.subjects[kind] if n not in found[kind]} for kind in KINDS}
        return {kind: dict(sorted((found[kind] | more[kind]).items())) for kind in KINDS}

    @cached_property
    def scenarios(self) -> list[str]:
        """Those that have records: ours in their order, and others behind them."""
        there = {record.scenario for record in self.records}
        return [s for s in SCENARIOS if s in there] + sorted(there - set(SCENARIOS))

    def board(self, scenario: str) -> list[Standings]:
        """A scenario's standings."""
        return [each for each in self.standings if each.setting.scenario == scenario]

    def tier(self, key: str) -> str:
        """How far somebody else has checked a record, which cannot say that of itself."""
        tier = self.tiers.get(key, "claimed")
        return f"{tier}, and found invalid: {self.invalid[key]}" if key in self.invalid else tier

    @cached_property
    def drawn(self) -> list[tuple[Chart, Figure]]:
        """Each chart as pages hold it."""
        return [(chart, figure(chart)) for chart in self.charts]

    def figures_of(self, subject: str) -> list[Figure]:
        """The charts that stand on a subject's page, such as 'attack feature_collision'."""
        return [figure for chart, figure in self.drawn if subject in chart.subjects]


def cell_page(key: str) -> str:
    """The address of a record's page."""
    return f"cell/{key}.html"


def row_page(row_keys: Sequence[str]) -> str:
    """The address of what a number over seeds was made from: the first record's page, which names the others."""
    return cell_page(row_keys[0]) + ("#seeds" if len(row_keys) > 1 else "")


def subject_page(kind: str, name: str) -> str:
    """The address of the page of an attack, victim, defense or dataset."""
    return f"{kind}-{slug(name)}.html"


def board_page(scenario: str) -> str:
    """The address of a scenario's board."""
    return f"board-{slug(scenario)}.html"


def numbered(count: int, noun: str) -> str:
    """'1 record', '2 records'."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def several(words: Iterable[str], nothing: str = "nothing") -> str:
    """'a, b', or a word for none."""
    return ", ".join(words) or nothing
