"""Collisions in feature space: the clean pool on its two principal axes, and where poisons and control items fall.

Read from what a cell kept for its pictures (illustration.safetensors); a cell without it, or with a damaged or foreign
one, has no such chart.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from molebench.drawing import PALETTE, Look
from molebench.leaderboard.charts import vega
from molebench.leaderboard.charts.chart import Chart, Value
from molebench.leaderboard.charts.drawing import keyed
from molebench.leaderboard.charts.groups import Group, groups, subjects
from molebench.leaderboard.charts.looks import GREY, encoded
from molebench.leaderboard.charts.words import distinct, figure, filed
from molebench.leaderboard.standings import Standings
from molebench.record import Record
from molebench.stages import Arrays, key
from molebench.store import ILLUSTRATION, load_illustration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 2000  # points of a chart
MOST_BYTES = 64 * 2**20  # of a file that is read
MOST_TRIED = 200  # files: a store may hold thousands without a map
COLUMNS = ("kind", "class", "axis1", "axis2")
POISON, CONTROL, POOL = "poison", "control item", "clean item"


def charts(records: Sequence[Record], folders: Mapping[str, Path], standings: Sequence[Standings]) -> Iterator[Chart]:
    """One for each set of poisons: the cells of one attack behind several defenses share theirs."""
    del standings
    seen: set[str] = set()
    several = ((group, record) for group in groups(records, "active") for record in group.records[:1])
    for group, record in islice(((g, r) for g, r in several if held(folders.get(r.key))), MOST_TRIED):
        what = key([record.poison.sha256, record.cell.get("extractor"), record.cell["dataset"], record.cell["seed"]])
        if what not in seen and mapped(arrays := load_illustration(folders[record.key]), len(record.data.classes)):
            seen.add(what)
            yield chart(group, record, arrays)


def held(folder: Path | None) -> bool:
    """Whether there is such a file, of a size to be read."""
    file = folder / ILLUSTRATION if folder else None
    return file is not None and file.is_file() and file.stat().st_size <= MOST_BYTES


def mapped(arrays: Arrays, k: int) -> bool:
    """Whether the arrays are a map of k classes."""
    names = [name for name in ("map.pool", "map.poisoned", "map.control") if name in arrays]
    share = arrays.get("map.share", np.zeros(0))
    return "map.pool" in names and len(names) > 1 and share.shape == (2,) and all(flat(arrays, n, k) for n in names)


def flat(arrays: Arrays, name: str, k: int) -> bool:
    """Whether an array holds finite points of a plane, and its label a class for each."""
    points, label = arrays[name], arrays.get(f"{name}.label", np.zeros(0))
    numeric = points.dtype.kind == "f" and label.dtype.kind in "iu"
    shaped = points.ndim == 2 and points.shape[1:] == (2,) and label.shape == points.shape[:1] and len(points) > 0
    return numeric and shaped and bool(np.isfinite(points).all() and label.min() >= 0 and label.max() < k)


def chart(group: Group, record: Record, arrays: Arrays) -> Chart:
    """The map of a cell."""
    names = distinct(record.data.classes, 24)
    kinds = {POOL: "map.pool", CONTROL: "map.control", POISON: "map.poisoned"}
    there = {kind: name for kind, name in kinds.items() if name in arrays}
    injected = {
        kind: list(points(kind, arrays, name, names, MOST // 4)) for kind, name in there.items() if kind != POOL
    }
    room = MOST - sum(map(len, injected.values()))
    rows = [*points(POOL, arrays, there[POOL], names, room), *(row for some in injected.values() for row in some)]
    left = sum(len(arrays[name]) for name in there.values()) - len(rows)
    said = f" {left} points are left out, evenly." if left else ""
    share = arrays["map.share"]
    bare = Group(group.records, group.apart, bare=True)
    return Chart(
        name=filed("collisions", bare.words, record.key),
        title=f"Where poisons fall in feature space: {bare.title}, seed {record.seeds['cell']}",
        caption="Features on the two principal axes of the clean pool. Where the attack succeeds, its poisons fall "
        f"together; the control's items, its own originals, do not.{said}",
        columns=COLUMNS,
        rows=tuple(rows),
        subjects=subjects(r for r in group.records if r.key == record.key),
        spec=specified([f"axis {i + 1} ({100 * float(share[i]):.0f} % of the clean variance)" for i in (0, 1)], there),
        draw=draw,
    )


def points(kind: str, arrays: Arrays, name: str, classes: Sequence[str], most: int) -> Iterator[tuple[Value, ...]]:
    """The rows of a kind, evenly thinned."""
    there, label = arrays[name], arrays[f"{name}.label"]
    for i in np.unique(np.linspace(0, len(there) - 1, min(most, len(there))).astype(int)).tolist():
        yield (kind, classes[int(label[i])], figure(float(there[i, 0])), figure(float(there[i, 1])))


def looks(kinds: Mapping[str, str]) -> dict[str, Look]:
    """Poisons stand out, control items are hollow, the pool is grey."""
    every = {POOL: Look(GREY, "-", "o"), CONTROL: Look(PALETTE[0], "-", "^"), POISON: Look(PALETTE[5], "-", "s")}
    return {kind: look for kind, look in every.items() if kind in kinds}


def specified(axes: Sequence[str], kinds: Mapping[str, str]) -> dict[str, Any]:
    """Points, the pool faint below."""
    sides = {"x": vega.axis("axis1", axes[0]), "y": vega.axis("axis2", axes[1])}
    told = encoded("kind", looks(kinds), ["color", "shape"])
    tips = vega.tips({"axis1": ".2f", "axis2": ".2f"}, ["kind", "class"])
    encoding = {**sides, **told, "tooltip": tips}
    return vega.layered(
        [{"mark": {"type": "point", "filled": True, "size": 30, "opacity": 0.6}, "encoding": encoding}], 420
    )


def draw(chart: Chart) -> "Figure":
    """The same on paper."""
    from molebench.mole_drawing import framed

    page, (axes,) = framed(1, chart.title, chart.caption, 4.6)
    sides = chart.spec["layer"][0]["encoding"]
    for kind, look in looks({str(row[0]): "" for row in chart.rows}).items():
        x, y = zip(*[row[2:] for row in chart.rows if row[0] == kind], strict=True)
        faint = 0.35 if kind == POOL else 0.6
        axes.scatter(
            x, y, s=9, marker=look.marker, c=look.colour, alpha=faint, linewidths=0, label=f"{kind} ({len(x)})"
        )
    axes.set(xlabel=sides["x"]["title"], ylabel=sides["y"]["title"])
    keyed(page)
    return page
