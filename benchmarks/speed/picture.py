"""The picture of growth: a panel a series with its points, the line through them and its equation."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.speed.growth import Series, equation, line_of
from benchmarks.speed.measured import Measured
from molebench import drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE = Path(__file__).parents[2] / "docs" / "pictures" / "growth.svg"
COLUMNS, TALL = 2, 1.9  # panels in a row; inches of each


def figure(measured: Measured) -> "Figure":
    """All series."""
    rows = -(-len(measured.growth) // COLUMNS)
    made = drawing.blank(TALL * rows)
    made.set_layout_engine("constrained")
    panels = made.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, series in zip(panels, measured.growth, strict=False):
        panel(axes, series)
    for axes in panels[len(measured.growth) :]:
        axes.set_axis_off()
    return made


def panel(axes: Any, series: Series) -> None:
    """Points, and the line from no things at all to most of them."""
    line, most = line_of(series), max(series.sizes)
    axes.plot([0, most], [line.at(0), line.at(most)], color=drawing.PALETTE[0], linewidth=1.5)
    axes.plot(series.sizes, series.seconds, drawing.MARKERS[0], color=drawing.PALETTE[5], markersize=4.5)
    axes.set_title(f"{series.name}: {equation(line)}, R² {line.share:.3f}")
    axes.set(xlabel=series.things, ylabel="seconds", xlim=(0, 1.05 * most), ylim=(0, 1.1 * max(series.seconds)))
    axes.grid(color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)


def said(measured: Measured) -> str:
    """What the picture says, for those who do not see it; a test reads it, too."""
    return "; ".join(f"{each.name}: {equation(line_of(each))}" for each in measured.growth)


def draw(measured: Measured, file: Path = FILE) -> None:
    """Writes it, without a date: the same figures give the same file."""
    import matplotlib as mpl

    with drawing.styled(), mpl.rc_context({"svg.hashsalt": "growth"}):
        figure(measured).savefig(file, format="svg", metadata={"Date": None, "Description": said(measured)})
