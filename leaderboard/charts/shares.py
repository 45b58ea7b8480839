"""Poisons among the labels that an active learner buys, over its queries: the attack, its control, and a defense.

share after q queries = poisons among the labels bought so far / q
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from molebench import curves
from molebench.leaderboard.charts.chart import Chart, Value
from molebench.leaderboard.charts.groups import ARMS, Group, groups, subjects
from molebench.leaderboard.charts.lines import Frame, lines
from molebench.leaderboard.charts.looks import ARMS as LOOKS
from molebench.leaderboard.charts.words import figure, filed
from molebench.leaderboard.standings import Standings
from molebench.record import Record
from molebench.types import Array

TRACES = ("queries", "poisons", "accuracy")


def charts(records: Sequence[Record], folders: Mapping[str, Path], standings: Sequence[Standings]) -> Iterator[Chart]:
    """One for each cell (its seeds together) that injects anything."""
    del folders, standings
    for group in groups(records, "active"):
        if all(traced(record) for record in group.records) and curves.injecting(group.records):
            yield chart(group)


def traced(record: Record) -> bool:
    """Whether every arm's traces belong together: as many values each, at more and more queries."""
    found = [[arm.trace.get(name, []) for name in TRACES] for arm in record.arms.values()]
    whole = all(len({len(values) for values in each}) == 1 and len(each[0]) > 1 for each in found)
    return bool(found) and whole and all(each[0] == sorted(set(each[0])) for each in found)


def chart(group: Group) -> Chart:
    """The lines of a group's arms."""
    found = {curve.arm: curve for curve in curves.share(group.records) if curve.arm in ARMS}
    shown = [arm for arm in ARMS if arm in found]
    rows = [row for arm in shown for row in along(group, found[arm])]
    chance = curves.chance(group.records)
    bought = "" if chance is None else f" Labels bought at random would hold {chance:.1f} % of poisons."
    return lines(
        filed("shares", group.words, group.records[0].group),
        f"Poisons among the labels bought: {group.title}",
        f"Of all labels bought so far, the percentage that the attack (or its control) injected; {group.over}.{bought}",
        Frame(
            ("queries", "labels bought"),
            ("share", "poisons (% of labels bought so far)"),
            {ARMS[arm]: LOOKS[arm] for arm in shown},
            most=100,
        ),
        rows,
        subjects(group.records),
        {"round": ".1f"},
    )


def along(group: Group, curve: curves.Curve) -> Iterator[tuple[Value, ...]]:
    """The rows of an arm; the last number is the share in that round alone."""
    several = len(group.records) > 1
    x, latest = curves.aligned(group.records, curve.arm, lambda record: by_round(record, curve.arm), first=1)
    for i in range(len(x)):
        ends = (figure(curve.low[i]), figure(curve.high[i])) if several else (None, None)
        yield (ARMS[curve.arm], figure(x[i]), figure(curve.y[i]), *ends, figure(100 * float(latest[:, i].mean())))


def by_round(record: Record, arm: str) -> Float[Array, " t"]:
    """The share of poisons among the labels of each round."""
    new, bought = (np.diff(curves.traced(record, arm, name), prepend=0.0) for name in ("poisons", "queries"))
    return new / np.maximum(bought, 1.0)
