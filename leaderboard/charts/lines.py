"""Charts of lines with bands, one a series: what dose, sizes, shares and courses look like.

Rows are (line, x, y, low, high, ...): low and high are None where there is no interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from molebench.drawing import Look
from molebench.leaderboard.charts import vega
from molebench.leaderboard.charts.chart import Chart, Value
from molebench.leaderboard.charts.drawing import keyed
from molebench.leaderboard.charts.looks import GREY, encoded

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES = 12
MOST_BANDS = 4  # lines, of which bands can be told apart
LOGARITHMIC = 8  # times, from which on an axis is one of powers


@dataclass(frozen=True)
class Frame:
    """x, y: a column and its title. looks: by line. zero: whether no change is a line of its own. log: of x."""

    x: tuple[str, str]
    y: tuple[str, str]
    looks: Mapping[str, Look]
    zero: bool = False
    log: bool = False
    most: int = 0  # of y, 0: as it comes


def spans(values: Sequence[float]) -> bool:
    """Whether values of x are better read on a logarithmic axis."""
    return min(values) > 0 and max(values) >= LOGARITHMIC * min(values)


def banded(rows: Sequence[tuple[Any, ...]], frame: Frame) -> bool:
    """Whether lines have intervals, and are few enough to show them."""
    return len(frame.looks) <= MOST_BANDS and any(row[3] is not None for row in rows)


def whole(rows: Sequence[tuple[Any, ...]]) -> bool:
    """Whether x counts something."""
    return all(float(row[1]).is_integer() for row in rows)


def lines(
    name: str,
    title: str,
    caption: str,
    frame: Frame,
    rows: Sequence[tuple[Value, ...]],
    subjects: tuple[str, ...],
    more: Mapping[str, str],
) -> Chart:
    """The chart of such rows. more: columns behind the first five, with the format of their numbers."""
    rows = [row for row in rows if None not in row[1:3]]
    columns = ("line", frame.x[0], frame.y[0], "low", "high", *more)
    shown = specified(frame, banded(rows, frame), whole(rows), more)
    return Chart(name, title, caption, columns, tuple(rows), subjects, shown, partial(draw, frame=frame))


def specified(frame: Frame, bands: bool, whole: bool, more: Mapping[str, str]) -> dict[str, Any]:
    """Bands below lines below points; a point says its numbers."""
    scale = {"type": "log"} if frame.log else {"zero": False}
    x = vega.axis(*frame.x, **{"scale": scale, "axis": {"tickMinStep": 1 if whole else 0}})
    y = vega.axis(*frame.y, **({"scale": {"domain": [0, frame.most]}} if frame.most else {}))
    hue = encoded("line", frame.looks, ["color"])
    band = {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, **hue}
    numbers = {frame.x[0]: ".4~g", frame.y[0]: ".1f", **({"low": ".1f", "high": ".1f"} if bands else {}), **more}
    point = encoded("line", frame.looks, ["color", "shape"]) | {"tooltip": vega.tips(numbers, ["line"])}
    layers = [vega.at("y")] if frame.zero else []
    layers += [{"mark": {"type": "area", "opacity": 0.15, "clip": True}, "encoding": band}] if bands else []
    layers.append(
        {
            "mark": {"type": "line"},
            "encoding": {"x": x, "y": y, **encoded("line", frame.looks, ["color", "strokeDash"])},
        }
    )
    layers.append({"mark": {"type": "point", "filled": True, "size": vega.MARK}, "encoding": {"x": x, "y": y, **point}})
    return vega.layered(layers, 320)


def draw(chart: Chart, frame: Frame) -> "Figure":
    """The same on paper."""
    from molebench.mole_drawing import framed

    figure, (axes,) = framed(1, chart.title, chart.caption, 3.4)
    bands = banded(chart.rows, frame)
    for i, (name, look) in enumerate(frame.looks.items()):
        mine = [row for row in chart.rows if row[0] == name]
        if bands:
            band(axes, mine, look)
        series(axes, mine, name, look, i, wide=2.2 - 0.3 * i if len(frame.looks) <= MOST_BANDS else 1.4)
    if frame.zero:
        axes.axhline(0, color=GREY, linewidth=0.6)
    if frame.log:
        ticked(axes, sorted({float(row[1]) for row in chart.rows if isinstance(row[1], int | float)}))
    if frame.most:
        axes.set_ylim(-0.03 * frame.most, 1.03 * frame.most)
    axes.set(xlabel=frame.x[1], ylabel=frame.y[1])
    keyed(figure, most=2)
    return figure


def ticked(axes: "Axes", x: Sequence[float]) -> None:
    """A logarithmic axis; where values are few, each has its tick."""
    axes.set_xscale("log")
    if len(x) <= 8:
        axes.set_xticks(x, [f"{value:g}" for value in x])
        axes.set_xticks([], minor=True)


def band(axes: "Axes", rows: Sequence[tuple[Any, ...]], look: Look) -> None:
    """The intervals of a line; where one has none, the line itself."""
    low, high = ([row[2] if row[i] is None else row[i] for row in rows] for i in (3, 4))
    axes.fill_between([row[1] for row in rows], low, high, color=look.colour, alpha=0.15, linewidth=0)


def series(axes: "Axes", rows: Sequence[tuple[Any, ...]], name: str, look: Look, i: int, wide: float) -> None:
    """The i-th line and about ten markers: one below another is wider, and has its markers elsewhere."""
    step = max(len(rows) // 10, 1)
    axes.plot(
        [row[1] for row in rows],
        [row[2] for row in rows],
        color=look.colour,
        linestyle=look.dash,
        marker=look.marker,
        linewidth=wide,
        markersize=4.5,
        markerfacecolor="white" if look.hollow else look.colour,
        markevery=(i % step, step),
        label=name,
    )
