"""The lines, points and gallery of offline recruitment, from plain arrays.

What is told apart is so by colour and by dash or marker; pairs without a name are grey.

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment", arXiv:2303.17080, Figs. 2, 4 and 5.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, UInt8

from molebench.drawing import LINE, WIDTH, blank, displayable, headed, place, titled, wrapped, written
from molebench.moles import Line
from molebench.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RED, GREY = "#D55E00", "#999999"
# of the pairs that lose most, the worst first: colour, dash, marker
LOOKS = (
    ("#D55E00", "-", "s"),
    ("#0072B2", (0, (5, 2)), "o"),
    ("#009E73", (0, (1, 1)), "^"),
    ("#CC79A7", (0, (6, 2, 1, 2)), "D"),
    ("#E69F00", (0, (3, 1)), "v"),
)
PER_ROW = 5  # images of a gallery
EDGE = 400  # pixels or more, of the image that a gallery's group makes


def sizes(
    x: Int[Array, " s"],
    lines: Mapping[str, Float[Array, "p s"]],
    names: Sequence[str],
    worst: Sequence[int],
    what: str,
    cell: str,
) -> "Figure":
    """Delta_a over N, one line a pair, a panel an arm; the worst pairs by name, the mean in black, the others thin."""
    figure, panels = framed(len(lines), what, cell, 3.6, sharey=True)
    for axes, (title, y) in zip(panels, lines.items(), strict=True):
        for row in np.delete(y, worst, axis=0):
            axes.plot(x, row, color=GREY, linewidth=0.5, alpha=0.7)
        for p, (colour, dash, marker) in zip(worst, LOOKS, strict=False):
            label = names[p] if axes is panels[0] else None
            axes.plot(x, y[p], color=colour, linestyle=dash, marker=marker, markersize=4.5, label=label)
        if len(y) > 1:
            mean = f"mean of {len(y)} pairs" if axes is panels[0] else None
            axes.plot(x, y.mean(axis=0), color="black", linewidth=2, marker="x", markersize=5, label=mean)
        axes.axhline(0, color="#404040", linewidth=0.6)
        axes.set(title=title, xlabel="N (images of each class)")
        spaced(axes, x)
    panels[0].set_ylabel("Δ of the attacked class (points)")
    figure.legend(loc="outside lower center", ncols=3, handlelength=4)
    return figure


def spaced(axes: "Axes", x: Int[Array, " s"]) -> None:
    """Sizes on a logarithmic axis where they span much; each has its tick where they are few."""
    if x[-1] >= 8 * x[0]:
        axes.set_xscale("log", base=2)
    if len(x) <= 6:
        axes.set_xticks(x, [str(n) for n in x])
        axes.set_xticks([], minor=True)


def quality(
    score: Float[Array, " p"],
    delta: Float[Array, " p"],
    rho: tuple[str, Float[Array, " p"]],
    names: Mapping[int, str],
    fits: Mapping[str, Line],
    what: str,
    cell: str,
) -> "Figure":
    """Delta_a by the mean score of the moles; beside it, where there are lines r, that score by rho.

    rho: what it is, and its numbers. names: of the points to point out, the worst first. fits: lines by what they are
    called, at most three.
    """
    figure, panels = framed(2 if fits else 1, what, cell, 3.7)
    points(panels[0], score, delta, names, label=True)
    panels[0].axhline(0, color="#404040", linewidth=0.6)
    panels[0].set(xlabel="mean P(attacked class | mole)", ylabel="Δ of the attacked class (points)", xlim=(0, None))
    if fits:
        points(panels[1], rho[1], score, names, label=False)
        ends = np.array([0.0, max(1.0, float(np.nanmax(rho[1])))])
        for (label, line), dash in zip(fits.items(), ("-", (0, (5, 2)), (0, (1, 1))), strict=False):
            panels[1].plot(ends, line.slope * ends + line.intercept, color="black", linestyle=dash, label=label)
        panels[1].set(xlabel=rho[0], xlim=(0, 1), ylim=(0, 1))
        panels[1].set_ylabel("mean P(attacked class | mole)")
    figure.legend(loc="outside lower center", ncols=2, handlelength=4)
    return figure


def points(axes: "Axes", x: Float[Array, " p"], y: Float[Array, " p"], names: Mapping[int, str], label: bool) -> None:
    """Those with a name in their looks, over all others in grey."""
    others = np.setdiff1d(np.arange(len(x)), list(names))
    for (p, name), (colour, _, marker) in zip(names.items(), LOOKS, strict=False):
        axes.plot(x[p], y[p], marker, color=colour, markersize=6, label=name if label else None)
    if len(others):
        rest = "other pairs" if names else "pairs"
        axes.plot(x[others], y[others], ".", color=GREY, markersize=4, zorder=1, label=rest if label else None)


def framed(n: int, what: str, cell: str, height: float, sharey: bool = False) -> tuple["Figure", list["Axes"]]:
    """A figure of n panels side by side under its title, with a grid behind each."""
    head = wrapped(what)
    figure = blank(height + LINE * (len(head) + len(wrapped(cell))))
    figure.set_layout_engine("constrained")
    titled(figure, "\n".join(head), cell)
    panels = list(figure.subplots(1, n, sharey=sharey, squeeze=False)[0])
    for axes in panels:
        axes.grid(color="#dddddd", linewidth=0.5)
        axes.set_axisbelow(True)
    return figure, panels


def gallery(groups: Mapping[str, UInt8[Array, "_ h w c"]], moles: str, what: str, cell: str) -> "Figure":
    """Groups of images beside each other under their titles; those of the group `moles` in red frames."""
    gap = 0.12
    wide = (WIDTH - 0.1 - gap * (len(groups) - 1)) / len(groups)
    lines = max(title.count("\n") + 1 for title in groups)
    made = [tiled(images, RED if title == moles else GREY) for title, images in groups.items()]
    tall = [wide * image.shape[0] / image.shape[1] for image in made]
    bottom, above = 0.05, LINE * lines + 0.04
    figure = blank(bottom + max(tall) + above + LINE * (len(wrapped(what)) + len(wrapped(cell))) + 0.15)
    headed(figure, what, cell)
    for i, (title, image) in enumerate(zip(groups, made, strict=True)):
        x, y = 0.05 + i * (wide + gap), bottom + max(tall) - tall[i]
        axes = place(figure, (x, y, wide, tall[i]))
        axes.imshow(image, aspect="auto", interpolation="none")
        axes.set_axis_off()
        colour = RED if title == moles else "black"
        written(figure, x + wide / 2, y + tall[i] + 0.04, title, ha="center", va="bottom", color=colour)
    return figure


def tiled(images: UInt8[Array, "n h w c"], colour: str) -> UInt8[Array, "y x 3"]:
    """Images in rows of `PER_ROW`, enlarged by whole pixels, each in a frame of a colour and a white margin."""
    from matplotlib.colors import to_rgb

    n, h, w = images.shape[:3]
    times = math.ceil(EDGE / (PER_ROW * min(h, w)))
    line = max(times * min(h, w) // 20, 2)
    edge = np.rint(255 * np.array(to_rgb(colour))).astype(np.uint8)
    high, wide = times * h + 4 * line, times * w + 4 * line
    sheet = np.full((math.ceil(n / PER_ROW) * high, PER_ROW * wide, 3), 255, dtype=np.uint8)
    for i, image in enumerate(images):
        y, x = i // PER_ROW * high, i % PER_ROW * wide
        sheet[y + line : y + high - line, x + line : x + wide - line] = edge
        large = displayable(image).repeat(times, axis=0).repeat(times, axis=1)
        sheet[y + 2 * line : y + high - 2 * line, x + 2 * line : x + wide - 2 * line] = large
    return sheet
