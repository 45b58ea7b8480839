"""Damage by susceptibility: Delta of the attacked class against rho of its pair, a point a pair.

rho is a percentile of P(attacked class | x) over the confounding class's pool: how good the best moles are.

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment", arXiv:2303.17080, section 3.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from molebench.leaderboard.charts import vega
from molebench.leaderboard.charts.chart import Chart, Value
from molebench.leaderboard.charts.drawing import keyed
from molebench.leaderboard.charts.groups import ARMS, Group, groups, sound, subjects
from molebench.leaderboard.charts.looks import ARMS as LOOKS
from molebench.leaderboard.charts.looks import GREY, encoded
from molebench.leaderboard.charts.words import distinct, figure, filed
from molebench.leaderboard.standings import Standings
from molebench.pair_deltas import of_class
from molebench.record import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST, MOST = 3, 2000  # points of a chart
COLUMNS = ("arm", "attacked", "confounding", "rho", "delta", "moles", "updates")
Point = tuple[str, str, str, int]  # arm, attacked, confounding, moles


def charts(records: Sequence[Record], folders: Mapping[str, Path], standings: Sequence[Standings]) -> Iterator[Chart]:
    """One for each group with updates of one pair each whose rho is known."""
    del folders, standings
    for group in groups(records, "offline"):
        if all(sound(record) for record in group.records):
            found = points(group.records)
            if len({point[1:3] for point in found}) >= LEAST:
                yield chart(group, found)


def points(records: Sequence[Record]) -> dict[Point, list[tuple[float, float]]]:
    """(rho, Delta) of every pair at every size under each arm, over records."""
    found: dict[Point, list[tuple[float, float]]] = {}
    for record in records:
        before, classes = record.arms["clean_undefended"], record.data.classes
        place = {name: i for i, name in enumerate(classes)}
        for update in record.updates:
            if len(update.pairs) == 1 and update.moles and (rho := update.pairs[0].rho) is not None:
                pair = update.pairs[0]
                for arm in (arm for arm in ARMS if arm in update.arms):
                    delta = of_class(before, update.arms[arm], place[pair.attacked])
                    if delta is not None:
                        found.setdefault((arm, pair.attacked, pair.confounding, update.moles), []).append((rho, delta))
    return found


def chart(group: Group, found: Mapping[Point, Sequence[tuple[float, float]]]) -> Chart:
    """The points of a group."""
    order = list(ARMS)
    chosen = sorted(found, key=lambda p: (order.index(p[0]), np.mean([d for _, d in found[p]]), p))[:MOST]
    classes = group.records[0].data.classes
    word = dict(zip(classes, distinct(classes), strict=True))
    rows = tuple(row(point, found[point], word) for point in chosen)
    arms = [arm for arm in ARMS if ARMS[arm] in {r[0] for r in rows}]
    left = f" {len(found) - len(rows)} of {len(found)} points are left out." if len(found) > len(rows) else ""
    return Chart(
        name=filed("rho", group.words, group.records[0].group),
        title=f"Δ by ρ̃ of the pair: {group.title}",
        caption="A point a pair of classes (and N): change of the attacked class in points (a drop is negative) over "
        "the pair's ρ̃, how surely the best moles of the confounding class pass for the attacked one; "
        f"mean over seeds ({len(group.records)}).{left}",
        columns=COLUMNS,
        rows=rows,
        subjects=subjects(group.records),
        spec=specified(arms),
        draw=draw,
    )


def row(point: Point, values: Sequence[tuple[float, float]], word: Mapping[str, str]) -> tuple[Value, ...]:
    """A point as a row."""
    arm, attacked, confounding, moles = point
    rho, delta = np.mean(values, axis=0).tolist()
    return (ARMS[arm], word[attacked], word[confounding], figure(rho), figure(delta), moles, len(values))


def specified(arms: Sequence[str]) -> dict[str, Any]:
    """Points that say what they are."""
    numbers = {"rho": ".2f", "delta": ".1f", "moles": "d"}
    encoding = {
        "x": vega.axis("rho", "ρ̃ of the pair"),
        "y": vega.axis("delta", "Δ of the attacked class (points)"),
        **encoded("arm", {ARMS[arm]: LOOKS[arm] for arm in arms}, ["color", "shape"]),
        "tooltip": vega.tips(numbers, ["arm", "attacked", "confounding"]),
    }
    mark = {"type": "point", "filled": True, "opacity": 0.75, "size": vega.MARK}
    return vega.layered([vega.at("y"), {"mark": mark, "encoding": encoding}], 320)


def draw(chart: Chart) -> "Figure":
    """The same on paper."""
    from molebench.mole_drawing import framed

    figure, (axes,) = framed(1, chart.title, chart.caption, 3.4)
    for arm, name in ARMS.items():
        look, mine = LOOKS[arm], [(r[3], r[4]) for r in chart.rows if r[0] == name]
        if mine:
            x, y = zip(*mine, strict=True)
            axes.plot(x, y, look.marker, color=look.colour, markersize=4, alpha=0.75, linestyle="none", label=name)
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.set(xlabel="ρ̃ of the pair", ylabel="Δ of the attacked class (points)")
    keyed(figure)
    return figure
