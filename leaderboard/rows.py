"""The board's rows: records in, text out. A row is a group of records that differ in their seed only.

What a row shows comes from its records alone, not from the code at hand: the same records make the same page.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from molebench.errors import MolebenchError
from molebench.metrics import definition
from molebench.record import Record
from molebench.report import FIRST, grouped, interval, number, over, over_seeds, whole
from molebench.stages import key

SETUP = ("attack", "victim", "dataset", "defenses", "profile")


@dataclass(frozen=True)
class Figure:
    """A number as text, with its interval."""

    value: str
    interval: str


@dataclass(frozen=True)
class Row:
    """names: attack, victim, dataset, defenses, profile. apart: the parameters that set it apart from its like."""

    names: dict[str, str]
    apart: dict[str, str]
    parameters: dict[str, str]
    seeds: dict[int, str]  # seed -> key of its record
    status: str
    tier: str
    over: str
    figures: dict[str, Figure]
    rankable: bool
    why: str  # it may not be ranked


@dataclass(frozen=True)
class Board:
    """Two tables: what may be ranked one day, and what is only shown. figures: the columns, with their meanings."""

    rows: list[Row]
    shown: list[Row]
    figures: dict[str, str]


def board(records: Iterable[Record]) -> Board:
    """The tables of a page."""
    groups = grouped(checked(records))
    alike = together(groups)
    rows = sorted((row(group, alike[setup(group[0])]) for group in groups), key=order)
    figures = {name: definition(name) for name in FIRST if any(name in r.figures for r in rows)}
    return Board([r for r in rows if r.rankable], [r for r in rows if not r.rankable], figures)


def checked(records: Iterable[Record]) -> list[Record]:
    """The records, once each is what its key, group and seed say: keys become file names, groups become rows."""
    seen: dict[str, Record] = {}
    for record in records:
        if record.key in seen or not consistent(record):
            raise MolebenchError(
                f"record {record.key[:12]!r} stands under a key, group or seed that is not its cell's; move it away"
            )
        seen[record.key] = record
    return list(seen.values())


def consistent(record: Record) -> bool:
    """Whether a record's cell has the shape of one, and its key, group and seed."""
    try:
        whole(record)
    except MolebenchError:
        return False
    group = key({name: value for name, value in record.cell.items() if name != "seed"})
    return record.key == key(record.cell) and record.group == group


def row(group: Sequence[Record], alike: Sequence[dict[str, str]]) -> Row:
    """One row. alike: the parameters of every row with the same names."""
    first, figures = group[0], over_seeds(group)
    own = parameters(first.cell)
    return Row(
        names=dict(zip(SETUP, setup(first), strict=True)),
        apart={name: value for name, value in own.items() if any(other.get(name) != value for other in alike)},
        parameters=own,
        seeds={record.seeds["cell"]: record.key for record in sorted(group, key=lambda r: r.seeds["cell"])},
        status=" ".join(sorted({record.status for record in group})),
        tier=", ".join(sorted({record.verification.tier for record in group})),
        over=over(group),
        figures={n: Figure(number(figures[n].value, n), interval(figures[n], n)) for n in FIRST if n in figures},
        rankable=all(record.rankable for record in group),
        why=why(group),
    )


def order(row: Row) -> tuple[str, ...]:
    """Where a row stands: no ranking, but the names in order and the parameters behind them."""
    names = (row.names[name] for name in ("dataset", "victim", "attack", "defenses", "profile"))
    return (*names, *(f"{name}={value}" for name, value in row.apart.items()))


def setup(record: Record) -> tuple[str, ...]:
    """A record's names, in the order of SETUP."""
    cell = record.cell
    defenses = " + ".join(part["name"] for part in cell["defenses"]) or "none"
    return (*(cell[role]["name"] for role in ("attack", "victim", "dataset")), defenses, cell["profile"])


def together(groups: Iterable[Sequence[Record]]) -> dict[tuple[str, ...], list[dict[str, str]]]:
    """The parameters of all groups that have the same names."""
    found: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for group in groups:
        found.setdefault(setup(group[0]), []).append(parameters(group[0].cell))
    return found


def parameters(cell: dict[str, Any]) -> dict[str, str]:
    """Every parameter of a cell, such as 'victim.head': 'nn1'."""
    parts = {role: cell[role] for role in ("dataset", "attack", "victim", "extractor", "scorer") if cell.get(role)}
    parts |= {part["name"]: part for part in cell["defenses"]}
    return {f"{role}.{name}": str(value) for role, part in parts.items() for name, value in part["parameters"].items()}


def why(group: Sequence[Record]) -> str:
    """What keeps a row out of a ranking, as its records say it."""
    barred = [record for record in group if not record.rankable]
    statuses = sorted({f"status {r.status}" for r in barred if r.status != "ok"})
    weights = ["random weights"] if any(w.source == "random" for r in barred for w in r.weights) else []
    warnings = sorted({warning for record in barred for warning in record.warnings})
    return "; ".join([*statuses, *weights, *warnings]) or "a part of it knows what no defense could know"
