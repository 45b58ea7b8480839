"""Matrices of classes side by side, such as heat maps of pairs and confusions, from plain arrays.

Up to `MOST_WRITTEN` columns the numbers stand in their cells; their colours are safe for the colour-blind, and what is
marked is told apart by colour and by weight. Names that have no room are turned, then left out at even steps.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from molebench.drawing import LINE, WIDTH, blank, headed, inches, place, short, wrapped
from molebench.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

MOST_WRITTEN = 12  # columns of a matrix whose cells have room for a number of 8 points
MOST_NAMED = 24  # rows or columns that have room for a name
NAME = 14  # letters of a class's name
WIDEST = 0.5  # inches, of a cell
GAP = 0.15  # inches, between two matrices
RED, BLUE = "#D55E00", "#0072B2"
NOTHING = "#dddddd"  # where a matrix has no number
CHANGE = ("#7A2E00", RED, "#FAFAFA", BLUE, "#003552")  # from drops through no change to gains
SHARE = ("#FFFFFF", "#888888")  # from none to all, with room for black numbers
DARK = 0.45  # luma below which white numbers read better


@dataclass(frozen=True)
class Scale:
    """The colours of the numbers from low to high, evenly between those given. words: what the numbers are."""

    colours: tuple[str, ...]
    low: float
    high: float
    words: str

    def map(self) -> "Colormap":
        """As matplotlib has it."""
        from matplotlib.colors import LinearSegmentedColormap

        return LinearSegmentedColormap.from_list("scale", self.colours).with_extremes(bad=NOTHING)


@dataclass(frozen=True, eq=False)
class Panel:
    """A matrix with its title; NaN is where there is no number. text: how a number is written."""

    title: str
    values: Float[Array, "r c"]
    scale: Scale
    text: Callable[[float], str]


@dataclass(frozen=True)
class Marks:
    """Classes and cells to point out: attacked, confounding, and the cells (row, column) to frame."""

    attacked: frozenset[int] = frozenset()
    confounding: frozenset[int] = frozenset()
    cells: tuple[tuple[int, int], ...] = ()


def diverging(shown: Sequence[Float[Array, "_ _"]], least: float, words: str) -> Scale:
    """The scale of changes that all numbers shown fit in, 0 in its middle; `least` wide, so that noise stays pale."""
    high = max([least, *(float(np.abs(grid[np.isfinite(grid)]).max(initial=0.0)) for grid in shown)])
    return Scale(CHANGE, -high, high, words)


def two_digits(value: float) -> str:
    """-46.7 as -47, -9.94 as -9.9: what a cell has room for."""
    near = round(value, 1) + 0.0  # 0.0 takes the sign off a zero
    return f"{near:.1f}" if abs(near) < 10 else f"{value:.0f}"


def whole(value: float) -> str:
    """A whole number; nothing for zero."""
    return str(round(value) or "")


def matrices(
    panels: Sequence[Panel],
    rows: Sequence[str],
    columns: Sequence[str],
    what: str,
    cell: str,
    strip: tuple[Panel, Sequence[str]] | None = None,
    marks: Marks | None = None,
) -> "Figure":
    """Matrices of the same rows and columns, two beside each other; below them a strip of one row, and the scales."""
    marks, names = marks or Marks(), [short(name, NAME) for name in columns]
    left = max(inches(label) for label in labels(rows)) * 1.15 + 0.12
    slot = (WIDTH - left - GAP - 0.05) / 2
    wide, tall = min(slot, WIDEST * len(columns)), row_height(len(rows)) * len(rows)
    below, lines = under(names, wide / len(columns)), math.ceil(len(panels) / 2)
    block, head = tall + below + 0.25, LINE * (len(wrapped(what)) + len(wrapped(cell)) + 0.3)
    scales = list(dict.fromkeys([p.scale for p in panels] + ([strip[0].scale] if strip else [])))
    base = under(strip[1], (WIDTH - left - 0.05) / len(strip[1])) if strip else 0.0
    foot = 0.55 + (base + 0.5 if strip else 0.0)
    figure = blank(foot + block * lines + head)
    headed(figure, what, cell)
    for i, panel in enumerate(panels):
        box = (left + i % 2 * (slot + GAP), foot + block * (lines - 1 - i // 2) + below, wide, tall)
        axes = matrix(figure, box, panel, rows if i % 2 == 0 else [], names, marks)
        axes.set_title(panel.title, loc="left", pad=3)
    if strip:
        box = (left, 0.6 + base, WIDTH - left - 0.05, 0.2)
        matrix(figure, box, strip[0], [], strip[1], Marks()).set_title(strip[0].title, loc="left", pad=3)
    for i, scale in enumerate(scales):
        bar(figure, i, len(scales), left, scale)
    return figure


def labels(names: Sequence[str]) -> list[str]:
    """What stands beside rows or under columns: every name, or where they are too many every second, third, ..."""
    step = every(len(names))
    return [short(name, NAME) if i % step == 0 else "" for i, name in enumerate(names)]


def every(n: int) -> int:
    """Which of n names have room."""
    return math.ceil(n / MOST_NAMED)


def row_height(n: int) -> float:
    """Inches of each of n rows: the named ones have room for a line of text."""
    return 0.2 if n <= MOST_WRITTEN else 0.13 / every(n)


def turned(names: Sequence[str], wide: float) -> int:
    """Degrees by which names must be turned to stand under columns of a width."""
    room = wide * every(len(names))
    if all(inches(name) < room - 0.06 for name in labels(names)):
        return 0
    return 45 if room > 0.16 else 90


def under(names: Sequence[str], wide: float) -> float:
    """Inches that the labels of columns need."""
    angle = math.radians(turned(names, wide))
    return math.sin(angle) * max(inches(name) for name in labels(names)) + math.cos(angle) * 0.11 + 0.08


def matrix(
    figure: "Figure",
    box: tuple[float, float, float, float],
    panel: Panel,
    rows: Sequence[str],
    columns: Sequence[str],
    marks: Marks,
) -> "Axes":
    """One matrix in its box, with its numbers where they have room; rows: none where the left neighbour names them."""
    axes, (r, c), scale = place(figure, box), panel.values.shape, panel.scale
    axes.imshow(panel.values, scale.map(), vmin=scale.low, vmax=scale.high, aspect="auto", interpolation="none")
    axes.spines[:].set_visible(False)
    named(axes, rows, columns, box[2] / c, marks)
    if max(r, c) <= MOST_NAMED:
        axes.set_xticks(np.arange(c - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(r - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=0.6)
        axes.tick_params(which="minor", length=0)
    if c <= MOST_WRITTEN and r <= MOST_NAMED:
        numbers(axes, panel)
    for row, column in marks.cells:
        axes.add_patch(frame(row, column))
    return axes


def frame(row: int, column: int) -> "Rectangle":
    """A black frame around a cell."""
    from matplotlib.patches import Rectangle

    return Rectangle(
        (column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=1.2, zorder=3, clip_on=False
    )


def named(axes: "Axes", rows: Sequence[str], columns: Sequence[str], wide: float, marks: Marks) -> None:
    """Class names beside rows and under columns; attacked ones red and bold, confounding ones blue and slanted."""
    angle = turned(columns, wide)
    side: dict[str, Any] = {"ha": "right", "va": "center" if angle == 90 else "top", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(columns)), labels(columns), rotation=angle, **(side if angle else {}))
    axes.set_yticks(range(len(rows)), labels(rows) if rows else [])
    axes.tick_params(length=0, pad=2)
    for ticks, first, second in (
        (axes.get_yticklabels(), marks.attacked, marks.confounding),
        (axes.get_xticklabels(), marks.confounding, marks.attacked),
    ):
        for i, label in enumerate(ticks):
            if i in first | second:
                attacked = (i in marks.attacked) if first is marks.attacked else i not in marks.confounding
                weight, style = ("bold", "normal") if attacked else ("normal", "italic")
                label.set(color=RED if attacked else BLUE, fontweight=weight, fontstyle=style)


def numbers(axes: "Axes", panel: Panel) -> None:
    """The numbers in their cells, white where the cell is dark."""
    image = axes.images[0]
    light = np.asarray(image.cmap(image.norm(panel.values)))[..., :3] @ (0.299, 0.587, 0.114)
    for row, column in np.argwhere(np.isfinite(panel.values)).tolist():
        words = panel.text(float(panel.values[row, column]))
        colour = "white" if light[row, column] < DARK else "black"
        axes.text(column, row, words, ha="center", va="center_baseline", color=colour)


def bar(figure: "Figure", i: int, n: int, left: float, scale: Scale) -> None:
    """The i-th of n scales, side by side at the foot."""
    wide = (WIDTH - left - 0.3) / n - 0.25
    axes = place(figure, (left + i * (wide + 0.3), 0.4, wide, 0.1))
    ramp = np.linspace(scale.low, scale.high, 256)[None]
    axes.imshow(ramp, scale.map(), aspect="auto", extent=(scale.low, scale.high, 0, 1))
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(scale.words, labelpad=1)
    axes.tick_params(pad=1.5, length=2)
    axes.spines[:].set_visible(False)
