"""What hiding costs a collision: success, accuracy and collision ratio by how quiet its noise is, over attack.beta.

beta weighs the noise's squared norm in the attack's objective: the larger it is, the higher the signal-to-noise ratio
(of sounds the SNR, of images the PSNR), and the less is left of the collision. Cells that differ in beta and seed are a
line.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from molebench import drawing
from molebench.record import MetricValue, Record
from molebench.report import departures, modality_of, over, over_seeds

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST = 2  # values of beta that make a line
UNITS = {"snr": "SNR of the poisons (dB)", "psnr": "PSNR of the poisons (dB)"}
PANELS = {
    "success_rate": "success rate (%)",
    "accuracy_poisoned": "accuracy (% of test items)",
    "collision_ratio": "collision ratio",
}
CLEAN: Any = (0, (4, 2))
CHANCE: Any = (0, (12, 4))
GREY = "#404040"
LETTERS = 36  # of a line of the legend
NEAR, SPAN = 1.0, 6.0  # dB: of points that share a label, and that an axis shows at least
WIDE, ROW = 2.6, 10  # inches of a panel, points of a line of labels


@dataclass(frozen=True)
class Point:
    """The cells of one beta. figures: their metrics. over: what the intervals are over. ok: whether every cell is."""

    beta: float
    figures: dict[str, MetricValue]
    over: str
    ok: bool


@dataclass(frozen=True)
class Line:
    """Cells that differ in beta and seed alone, in order of beta, and how they are drawn."""

    words: str
    points: tuple[Point, ...]
    colour: str
    marker: str

    def values(self, name: str) -> list[float]:
        """A metric of every point; shares in percent."""
        return [scale(name) * point.figures[name].value for point in self.points]


def lines(records: Sequence[Record]) -> list[Line]:
    """The lines of a sweep, of attacks that have beta and injected anything."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        if "beta" in record.cell["attack"]["parameters"] and {"psnr", *PANELS} <= record.metrics.keys():
            groups.setdefault(names(record), []).append(record)
    found = {name: each for name, some in groups.items() if len(each := points(some)) >= LEAST}
    shared = set.intersection(*map(set, found)) if found else set()
    words = [" ".join([name[0], *(word for word in name[1:] if word not in shared)]) for name in found]
    looks = zip(drawing.PALETTE * len(found), drawing.MARKERS * len(found), strict=False)
    return [Line(said, each, *look) for said, each, look in zip(words, found.values(), looks, strict=False)]


def names(record: Record) -> tuple[str, ...]:
    """What the cells of a line have in common: victim, head and dataset, then what may set it apart from others."""
    cell = record.cell
    head = cell["victim"]["parameters"].get("head")
    who = " ".join(word for word in (cell["victim"]["name"], head, "on", cell["dataset"]["name"]) if word)
    rest = [word for word in departures(cell).split() if not word.startswith(("attack.beta=", "victim.head="))]
    return who, cell["attack"]["name"], *(f"behind {defense['name']}" for defense in cell["defenses"]), *rest


def points(records: Sequence[Record]) -> tuple[Point, ...]:
    """The cells of a line by beta, those of several seeds together."""
    found: dict[float, list[Record]] = {}
    for record in records:
        found.setdefault(float(record.cell["attack"]["parameters"]["beta"]), []).append(record)
    return tuple(
        Point(beta, over_seeds(some), spread(some), all(record.status == "ok" for record in some))
        for beta, some in sorted(found.items())
    )


def spread(records: Sequence[Record]) -> str:
    """What the intervals of a point are over, such as '5 seeds'."""
    return "test items" if len(records) == 1 else f"{len(records)} {over(records)}"


def noise(records: Sequence[Record]) -> str:
    """The metric that says how quiet noise is: snr where there are sounds, psnr where there are images alone."""
    return "snr" if any(modality_of(record.cell) == "audio" for record in records) else "psnr"


def scale(name: str) -> float:
    """By what a metric is multiplied to be shown."""
    return 1.0 if name in ("collision_ratio", *UNITS) else 100.0


def curve(records: Sequence[Record], title: str) -> "Figure | None":
    """Success, accuracy and collision ratio by the noise; None where beta does not vary."""
    if not (found := lines(records)):
        return None
    x = noise(records)
    figure = drawing.blank(5.0 + 0.32 * max(len(found) - 6, 0))  # the legend has half of the height
    figure.set_layout_engine("constrained")
    drawing.titled(figure, "What hiding costs: success, accuracy and collision ratio, by how quiet the noise is", title)
    axes = figure.subplot_mosaic([["success_rate", "accuracy_poisoned"], ["collision_ratio", "keys"]])
    for name, label in PANELS.items():
        for line in found:
            drawn(axes[name], line, x, name)
        axes[name].set(xlabel=UNITS[x], ylabel=label)
        axes[name].grid(color="#dddddd", linewidth=0.5)
        axes[name].set_axisbelow(True)
        axes[name].set_xlim(wide([value for line in found for value in line.values(x)]))
    bounded(axes)
    betas(axes["success_rate"], found, x)
    keys(axes["keys"], found, chance(axes["success_rate"], found))
    return figure


def drawn(axes: "Axes", line: Line, x: str, name: str) -> None:
    """A line's metric with its intervals, hollow where a cell is not ok; beside a poisoned accuracy the clean one."""
    at, times = line.values(x), scale(name)
    axes.plot(at, line.values(name), color=line.colour, linewidth=1.5)
    if name == "accuracy_poisoned":
        clean(axes, line, at)
    for place, point in zip(at, line.points, strict=True):
        figure = point.figures[name]
        low, high = (times * end for end in ends(figure))
        axes.vlines(place, low, high, color=line.colour, linewidth=1, alpha=0.7)
        face = line.colour if point.ok else "white"
        axes.plot(place, times * figure.value, line.marker, color=line.colour, markersize=5, markerfacecolor=face)


def clean(axes: "Axes", line: Line, at: Sequence[float]) -> None:
    """The accuracy of the clean arms, dashed, its intervals as a band."""
    low, high = zip(*([100 * end for end in ends(p.figures["accuracy_clean"])] for p in line.points), strict=True)
    axes.fill_between(at, low, high, color=line.colour, alpha=0.12, linewidth=0)
    axes.plot(at, line.values("accuracy_clean"), color=line.colour, linewidth=1.2, linestyle=CLEAN)


def ends(figure: MetricValue) -> tuple[float, float]:
    """The ends of an interval; where there is none, the value itself."""
    if figure.low is None or figure.high is None:
        return figure.value, figure.value
    return figure.low, figure.high


def wide(values: Sequence[float]) -> tuple[float, float]:
    """Both ends of an axis of noise: with a margin, and not so near each other that nothing looks like much."""
    middle, half = (min(values) + max(values)) / 2, 0.6 * (max(values) - min(values))
    return middle - max(half, SPAN / 2), middle + max(half, SPAN / 2)


def bounded(axes: "dict[str, Axes]") -> None:
    """Shares between 0 and 100 %, whatever their intervals; ratios from 0; room above success for beta."""
    axes["success_rate"].set(ylim=(-3, 126), yticks=range(0, 101, 20))
    low, high = axes["accuracy_poisoned"].get_ylim()
    axes["accuracy_poisoned"].set_ylim(max(low, 0), min(high, 100))
    axes["collision_ratio"].set_ylim(bottom=0)


def betas(axes: "Axes", found: Sequence[Line], x: str) -> None:
    """beta above the points, one label for those of nearly one noise (two heads meet the same poisons).

    A label that would touch the one before it stands a line higher.
    """
    low, high = axes.get_xlim()
    end, raised = low, False
    for mine in together([(p.figures[x].value, p) for line in found for p in line.points]):
        said = ", ".join(f"{beta:g}" for beta in sorted({point.beta for _, point in mine}))
        place, top = mine[0][0], 100 * max(ends(point.figures["success_rate"])[1] for _, point in mine)
        half = 0.55 * drawing.inches(said) / WIDE * (high - low)
        raised = place - half < end and not raised
        end = place + half
        above = (0, 4 + ROW * raised)
        axes.annotate(said, (place, min(top, 103)), above, textcoords="offset points", ha="center", va="bottom")


def together(points: Sequence[tuple[float, Point]]) -> list[list[tuple[float, Point]]]:
    """Points by noise, those of nearly the same in one group."""
    found: list[list[tuple[float, Point]]] = []
    for place, point in sorted(points, key=lambda each: each[0]):
        if found and place - found[-1][0][0] < NEAR:
            found[-1].append((place, point))
        else:
            found.append([(place, point)])
    return found


def chance(axes: "Axes", found: Sequence[Line]) -> list["Artist"]:
    """What random queries would buy, once where it is the same for several lines; what the legend says of it."""
    rates = {f.value for line in found for p in line.points if (f := p.figures.get("random_success_rate"))}
    known = sorted({round(100 * rate, 1) for rate in rates})
    return [axes.axhline(y, color=GREY, linewidth=1, linestyle=CHANCE, label=f"chance: {y:.1f} %") for y in known]


def keys(axes: "Axes", found: Sequence[Line], more: Sequence["Artist"]) -> None:
    """What lines, dashes, marks and numbers are, in a panel of their own."""
    from matplotlib.lines import Line2D

    axes.set_axis_off()
    handles: list[Artist] = [
        Line2D([], [], color=line.colour, marker=line.marker, markersize=5, label=line.words) for line in found
    ]
    handles += [Line2D([], [], color=GREY, linestyle=CLEAN, label="dashed: clean accuracy"), *more]
    if not all(point.ok for line in found for point in line.points):
        said = "hollow: a cell with warnings"
        handles.append(Line2D([], [], color=GREY, linestyle="none", marker="o", markerfacecolor="white", label=said))
    overs = " and ".join(sorted({point.over for line in found for point in line.points}))
    for said in ("numbers at the points: β", f"bars, bands: 95 % over {overs}"):
        handles.append(Line2D([], [], linestyle="none", label=said))
    for handle in handles:
        handle.set_label(textwrap.fill(str(handle.get_label()), LETTERS))
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(-0.1, 1), handlelength=2.5)
