"""The pictures of a continual cell, each made of its record (or of those of its seeds); None where it does not apply.

    tasks         accuracy on all classes seen, after each task, one line an arm
    task_matrix   accuracy on each task's items after each task: clean, attacked, and what the updates changed
    classes       relative change of every attacked class, the control's beside it

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment", arXiv:2303.17080, section 5, Tables 3 and 4.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from molebench import curves, matrices, report
from molebench.continual_effects import Attacked, attacks, harm, task_matrix
from molebench.curves import Curve, traced
from molebench.drawing import LINE, LOOKS, WIDTH, Look, blank, headed, inches, line, place, short, wrapped, written
from molebench.matrices import NAME, Panel, Scale
from molebench.metrics import MOST_DROPPED
from molebench.mole_drawing import framed
from molebench.mole_effects import ATTACK, BEFORE, CONTROL, DEFENDED
from molebench.record import Record
from molebench.report import number
from molebench.stats import wilson_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST = 10.0  # points that a scale of changes spans at least, so that noise stays pale
MOST_TICKS = 12
HEADS = {ATTACK: "attack", CONTROL: "control", DEFENDED: "defended"}
ROW, NUMBER, GAP = 0.15, 0.45, 0.15  # inches: of a class, least of a column of numbers, between columns of classes
LEAST_WIDE, TICK = 1.0, 0.5  # inches: of dots in one of two columns, and of a tick with its number
MOST_ROWS = 36  # classes in one column, where two have room
GREY = "#999999"
ACCURACY = ("#FFFFFF", "#33B58D")  # room for black numbers; not the grey of what is not there


def tasks(records: Sequence[Record], words: Mapping[str, str]) -> "Figure | None":
    """Accuracy along the way, with Wilson's interval or that over seeds; None of one task. words: names of arms."""
    if not all("accuracy" in arm.trace for record in records for arm in record.arms.values()):
        return None
    lines = [way(records, arm) for arm in LOOKS if all(arm in record.arms for record in records)]
    x = lines[0].x
    if len(x) < 2:
        return None
    seeds = f"mean of {len(records)} seeds with Student's 95 % interval"
    band = seeds if len(records) > 1 else "bands: Wilson's 95 % interval over test items"
    what = f"Accuracy on all classes seen, after each of {len(x)} tasks; {band}"
    figure, (axes,) = framed(1, what, report.title(records), 3.4)
    for curve in lines:
        line(axes, curve, words[curve.arm])
    axes.set(xlabel="classes seen", ylabel="accuracy (% of their test items)")
    if len(x) <= MOST_TICKS:
        axes.set_xticks(x)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -3.0), min(high, 103.0))
    figure.legend(loc="outside lower center", ncols=2, handlelength=4)
    return figure


def way(records: Sequence[Record], arm: str) -> Curve:
    """An arm's accuracy after each task, over the classes seen."""
    x, values = traced(records[0], arm, "classes"), np.stack([traced(r, arm, "accuracy") for r in records])
    if len(records) > 1:
        return curves.over_seeds(arm, x, values)
    items = traced(records[0], arm, "items")
    spans = [wilson_interval(values[0, t : t + 1], int(n)) for t, n in enumerate(items)]
    low, high = (np.concatenate(edge) for edge in zip(*spans, strict=True))
    return Curve(arm, x, 100 * values[0], 100 * low, 100 * high)


def matrix(records: Sequence[Record]) -> "Figure | None":
    """The accuracy matrices of the clean and the attacked arms, and what changed; None where nothing was updated."""
    arms = [arm for arm in (BEFORE, *HEADS) if all(arm in record.arms for record in records)]
    grids = {arm: np.mean([task_matrix(record, arm) for record in records], axis=0) for arm in arms}
    n = len(grids[BEFORE])
    if n < 2 or ATTACK not in grids:
        return None
    shares = Scale(ACCURACY, 0.0, 100.0, "accuracy (%)")
    changed = {arm: grid - grids[BEFORE] for arm, grid in grids.items() if arm != BEFORE}
    points = matrices.diverging(list(changed.values()), LEAST, "change (points)")
    shown = [Panel(HEADS.get(arm, "clean"), grids[arm], shares, "{:.0f}".format) for arm in (BEFORE, ATTACK)]
    shown += [Panel(f"change: {HEADS[a]} − clean", grid, points, matrices.two_digits) for a, grid in changed.items()]
    over = f", mean of {len(records)} seeds" if len(records) > 1 else ""
    what = f"Accuracy on the test items of each task (column) after each task (row){over}"
    rows, columns = ([f"{word} {t + 1}" for t in range(n)] for word in ("after task", "task"))
    return matrices.matrices(shown, rows, columns, what, report.title(records))


def classes(record: Record, words: Mapping[str, str]) -> "Figure | None":
    """Relative change of every attacked class, those that lose most first; None where none is attacked."""
    arms = [arm for arm in HEADS if arm in record.arms]
    every = {found.pair.attacked: found for found in attacks(record)}
    if not every or ATTACK not in arms:
        return None
    found = sorted(every.values(), key=lambda each: harm(each, ATTACK))
    figure = listed(found, arms, headline(found), report.title([record]))
    medians = {arm: median(found, arm) for arm in arms}
    for axes in figure.axes:
        for arm, value in medians.items():
            axes.axvline(value, color=LOOKS[arm].colour, linestyle=LOOKS[arm].dash, linewidth=1, zorder=1)
    keyed(figure, {arm: f"{words[arm]}{said(medians[arm])}" for arm in arms})
    return figure


def headline(found: Sequence[Attacked]) -> str:
    """What is shown of these classes."""
    what = "Change of each attacked class after the last task, in % of its accuracy without attack"
    grey = f"; grey: where that is {100 * MOST_DROPPED:g} % or less, the class is in no median"
    return what if all(each.kept for each in found) else what + grey


def listed(found: Sequence[Attacked], arms: Sequence[str], what: str, cell: str) -> "Figure":
    """A row a class, in two columns where they are many and dots keep room, and a legend's room below."""
    name = max(inches(short(each.pair.attacked, NAME)) for each in found) * 1.15 + 0.1
    half = (WIDTH - 0.1 - GAP) / 2
    columns = 2 if len(found) > MOST_ROWS and half - name - sum(map(room, arms)) >= LEAST_WIDE else 1
    rows, foot = math.ceil(len(found) / columns), 0.35 + LINE * len(arms)
    figure = blank(foot + rows * ROW + LINE * (len(wrapped(what)) + len(wrapped(cell)) + 1.6))
    headed(figure, what, cell)
    for i in range(columns):
        box = (0.05 + i * (half + GAP), foot, half if columns == 2 else WIDTH - 0.1, rows * ROW)
        column(figure, box, name, found[i * rows : (i + 1) * rows], arms, limits(found))
    return figure


def room(arm: str) -> float:
    """Inches of an arm's numbers."""
    return max(inches(HEADS[arm]) + 0.12, NUMBER)


def limits(found: Sequence[Attacked]) -> tuple[float, float]:
    """What an axis spans: no change, and all changes of the classes that count (of all, where none does)."""
    counting = [each for each in found if each.kept] or found
    values = np.array([v for each in counting for v in each.change.values()])
    low, high = (float(edge(values[np.isfinite(values)], initial=0.0)) for edge in (np.min, np.max))
    margin = max(0.04 * (high - low), 1.0)
    return low - margin, high + margin


def median(found: Sequence[Attacked], arm: str) -> float:
    """Of the classes that count; NaN where there is none."""
    values = [each.change[arm] for each in found if each.kept]
    return float(np.median(values)) if values else float("nan")


def said(value: float) -> str:
    """A median in words, with its line's meaning."""
    return f" (line: median {number(value, 'delta_a_rel')} %)" if np.isfinite(value) else ""


def column(
    figure: "Figure",
    box: tuple[float, float, float, float],
    name: float,
    found: Sequence[Attacked],
    arms: Sequence[str],
    span: tuple[float, float],
) -> None:
    """One column of classes: names (so many inches wide), dots, and the numbers beside them."""
    left, bottom, wide, tall = box
    across = wide - name - sum(map(room, arms))
    axes = place(figure, (left + name, bottom, across, tall))
    axes.set(xlim=span, ylim=(tall / ROW - 0.5, -0.5))
    axes.set_yticks(range(len(found)), [short(each.pair.attacked, NAME) for each in found])
    axes.tick_params(axis="y", length=0, pad=2)
    axes.locator_params(axis="x", nbins=min(int(across / TICK), 6))
    axes.grid(color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.axvline(0, color="#404040", linewidth=0.6)
    axes.spines[:].set_visible(False)
    for label, each in zip(axes.get_yticklabels(), found, strict=True):
        label.set_color(shade(each))
    right = left + wide
    for arm in reversed(arms):
        dots(axes, found, arm)
        numbers(figure, (right, bottom + tall), found, arm)
        right -= room(arm)


def shade(found: Attacked) -> str:
    """Of its words."""
    return "black" if found.kept else GREY


def numbers(figure: "Figure", corner: tuple[float, float], found: Sequence[Attacked], arm: str) -> None:
    """An arm's numbers under its name, at the left of their upper right corner."""
    x, top = corner
    written(figure, x, top + 0.04, HEADS[arm], ha="right", color=LOOKS[arm].colour)
    for row, each in enumerate(found):
        value, y = each.change[arm], top - (row + 0.5) * ROW
        words = number(value, "delta_a_rel") if np.isfinite(value) else "–"
        written(figure, x, y, words, ha="right", va="center_baseline", color=shade(each))


def dots(axes: "Axes", found: Sequence[Attacked], arm: str) -> None:
    """An arm's dot in every row where it has room; grey where a class is dropped."""
    look, (low, high) = LOOKS[arm], axes.get_xlim()
    for kept, colour in ((True, look.colour), (False, GREY)):
        rows = [r for r, each in enumerate(found) if each.kept == kept and low <= each.change[arm] <= high]
        x, face = [found[r].change[arm] for r in rows], "white" if look.hollow else colour
        if rows:
            axes.plot(x, rows, look.marker, color=colour, markerfacecolor=face, markersize=4.5, clip_on=False)


def keyed(figure: "Figure", words: Mapping[str, str]) -> None:
    """The legend at the foot, a line an arm."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=label, **key(LOOKS[arm])) for arm, label in words.items()]
    figure.legend(handles=handles, loc="lower center", handlelength=4)


def key(look: Look) -> dict[str, Any]:
    """A line and its dot in a legend."""
    face = "white" if look.hollow else look.colour
    size = {"linewidth": 1, "markersize": 4.5, "markerfacecolor": face}
    return {"color": look.colour, "linestyle": look.dash, "marker": look.marker, **size}
