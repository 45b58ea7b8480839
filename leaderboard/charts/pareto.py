"""Cost against robustness: what a defense costs where nothing attacks, and what the worst attack leaves of it.

    cost = accuracy, clean and defended - clean and undefended, in points
    score = min over attacks of Delta, in points

A defense is on the front where no other that can be compared is at least as good in both and better in one. Not
comparable is who was told the truth, is not healthy, has random weights, or has not met every attack.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from molebench.drawing import Look, inches
from molebench.leaderboard.charts import vega
from molebench.leaderboard.charts.chart import Chart, Value
from molebench.leaderboard.charts.drawing import keyed
from molebench.leaderboard.charts.forest import NOTHING, standing, where
from molebench.leaderboard.charts.groups import subjects
from molebench.leaderboard.charts.looks import GREY, encoded
from molebench.leaderboard.charts.words import distinct, figure, filed, plain
from molebench.leaderboard.standings import Entry, Interval, Standings
from molebench.record import Record
from molebench.worst_case import NONE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST, MOST = 2, 2000
MOST_NAMED = 40  # points that have their names beside them
COLUMNS = (
    "defense",
    "place",
    "cost",
    "cost_low",
    "cost_high",
    "score",
    "score_low",
    "score_high",
    "worst attack",
    "standing",
)
FRONT, BEHIND, BARE, APART = "on the front", "behind it", "no defense", "not comparable (see its standing)"
LOOKS = {
    FRONT: Look("#009E73", "-", "o"),
    BEHIND: Look("#0072B2", "-", "s"),
    BARE: Look("#D55E00", "-", "D"),
    APART: Look(GREY, "-", "^", hollow=True),
}
X, Y = "cost: Δ without attack (points)", "score: Δ under the worst attack (points)"


def charts(records: Sequence[Record], folders: Mapping[str, Path], standings: Sequence[Standings]) -> Iterator[Chart]:
    """One for each setting whose defenses have a cost, those of most defenses first."""
    del folders
    by_key = {record.key: record for record in records}
    for each in sorted(standings, key=lambda s: (-len(s.entries), s.setting.name)):
        if len(found := priced(each.entries)) >= LEAST:
            yield chart(each, found[:MOST], by_key)


def priced(entries: Sequence[Entry]) -> list[tuple[Entry, Interval]]:
    """The entries whose cost is known: no defense costs nothing."""
    free = Interval(0.0, 0.0, 0.0)
    known = [(entry, free if entry.defense == NONE else entry.cost) for entry in entries]
    return [(entry, cost) for entry, cost in known if cost is not None]


def chart(standings: Standings, found: Sequence[tuple[Entry, Interval]], by_key: Mapping[str, Record]) -> Chart:
    """The points of a setting."""
    names = distinct(NOTHING if entry.defense == NONE else entry.defense for entry, _ in found)
    ahead = front((cost.value, entry.score.value) for entry, cost in found if comparable(entry, by_key))
    rows = tuple(
        row(name, entry, cost, placed(entry, cost, ahead, by_key))
        for name, (entry, cost) in zip(names, found, strict=True)
    )
    every = [by_key[key] for entry, _ in found for met in entry.met for key in met.keys if key in by_key]
    left = len(standings.entries) - len(found)
    said = f" Without a known cost, and so left out: {left}." if left else ""
    return Chart(
        name=filed("pareto", [standings.setting.name], standings.setting.name),
        title=f"Cost against robustness: {where(standings)}",
        caption="Right: costs less where nothing attacks. Up: the worst attack does less. Thin lines: 95 % intervals; "
        f"the dotted line joins defenses that no other beats in both; names as far as there is room.{said}",
        columns=COLUMNS,
        rows=rows,
        subjects=(f"setting {standings.setting.name}", *subjects(every)),
        spec=specified(),
        draw=draw,
    )


def comparable(entry: Entry, by_key: Mapping[str, Record]) -> bool:
    """Whether an entry has met every attack, with records that count."""
    counts = (by_key[key].rankable for met in entry.met for key in met.keys if key in by_key)
    return not entry.missing and all(counts)


def placed(entry: Entry, cost: Interval, ahead: Container[tuple[float, float]], by_key: Mapping[str, Record]) -> str:
    """Where an entry stands on the chart."""
    if entry.defense == NONE:
        return BARE
    if not comparable(entry, by_key):
        return APART
    return FRONT if (cost.value, entry.score.value) in ahead else BEHIND


def row(name: str, entry: Entry, cost: Interval, place: str) -> tuple[Value, ...]:
    """An entry as a row."""
    costs = (figure(cost.value), figure(cost.low), figure(cost.high))
    scores = (figure(entry.score.value), figure(entry.score.low), figure(entry.score.high))
    return (name, place, *costs, *scores, plain(entry.worst), standing(entry))


def front(points: Iterable[tuple[float, float]]) -> set[tuple[float, float]]:
    """The points that no other beats: from the largest first number down, each with a larger second than all before."""
    best, ahead = float("-inf"), set()
    for point in sorted(points, reverse=True):
        if point[1] > best:
            ahead.add(point)
            best = point[1]
    return ahead


def specified() -> dict[str, Any]:
    """Crosses of intervals below points below names."""
    x, y = vega.axis("cost", X), vega.axis("score", Y)
    hue = encoded("place", LOOKS, ["color"])
    numbers = dict.fromkeys(COLUMNS[2:8], ".1f")
    tips = vega.tips(numbers, ["defense", "place", "worst attack", "standing"])
    thin = {"type": "rule", "opacity": 0.45}
    layers: list[vega.Json] = [
        {"mark": thin, "encoding": {"x": vega.axis("cost_low", X), "x2": {"field": "cost_high"}, "y": y, **hue}},
        {"mark": thin, "encoding": {"x": x, "y": vega.axis("score_low", Y), "y2": {"field": "score_high"}, **hue}},
        {
            "mark": {"type": "point", "filled": True, "opacity": 1, "size": vega.MARK},
            "encoding": {"x": x, "y": y, **encoded("place", LOOKS, ["color", "shape"]), "tooltip": tips},
        },
    ]
    ahead = {"filter": {"field": "place", "equal": FRONT}}
    dotted = {"type": "line", "strokeDash": [2, 4], "strokeWidth": 1, "color": LOOKS[FRONT].colour}
    layers.append({"transform": [ahead], "mark": dotted, "encoding": {"x": x, "y": y}})
    text = {"type": "text", "align": "right", "dx": -7, "dy": -7, "fontSize": 11, "limit": 160}
    named = {"filter": {"field": "place", "oneOf": [FRONT, BARE]}}
    words = {"x": x, "y": y, "text": {"field": "defense", "type": "nominal"}}
    layers.append({"transform": [named], "mark": text, "encoding": words})
    return vega.layered(layers, 380)


def draw(chart: Chart) -> "Figure":
    """The same on paper."""
    from molebench.mole_drawing import framed

    page, (axes,) = framed(1, chart.title, chart.caption, 4.4)
    rows: list[tuple[Any, ...]] = list(chart.rows)
    for place, look in LOOKS.items():
        mine = [row for row in rows if row[1] == place]
        crosses(axes, mine, look)
    ahead = sorted((row[2], row[5]) for row in rows if row[1] == FRONT)
    if len(ahead) > 1:
        axes.plot(*zip(*ahead, strict=True), color=LOOKS[FRONT].colour, linestyle=":", linewidth=1, zorder=1)
    axes.set(xlabel=X, ylabel=Y)
    keyed(page, most=4)
    page.draw_without_rendering()  # now it is known what is where
    labelled(axes, sorted(rows, key=lambda row: (row[1] not in (FRONT, BARE), -row[5], row[0])))
    return page


def labelled(axes: "Axes", rows: Sequence[tuple[Any, ...]]) -> None:
    """Names beside their points, as far as they have room: those of the front first."""
    from matplotlib.transforms import Bbox

    scale = axes.figure.dpi / 72
    marks = [axes.transData.transform((row[2], row[5])) for row in rows]
    taken = [Bbox.from_extents(x - 4 * scale, y - 4 * scale, x + 4 * scale, y + 4 * scale) for x, y in marks]
    for row, (x, y) in zip(rows[:MOST_NAMED], marks, strict=False):
        wide = 72 * inches(str(row[0]))
        for right, up in ((True, 3), (False, 3), (True, -9), (False, -9)):
            left = 6 if right else -6 - wide
            box = Bbox.from_bounds(x + left * scale, y + up * scale, wide * scale, 8 * scale)
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
            if inside and not any(box.overlaps(other) for other in taken):
                said = axes.annotate(str(row[0]), (row[2], row[5]), (left, up), textcoords="offset points")
                said.set_in_layout(False)
                taken.append(box)
                break


def crosses(axes: "Axes", rows: Sequence[tuple[Any, ...]], look: Look) -> None:
    """Points with both their intervals."""
    for row in rows:
        if None not in row[3:5]:
            axes.hlines(row[5], row[3], row[4], color=look.colour, linewidth=0.7, alpha=0.5)
        if None not in row[6:8]:
            axes.vlines(row[2], row[6], row[7], color=look.colour, linewidth=0.7, alpha=0.5)
    if rows:
        x, y = [row[2] for row in rows], [row[5] for row in rows]
        face = "white" if look.hollow else look.colour
        axes.plot(x, y, look.marker, color=look.colour, markerfacecolor=face, markersize=5, label=rows[0][1])
