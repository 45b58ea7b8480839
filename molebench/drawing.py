"""Pictures of a cell, from plain arrays: poisons beside their originals, a map of features, and curves.

Everything is told apart twice, so that a grey print reads like the screen: colours are Okabe and Ito's (safe for
the colour-blind), and lines differ in dash and marker, points in shape. 6.5 inches is a page's width of text: text
is 8 points or more at that size. Figures are made without pyplot, which would keep them in a global list.
"""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from molebench.curves import Curve
from molebench.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 6.5  # inches
DPI = 200
LEFT, GAP, LINE = 0.8, 0.04, 0.15  # inches: of row labels, between images, of text
GAIN = 10  # of the difference between a poison and its original
MOST_NAMED = 10  # classes that a map tells apart
COLUMNS = 6  # of its legend
# Okabe and Ito's, with grey for yellow, which white paper swallows
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#56B4E9", "#CC79A7", "#D55E00", "#999999")
MARKERS = ("o", "^", "s", "D", "v")
STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "figure.titlesize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a class may be named $5$
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class Look:
    """How an arm is drawn: behind a defense, lighter and with hollow markers."""

    colour: str
    dash: str | tuple[int, tuple[int, ...]]
    marker: str
    hollow: bool = False


LOOKS = {
    "clean_undefended": Look("#0072B2", "-", "o"),
    "poisoned_undefended": Look("#D55E00", (0, (5, 2)), "s"),
    "control_undefended": Look("#000000", (0, (1, 1)), "^"),
    "clean_defended": Look("#56B4E9", (0, (6, 2, 1, 2)), "o", hollow=True),
    "poisoned_defended": Look("#E69F00", (0, (3, 1)), "s", hollow=True),
    "poisoned_matched": Look("#CC79A7", (0, (1, 2)), "D", hollow=True),
}


@contextmanager
def styled() -> Iterator[None]:
    """This file's style and no other, whatever the user's matplotlibrc says, while a figure is made and saved."""
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE]):
        yield


def titled(figure: "Figure", what: str, cell: str) -> None:
    """What a picture shows, and of which cell."""
    figure.suptitle("\n".join([what, *wrapped(cell)]), x=0.01, ha="left")


def headed(figure: "Figure", what: str, cell: str) -> None:
    """The same at the very top of a figure of any height that is laid out in inches."""
    words = "\n".join(wrapped(what) + wrapped(cell))
    written(figure, 0.065, figure.get_figheight() - 0.05, words, va="top")


def difference(original: UInt8[Array, "..."], poison: UInt8[Array, "..."]) -> UInt8[Array, "..."]:
    """What was added, `GAIN` times, around mid-grey: 128 is no change, a change of 3 is 128 + 30."""
    changed = poison.astype(np.int64) - original.astype(np.int64)
    return np.clip(128 + GAIN * changed, 0, 255).astype(np.uint8)


def displayable(image: UInt8[Array, "h w c"]) -> UInt8[Array, "h w 3"]:
    """Three channels as they are; any other number as the grey of their mean."""
    if image.shape[2] == 3:
        return image
    grey = np.rint(image.mean(axis=2, keepdims=True)).astype(np.uint8)
    return np.repeat(grey, 3, axis=2)


def collisions(
    original: UInt8[Array, "n h w c"],
    poison: UInt8[Array, "n h w c"],
    names: Sequence[str],
    facts: Mapping[str, Sequence[str]],
    cell: str,
) -> "Figure":
    """Originals, their poisons and the difference, a column each; `facts` are rows of words below."""
    n, height, width = original.shape[:3]
    names = [short(name) for name in names]
    slanted = any(inches(name) > (WIDTH - LEFT) / n - GAP for name in names)
    right = max(0.9 * inches(names[-1]) - 0.3, 0.05) if slanted else 0.05
    wide = min((WIDTH - LEFT - right) / n - GAP, 1.2, 1.6 * width / height)
    tall = wide * height / width
    head = 0.12 + max(inches(name) for name in names) * 0.5 if slanted else LINE
    top, bottom = LINE * (2 + len(wrapped(cell))) + head, LINE * (len(facts) + 1.8)
    figure = blank(top + 3 * tall + 2 * GAP + bottom)
    titled(figure, "Originals, their poisons, and what was added", cell)
    rows = {"original": original, "poison": poison, f"difference\n×{GAIN}": difference(original, poison)}
    for r, (label, images) in enumerate(rows.items()):
        y = bottom + (2 - r) * (tall + GAP)
        written(figure, LEFT - 0.08, y + tall / 2, label, ha="right", va="center")
        for i, image in enumerate(images):
            axes = place(figure, (LEFT + i * (wide + GAP), y, wide, tall))
            axes.imshow(displayable(image), aspect="auto")
            axes.set_axis_off()
    centres = [LEFT + i * (wide + GAP) + wide / 2 for i in range(n)]
    for x, name in zip(centres, names, strict=True):
        slant = {"rotation": 30, "ha": "left", "rotation_mode": "anchor"} if slanted else {"ha": "center"}
        written(figure, x - (0.1 if slanted else 0), bottom + 3 * tall + 2 * GAP + 0.06, name, **slant)
    for r, (label, values) in enumerate(facts.items(), start=1):
        written(figure, LEFT - 0.08, bottom - LINE * (r + 0.1), label, ha="right")
        for x, value in zip(centres, values, strict=True):
            written(figure, x, bottom - LINE * (r + 0.1), value, ha="center")
    note = f"difference: 128 + {GAIN} (poison − original), cut to 0–255; mid-grey is no change"
    written(figure, LEFT, 0.07, note, color="#404040")
    return figure


def short(name: str, most: int = 16) -> str:
    """A class's name, cut where it is long."""
    name = name.replace("_", " ")
    return name if len(name) <= most else f"{name[: most - 1]}…"


@lru_cache(maxsize=4096)
def inches(words: str) -> float:
    """How wide a line of text is."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=float(STYLE["font.size"]))
    return float(text_to_path.get_text_width_height_descent(words, font, False)[0]) / 72 if words else 0.0


def wrapped(words: str) -> list[str]:
    """A line of text in as many lines as the page's width needs."""
    most = 112
    while most > 56 and any(inches(line) > WIDTH - 0.13 for line in textwrap.wrap(words, most)):
        most -= 8
    return textwrap.wrap(words, most)


def written(figure: "Figure", x: float, y: float, words: str, **how: Any) -> None:
    """Text at a place in inches from the lower left."""
    figure.text(x / WIDTH, y / figure.get_figheight(), words, **how)


def blank(height: float) -> "Figure":
    """A figure of the page's width."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height))


def place(figure: "Figure", box: tuple[float, float, float, float]) -> "Axes":
    """Axes at (left, bottom, width, height) in inches."""
    x, y, wide, tall = box
    total = figure.get_figheight()
    return figure.add_axes((x / WIDTH, y / total, wide / WIDTH, tall / total))


def feature_map(
    pool: Float[Array, "n 2"],
    label: Int[Array, " n"],
    classes: Sequence[str],
    injected: Mapping[str, Float[Array, "_ 2"]],
    share: Float[Array, " 2"],
    cell: str,
) -> "Figure":
    """The clean pool by class on its principal plane; each kind of injected items over it, a panel each."""
    n, gap, left = len(injected), 0.35, LEFT - 0.25
    side = min((WIDTH - left - (n - 1) * gap - 0.1) / n, 3.6)
    entries = 1 + (len(classes) if len(classes) <= MOST_NAMED else 1)
    bottom, top = 0.5 + 0.17 * math.ceil(entries / COLUMNS), LINE * len(wrapped(cell)) + 0.6
    figure = blank(bottom + side + top)
    titled(figure, "Features: principal axes of the clean pool, and where injected items fall on them", cell)
    low, high = square(np.concatenate([pool, *injected.values()]))
    for i, (name, points) in enumerate(injected.items()):
        axes = place(figure, (left + i * (side + gap), bottom, side, side))
        scatter(axes, pool, label, classes)
        over(axes, points)
        axes.set_title(f"{name}\nspread on this plane: {spread(points) / max(spread(pool), 1e-12):.1%} of the pool's")
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        axes.set_xlabel(f"axis 1 ({share[0]:.0%} of the clean variance; feature units)", labelpad=2)
    figure.axes[0].set_ylabel(f"axis 2 ({share[1]:.0%} of the clean variance; feature units)", labelpad=2)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="lower center", ncols=COLUMNS, handletextpad=0.2, columnspacing=1.2)
    for handle in legend.legend_handles:
        if handle:
            handle.set_alpha(1)
    return figure


def scatter(axes: "Axes", pool: Float[Array, "n 2"], label: Int[Array, " n"], classes: Sequence[str]) -> None:
    """Clean points, one look a class where there are few classes."""
    if len(classes) > MOST_NAMED:
        x, y = pool.T
        axes.scatter(x, y, s=7, c="#999999", linewidths=0, alpha=0.6, label=f"clean item ({len(classes)} classes)")
        return
    for c, name in enumerate(classes):
        colour, marker = PALETTE[c % len(PALETTE)], MARKERS[c % len(MARKERS)]
        x, y = pool[label == c].T
        axes.scatter(x, y, s=8, c=colour, marker=marker, linewidths=0, alpha=0.6, label=short(name))


def over(axes: "Axes", points: Float[Array, "m 2"]) -> None:
    """Injected items, all of them over one white outline: where they collide, a single mark must be seen."""
    x, y = points.T
    size = float(np.clip(2000 / len(points), 12, 45))
    axes.scatter(x, y, s=size, marker="X", c="white", edgecolors="white", linewidths=1.4, zorder=3)
    axes.scatter(x, y, s=size, marker="X", c="black", linewidths=0, zorder=4, label="injected item")


def spread(points: Float[Array, "n 2"]) -> float:
    """Root mean square distance of points from their mean."""
    return float(np.sqrt(points.var(axis=0, dtype=np.float64).sum()))


def square(points: Float[Array, "n 2"]) -> tuple[Float[Array, " 2"], Float[Array, " 2"]]:
    """Corners of the smallest square around the points, with a margin: a distance is the same on both axes."""
    low, high = points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)
    half = max(0.53 * float((high - low).max()), 1e-6)
    return (low + high) / 2 - half, (low + high) / 2 + half


def queries(
    accuracy: Sequence[Curve],
    share: Sequence[Curve],
    by_round: Sequence[Curve],
    chance: float | None,
    words: Mapping[str, str],
    cell: str,
) -> "Figure":
    """Accuracy of every arm, and below it (where anything was injected) the share of poisons in what was bought.

    words: how arms are called, and 'items' and 'band': what accuracy is over, and what the bands are.
    """
    figure = blank(5.6 if share else 3.6)
    figure.set_layout_engine("constrained")
    titled(
        figure, "Accuracy, and injected items among the labels bought" if share else "Accuracy by labels bought", cell
    )
    panels = figure.subplots(2 if share else 1, 1, sharex=True, squeeze=False)[:, 0]
    for curve in accuracy:
        line(panels[0], curve, words[curve.arm])
    panels[0].set(ylabel=f"accuracy (% of {words['items']})", title=words["band"])
    panels[0].title.set_horizontalalignment("center")
    panels[-1].set_xlabel("labels bought")
    panels[-1].set_xlim(0, None)
    if share:
        bought(panels[1], share, by_round, chance)
    figure.legend(loc="outside lower center", ncols=2, handlelength=4)
    for axes in panels:
        axes.grid(color="#dddddd", linewidth=0.5)
        axes.set_axisbelow(True)
    return figure


def bought(axes: "Axes", share: Sequence[Curve], by_round: Sequence[Curve], chance: float | None) -> None:
    """The lower panel: lines so far, thin steps by round, and chance."""
    for curve in by_round:
        look = LOOKS[curve.arm]
        axes.stairs(curve.y, curve.x, baseline=None, color=look.colour, linewidth=0.7, linestyle=look.dash, alpha=0.8)
    for curve in share:
        line(axes, curve, None)
    axes.set(ylabel="injected (% of labels bought)", ylim=(-3, 103))
    axes.set_title("thick, with markers: of all labels so far; thin steps: of each round's labels")
    if chance is not None:
        axes.axhline(chance, color="#404040", linewidth=1, linestyle=(0, (12, 4)), label=f"chance: {chance:.1f} %")


def line(axes: "Axes", curve: Curve, label: str | None) -> None:
    """An arm's line with its band and about ten markers."""
    look = LOOKS[curve.arm]
    axes.fill_between(curve.x, curve.low, curve.high, color=look.colour, alpha=0.12, linewidth=0)
    for edge in (curve.low, curve.high):
        axes.plot(curve.x, edge, color=look.colour, linestyle=look.dash, linewidth=0.5, alpha=0.7)
    axes.plot(
        curve.x,
        curve.y,
        color=look.colour,
        linestyle=look.dash,
        marker=look.marker,
        linewidth=1.5,
        markersize=4.5,
        markerfacecolor="white" if look.hollow else look.colour,
        markevery=max(len(curve.x) // 10, 1),
        label=label,
    )
