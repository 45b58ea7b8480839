"""The pictures of an offline cell, each made of its record (or of those of its seeds); None where it does not apply.

    heatmaps     Figs. 3 and 8-10: Delta by attacked and confounding class, the control beside it
    confusion    Fig. 7: confusions before, and after the worst update and its control
    sizes        Fig. 4: Delta of the attacked class over N, the control beside it
    quality      Fig. 5: Delta by the mean score of the moles, and that score by rho with the line r
    moles        Fig. 2: moles beside images that the victim is sure of

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment", arXiv:2303.17080.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from molebench import matrices, report
from molebench import mole_drawing as drawing
from molebench.classnames import ARROW
from molebench.drawing import short
from molebench.matrices import NAME, Marks, Panel, Scale
from molebench.mole_effects import (
    ARMS,
    ATTACK,
    BEFORE,
    DEFENDED,
    Effects,
    Map,
    best,
    by_size,
    effects,
    harshest_size,
    maps,
    of_attacked,
    percent,
    shares,
    worst_update,
)
from molebench.moles import PUBLISHED, Line
from molebench.record import PairRecord, Record
from molebench.stages import Arrays
from molebench.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORST = len(drawing.LOOKS)  # pairs that are told apart
LEAST = 10.0  # points of one class that a scale of colours spans at least, so that noise stays pale
MEASURED = ("r_slope", "r_intercept", "r_squared")


def heatmaps(records: Sequence[Record]) -> "Figure | None":
    """Delta of every pair as maps; None where there is one pair or none."""
    found = [effects(record) for record in records]
    if min(len(each.pairs) for each in found) < 2:
        return None
    at, classes = harshest_size(found), records[0].data.classes
    rows, columns = (sorted({pair[side] for each in found for pair in each.pairs}) for side in (0, 1))
    shown = {m: grid[np.ix_(rows, columns)] for m, grid in maps(found, at).items()}
    clean = np.mean([percent(record.arms[BEFORE]) for record in records], axis=0)[None]
    scale = Scale(matrices.SHARE, 0.0, 100.0, "accuracy (%)")
    strip = Panel("before: the victim's accuracy", clean, scale, "{:.1f}".format)
    attacked, confounding = ([classes[i] for i in side] for side in (rows, columns))
    what = f"Δ of accuracy by attacked (row) and confounding class (column){sized(found, at)}{averaged(records)}"
    return matrices.matrices(shaded(shown), attacked, confounding, what, report.title(records), (strip, classes))


def shaded(shown: Mapping[Map, Float[Array, "r c"]]) -> list[Panel]:
    """Maps as panels: those of one class share a scale, and so do those of many."""
    scales = {
        one: matrices.diverging([grid for m, grid in shown.items() if m.one == one], least, f"Δ of {words} (points)")
        for one, least, words in ((True, LEAST, "one class"), (False, 2.0, "several classes"))
    }
    return [Panel(m.title, grid, scales[m.one], matrices.two_digits) for m, grid in shown.items()]


def sized(found: Sequence[Effects], at: int | None) -> str:
    """Which N is shown."""
    if at is not None:
        return f", N = {at} (of the sizes tried, where attacked classes lose most on average)"
    known = np.unique(np.concatenate([each.size for each in found]))
    return f", N = {known[0]}" if len(known) == 1 else ""


def averaged(records: Sequence[Record]) -> str:
    """Over how many seeds."""
    return f", mean of {len(records)} seeds" if len(records) > 1 else ""


def confusion(record: Record) -> "Figure | None":
    """Confusions before and after the worst update, with the change; None where no update has a pair."""
    u = worst_update(record)
    if u is None:
        return None
    update, classes = record.updates[u], record.data.classes
    before, after = shares(record.arms[BEFORE]), {arm: shares(update.arms[arm]) for arm in ARMS if arm in update.arms}
    cells = tuple((classes.index(p.attacked), classes.index(p.confounding)) for p in update.pairs)
    marks = Marks(frozenset(a for a, _ in cells), frozenset(c for _, c in cells), cells)
    least = f"; of {len(record.updates)} updates the one that hits its class hardest" if len(record.updates) > 1 else ""
    pairs = ", ".join(pair_name(p) for p in update.pairs)
    what = (
        f"Confusions before and after {pairs} (N = {update.moles // len(cells) or update.pairs[0].n}{least}). "
        "Framed: attacked images taken for their confounding class"
    )
    if len(classes) <= matrices.MOST_NAMED:
        what += "; red and bold: attacked; blue and slanted: confounding"
    return matrices.matrices(compared(before, after), classes, classes, what, report.title([record]), marks=marks)


def compared(before: Float[Array, "k k"], after: Mapping[str, Float[Array, "k k"]]) -> list[Panel]:
    """Confusions before, after each arm, and what the attack changed."""
    percents = Scale(matrices.SHARE, 0.0, 100.0, "% of a true class (row) taken for a class (column)")
    changes = {arm: after[arm] - before for arm in (ATTACK, DEFENDED) if arm in after}
    points = matrices.diverging(list(changes.values()), LEAST, "change (points)")
    panels = [Panel("before", before, percents, matrices.whole)]
    for arm, grid in after.items():
        panels.append(Panel(f"after: {ARMS[arm]}", grid, percents, matrices.whole))
        if arm in changes:
            panels.append(Panel(f"change: {ARMS[arm]} − before", changes[arm], points, matrices.whole))
    return panels


def pair_name(pair: PairRecord) -> str:
    """attacked < confounding, as it is typed."""
    return f"{short(pair.attacked, NAME)} {ARROW} {short(pair.confounding, NAME)}"


def pair_names(record: Record) -> list[str]:
    """The names of all pairs of `Effects`, in its order."""
    found = {(p.attacked, p.confounding): p for u in record.updates if len(u.pairs) == 1 for p in u.pairs}
    classes = record.data.classes
    return [pair_name(found[classes[a], classes[c]]) for a, c in effects(record).pairs]


def sizes(records: Sequence[Record]) -> "Figure | None":
    """Delta over N, a line a pair; None where no pair was tried at several sizes."""
    found = [effects(record) for record in records]
    if not all(each.swept for each in found):
        return None
    arms = [arm for arm in ARMS if all(arm in each.delta for each in found)]
    lines = {ARMS[arm]: np.mean([by_size(each, arm)[1] for each in found], axis=0) for arm in arms}
    what = f"Δ of the attacked class by N{averaged(records)}; the worst pairs by name (attacked {ARROW} confounding)"
    x = by_size(found[0], ATTACK)[0]
    return drawing.sizes(
        x, lines, pair_names(records[0]), losers(np.nanmin(lines[ARMS[ATTACK]], axis=1)), what, report.title(records)
    )


def losers(delta: Float[Array, " p"]) -> list[int]:
    """The few pairs that lose most, the worst first; where there are few pairs, all of them."""
    order = np.argsort(delta, kind="stable")[:WORST].tolist()
    return order if len(delta) <= WORST else [p for p in order if delta[p] < 0]


def quality(records: Sequence[Record]) -> "Figure | None":
    """Delta by the moles' mean score, and that score by rho; None where fewer than two pairs have moles."""
    found = [effects(record) for record in records]
    if min(len(each.pairs) for each in found) < 2 or not all(np.isfinite(each.score).all() for each in found):
        return None
    score, rho, delta = (
        np.mean([values(each)[best(each)] for each in found], axis=0)
        for values in (lambda e: e.score, lambda e: e.rho, lambda e: of_attacked(e, ATTACK))
    )
    names = pair_names(records[0])
    worst = {p: names[p] for p in losers(delta)}
    which = "; of each pair the N that hit hardest" if found[0].swept else ""
    what = f"How damage goes with the scores of moles{which}{averaged(records)} (attacked {ARROW} confounding)"
    axis = f"ρ: percentile {percentile(records[0])} of P(attacked class)"
    return drawing.quality(score, delta, (axis, rho), worst, lines(records), what, report.title(records))


def lines(records: Sequence[Record]) -> dict[str, Line]:
    """The line r measured in these cells, and the published one of its percentile; none where no sweep measured any."""
    if not all(name in record.metrics for record in records for name in MEASURED):
        return {}
    mine = Line(*(float(np.mean([r.metrics[name].value for r in records])) for name in MEASURED))
    measured = f"measured{averaged(records)}: {equation(mine)}, R² = {mine.r_squared:.2f}"
    theirs = PUBLISHED.get(percentile(records[0]))
    return {measured: mine} | ({f"published: {equation(theirs)}": theirs} if theirs else {})


def percentile(record: Record) -> int:
    """Which percentile of the scores rho is."""
    return int(record.cell["attack"]["parameters"].get("percentile", 99))


def equation(line: Line) -> str:
    """r(ρ) in words."""
    return f"r(ρ) = {line.slope:.3f} ρ {'−' if line.intercept < 0 else '+'} {abs(line.intercept):.3f}"


def moles(record: Record, arrays: Arrays) -> "Figure | None":
    """Moles between the images of both classes that their scorer is surest of; None where there are none."""
    if "moles" not in arrays or arrays["moles"].ndim != 4 or arrays["moles"].dtype != np.uint8:
        return None
    a, c = (short(record.data.classes[i], NAME) for i in arrays["pair"].tolist())
    score = arrays["scores"].astype(np.float64)
    titles = {
        "attacked": f"{a}: the {len(arrays['attacked'])} surest",
        "moles": f"{c}: the {len(score)} best moles for {a}\nP({a}) {score.min():.2f}–{score.max():.2f}",
        "confounding": f"{c}: the {len(arrays['confounding'])} surest",
    }
    groups = {titles[name]: arrays[name] for name in titles}
    who = "scorer" if record.scenario == "continual" else "victim"
    what = f"Moles (red) beside training images of both classes that the {who} is surest of; none of them is changed"
    return drawing.gallery(groups, titles["moles"], what, report.title([record]))
