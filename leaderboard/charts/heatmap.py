"""Which class falls to which: Delta of every attacked class by its confounding class, mean over updates and seeds.

    Delta_a = accuracy of the attacked class, after the update - before, in points

from the counts (n, correct) that a record keeps of each arm. A continual learner is judged after its last task.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from molebench.leaderboard.charts import vega
from molebench.leaderboard.charts.chart import Chart, Value
from molebench.leaderboard.charts.groups import ARMS, Group, groups, sound, subjects
from molebench.leaderboard.charts.words import distinct, figure, filed
from molebench.leaderboard.standings import Standings
from molebench.mole_effects import ATTACK, DEFENDED
from molebench.pair_deltas import of_class
from molebench.record import Record
from molebench.worst_case import setting_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST, MOST = 2, 2000  # pairs of a map
LEAST_WIDE = 2.0  # points that the colours span at least, so that noise stays pale
WRITTEN = 12  # classes, up to which numbers have room in their cells
ROW = 26  # pixels
COLUMNS = ("attacked", "confounding", "delta", "rho", "moles", "updates")
LOSS, NONE, GAIN, INK = "#D55E00", "#F4F4F4", "#56B4E9", "#1C1E21"  # INK reads on all of them
Pair = tuple[str, str]
Seen = tuple[float, float | None, float]  # Delta, rho, moles


def charts(records: Sequence[Record], folders: Mapping[str, Path], standings: Sequence[Standings]) -> Iterator[Chart]:
    """One for each group, behind its defense if it has one; what is undefended once for each setting and attack."""
    del folders, standings
    shown: set[tuple[str, str]] = set()
    for group in groups(records, "offline", "continual"):
        first = group.records[0]
        if not all(record.updates and sound(record) for record in group.records):
            continue
        bare = (setting_of(first), str(first.cell["attack"]))
        for arm in ([] if bare in shown else [ATTACK]) + ([DEFENDED] if group.defenses else []):
            if len(found := pairs(group.records, arm)) >= LEAST:
                shown |= {bare}
                yield chart(group, arm, found)


def pairs(records: Sequence[Record], arm: str) -> dict[Pair, list[Seen]]:
    """What every update did to its pairs under an arm."""
    found: dict[Pair, list[Seen]] = {}
    for record in records:
        before, place = record.arms["clean_undefended"], {name: i for i, name in enumerate(record.data.classes)}
        for update in record.updates:
            after = update.arms.get(arm) or record.arms.get(arm)
            for pair in update.pairs if after and update.moles else []:
                delta = of_class(before, after, place[pair.attacked]) if after else None
                if delta is not None:
                    found.setdefault((pair.attacked, pair.confounding), []).append((delta, pair.rho, float(pair.n)))
    return found


def chart(group: Group, arm: str, found: Mapping[Pair, Sequence[Seen]]) -> Chart:
    """The map of a group under an arm."""
    classes = group.records[0].data.classes
    word, place = dict(zip(classes, distinct(classes, 24), strict=True)), {name: i for i, name in enumerate(classes)}
    worst = sorted(found, key=lambda pair: (float(np.mean([d for d, _, _ in found[pair]])), pair))[:MOST]
    rows = [row(pair, found[pair], word) for pair in sorted(worst, key=lambda p: (place[p[0]], place[p[1]]))]
    left = f" Shown are the {MOST} of {len(found)} pairs that lose most." if len(found) > MOST else ""
    together = any(len(update.pairs) > 1 for record in group.records for update in record.updates)
    joint = " An update for several pairs counts for each of them." if together else ""
    about = group if arm == DEFENDED else Group(group.records, group.apart, bare=True)
    return Chart(
        name=filed("heatmap", [*about.words], [group.records[0].group, arm]),
        title=f"Δ of attacked classes by confounding class: {about.title}",
        caption=f"{ARMS[arm].capitalize()}: change of the attacked class's accuracy in points (orange: it loses), mean "
        f"over updates and seeds ({len(group.records)}). ρ̃: how surely the best moles pass for the attacked class."
        f"{joint}{left}",
        columns=COLUMNS,
        rows=tuple(rows),
        subjects=subjects(group.records),
        spec=specified([row[0] for row in rows], [row[1] for row in rows], widest(rows), [word[c] for c in classes]),
        draw=draw,
    )


def row(pair: Pair, seen: Sequence[Seen], word: Mapping[str, str]) -> tuple[Value, ...]:
    """A pair as a row."""
    delta, n = float(np.mean([d for d, _, _ in seen])), float(np.mean([n for _, _, n in seen]))
    known = [rho for _, rho, _ in seen if rho is not None]
    rho = figure(float(np.mean(known))) if known else None
    return (word[pair[0]], word[pair[1]], figure(delta), rho, figure(n), len(seen))


def widest(rows: Sequence[tuple[Value, ...]]) -> float:
    """What the colours span on either side of no change."""
    return max([LEAST_WIDE, *(abs(row[2]) for row in rows if isinstance(row[2], float))])


def specified(
    attacked: Sequence[Value], confounding: Sequence[Value], high: float, order: Sequence[str]
) -> dict[str, Any]:
    """Coloured cells, with their numbers where there is room; hovering says the rest."""
    there = [[name for name in order if name in set(each)] for each in (attacked, confounding)]
    sides = {
        "y": {"field": "attacked", "type": "nominal", "sort": there[0], "title": "attacked class"},
        "x": {
            "field": "confounding",
            "type": "nominal",
            "sort": there[1],
            "title": "confounding class (its images are the moles)",
            "axis": {"labelAngle": -45},
        },
    }
    colour = {
        "field": "delta",
        "type": "quantitative",
        "title": "Δ (points)",
        "scale": {"domain": [-high, 0, high], "range": [LOSS, NONE, GAIN]},
        "legend": {"orient": "bottom", "gradientLength": 200},
    }
    tips = vega.tips({"delta": ".1f", "rho": ".2f", "moles": ".0f", "updates": "d"}, ["attacked", "confounding"])
    layers: list[vega.Json] = [{"mark": {"type": "rect"}, "encoding": {**sides, "color": colour, "tooltip": tips}}]
    if max(map(len, there)) <= WRITTEN:
        text = {"field": "delta", "type": "quantitative", "format": ".1f"}
        mark = {"type": "text", "color": INK, "fontSize": 11}
        layers.append({"mark": mark, "encoding": {**sides, "text": text, "tooltip": tips}})
    return vega.layered(layers, max(ROW if len(there[0]) <= WRITTEN else 12, 8) * len(there[0]))


def draw(chart: Chart) -> "Figure":
    """The same on paper."""
    from molebench import matrices

    order = chart.spec["layer"][0]["encoding"]
    rows, columns = order["y"]["sort"], order["x"]["sort"]
    grid, rhos = np.full((2, len(rows), len(columns)), np.nan)
    for attacked, confounding, delta, rho, *_ in chart.rows:
        place = rows.index(attacked), columns.index(confounding)
        grid[place], rhos[place] = (np.nan if value is None else value for value in (delta, rho))
    scale = matrices.diverging([grid], LEAST_WIDE, "Δ of the attacked class (points)")
    panels = [matrices.Panel("attacked class (row) by confounding (column)", grid, scale, matrices.two_digits)]
    if np.isfinite(rhos).any():
        share = matrices.Scale(matrices.SHARE, 0.0, 1.0, "ρ̃ of the pair")
        panels.append(matrices.Panel("ρ̃ of the pair", rhos, share, lambda rho: f"{rho:.2f}".lstrip("0")))
    return matrices.matrices(panels, rows, columns, chart.title, chart.caption)
