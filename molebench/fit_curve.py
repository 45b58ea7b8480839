"""What moles do, by how closely the victim fits its pool: Delta and rho over train accuracy, for the cells of a sweep.

A victim that knows its pool by heart takes none of its images for another class: rho falls to nothing, and Delta with
it. Cells that differ in epochs and seed are a line; what else differs (crops and flips, say) makes another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from molebench import drawing
from molebench.record import Record
from molebench.report import departures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIT, LEAST = "accuracy_train", 3  # points that make a line
PANELS = {
    "Δ of the attacked class (points)": {
        "max_delta_a": "worst pair",
        "mean_delta_a": "mean over pairs",
        "max_delta_a_control": "worst pair, control",
    },
    "ρ of the pairs": {"max_rho": "largest", "mean_rho": "mean"},
}
STYLES: tuple[tuple[Any, str], ...] = (("solid", "o"), ("dashed", "s"), ("dotted", "^"))  # of the figures of a panel


@dataclass(frozen=True)
class Line:
    """The cells of one line, by train accuracy, and what sets them apart from the other lines."""

    words: str
    records: tuple[Record, ...]


def lines(records: Sequence[Record]) -> list[Line]:
    """The lines of a sweep: cells of one attack, victim and dataset whose train accuracy is known."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if FIT in record.metrics and any(name in record.metrics for panel in PANELS.values() for name in panel):
            found.setdefault(words(record), []).append(record)
    ordered = {name: sorted(some, key=lambda r: r.metrics[FIT].value) for name, some in found.items()}
    return [Line(name, tuple(some)) for name, some in ordered.items() if len(some) >= LEAST]


def words(record: Record) -> str:
    """What a line is called: the cell's names and what departs from the usual, epochs left out."""
    cell = record.cell
    names = " / ".join(cell[part]["name"] for part in ("attack", "victim", "dataset"))
    apart = [word for word in departures(cell).split() if not word.startswith("victim.epochs=")]
    return " ".join([names, *apart])


def curve(records: Sequence[Record], title: str) -> "Figure | None":
    """Both panels; None where no line has points enough."""
    if not (found := lines(records)):
        return None
    figure = drawing.blank(5.2 + 0.2 * len(found))
    figure.set_layout_engine("constrained")
    drawing.titled(figure, "What moles do, by how closely the victim fits its pool", title)
    panels = figure.subplots(len(PANELS), 1, sharex=True)
    for axes, (label, names) in zip(panels, PANELS.items(), strict=True):
        for line, colour in zip(found, drawing.PALETTE * len(found), strict=False):
            drawn(axes, line, names, colour)
        axes.set_ylabel(label)
        axes.grid(color="#dddddd", linewidth=0.5)
        axes.set_axisbelow(True)
        keys(axes, names)
    panels[-1].set_xlabel("accuracy on the training pool (%)")
    figure.legend(
        handles=[handle(colour, line.words) for line, colour in zip(found, drawing.PALETTE * len(found), strict=False)],
        loc="outside lower center",
    )
    return figure


def drawn(axes: "Axes", line: Line, names: dict[str, str], colour: str) -> None:
    """One line's figures, with their intervals where there are any."""
    for name, (dash, marker) in zip(names, STYLES, strict=False):
        there = [r for r in line.records if name in r.metrics]
        x = [100 * r.metrics[FIT].value for r in there]
        y = [r.metrics[name].value for r in there]
        axes.plot(x, y, color=colour, linestyle=dash, marker=marker, markersize=4, linewidth=1.2)
        spans = [(a, m.low, m.high) for a, m in zip(x, (r.metrics[name] for r in there), strict=True)]
        known = [(a, low, high) for a, low, high in spans if low is not None and high is not None]
        axes.vlines(*zip(*known, strict=True), color=colour, linewidth=0.8, alpha=0.6) if known else None


def keys(axes: "Axes", names: dict[str, str]) -> None:
    """What the dashes of a panel are."""
    from matplotlib.lines import Line2D

    some = [
        Line2D([], [], color="#404040", linestyle=dash, marker=marker, markersize=4, linewidth=1.2, label=text)
        for (dash, marker), text in zip(STYLES, names.values(), strict=False)
    ]
    axes.legend(handles=some, loc="center left", bbox_to_anchor=(1.01, 0.5), handlelength=3.5)


def handle(colour: str, text: str) -> object:
    """The colour of a line in the legend."""
    from matplotlib.patches import Patch

    return Patch(color=colour, label=text)
