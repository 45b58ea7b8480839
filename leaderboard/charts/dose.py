"""Dose and response: what an attack does to accuracy, over the one number in which its cells differ.

Cells that are alike but for one numeric parameter of the attack (moles N, poisons, least rho, ...) make a chart: Delta
against that number, of the attack, of its control, and behind a defense.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from molebench.leaderboard.charts.chart import Chart, Value
from molebench.leaderboard.charts.groups import DELTAS, Group, groups, metric, subjects
from molebench.leaderboard.charts.lines import Frame, lines, spans
from molebench.leaderboard.charts.looks import ARMS as LOOKS
from molebench.leaderboard.charts.words import figure, filed, plain, several
from molebench.leaderboard.standings import Standings
from molebench.pair_deltas import model
from molebench.record import Record
from molebench.stages import key
from molebench.stats import trial_interval

LEAST = 2  # doses that make a line
SERIES = {
    "attack, undefended": ("", "poisoned_undefended"),
    "attack, defended": ("_defended", "poisoned_defended"),
    "control, undefended": ("_control", "control_undefended"),
}


@dataclass(frozen=True)
class Family:
    """Groups by the value of a parameter of their attack, in order of it."""

    parameter: str
    doses: Mapping[float, Group]

    @property
    def records(self) -> list[Record]:
        """Of all its groups."""
        return [record for group in self.doses.values() for record in group.records]


def charts(records: Sequence[Record], folders: Mapping[str, Path], standings: Sequence[Standings]) -> Iterator[Chart]:
    """One for each family of cells, those of most records first."""
    del folders, standings
    found = families(groups(records, "active", "offline", "continual"))
    yield from (made for family in found if (made := chart(family)))


def families(found: Sequence[Group]) -> list[Family]:
    """Groups that differ in one number of their attack alone."""
    together: dict[tuple[str, str], dict[float, Group]] = {}
    for group in found:
        for name, value in numbers(group.records[0].cell["attack"]["parameters"]):
            together.setdefault((name, without(group.records[0].cell, name)), {}).setdefault(value, group)
    made = [Family(name, dict(sorted(doses.items()))) for (name, _), doses in together.items() if len(doses) >= LEAST]
    return sorted(made, key=order)


def order(family: Family) -> tuple[object, ...]:
    """Those of most records first, among equals those without a defense."""
    first = family.records[0]
    return -len(family.records), bool(first.cell["defenses"]), family.parameter, first.group


def numbers(parameters: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The parameters that are numbers which a chart can show."""
    for name, value in parameters.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and figure(value) is not None:
            yield name, float(value)


def without(cell: Mapping[str, Any], name: str) -> str:
    """What the cells of a family have in common."""
    rest = {n: v for n, v in cell["attack"]["parameters"].items() if n != name}
    return key({**cell, "attack": {**cell["attack"], "parameters": rest}, "seed": 0})


def chart(family: Family) -> Chart | None:
    """Delta over dose; None where records hold no such figure."""
    rows = [row for name, (suffix, _) in SERIES.items() for row in responses(family, name, suffix)]
    held = {row[0] for row in rows}
    if not rows:
        return None
    first, n = next(iter(family.doses.values())), sorted({len(group.records) for group in family.doses.values()})
    said = f"attack.{plain(family.parameter)}"
    seeds = (
        "one seed" if n == [1] else f"mean of {several(n[0], 'seed')}" if len(n) == 1 else f"{n[0]} to {n[-1]} seeds"
    )
    axes = (("dose", said), ("delta", DELTAS.get(metric(first.records[0]) or "", "Δ (points)")))
    return lines(
        filed("dose", [family.parameter, *first.words], [family.parameter, first.records[0].group]),
        f"Response to {said}: {Group(first.records, {}).title}",
        f"Change of accuracy in points (a drop is negative) over {said}, all else alike; {seeds} a point, "
        "bands: 95 % intervals over seeds, or over test items where there is one seed.",
        Frame(
            *axes, {name: LOOKS[arm] for name, (_, arm) in SERIES.items() if name in held}, True, spans([*family.doses])
        ),
        rows,
        subjects(family.records),
        {"seeds": "d"},
    )


def responses(family: Family, name: str, suffix: str) -> Iterator[tuple[Value, ...]]:
    """The rows of a line."""
    for dose, group in family.doses.items():
        held = metric(group.records[0], suffix)
        having = [record for record in group.records if held in record.metrics]
        if held and having:
            yield (name, figure(dose), *interval(having, held), len(having))


def interval(records: Sequence[Record], name: str) -> tuple[float | None, float | None, float | None]:
    """A metric over seeds with its interval; of one record its own, over test items."""
    first = records[0].metrics[name]
    if len(records) == 1:
        return figure(first.value), figure(first.low), figure(first.high)
    mean, low, high = trial_interval([r.metrics[name].value for r in records], [model(r) for r in records])
    return figure(mean), figure(low), figure(high)
