"""A chart as a picture for papers (the same chart gives the same bytes), and a legend that fits the page."""

import io
import warnings
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from molebench.drawing import DPI, WIDTH, inches, styled
from molebench.leaderboard.charts.chart import Chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEY = 0.75  # inches, of a line or a mark in a legend and the space around it
# what a picture says of itself: nothing that changes with the day or the library
ABOUT: Final[dict[str, dict[str, Any]]] = {
    "svg": {"Date": None, "Creator": "molebench"},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": "molebench", "Producer": None},
}
SVG: Final[Any] = {"svg.hashsalt": "molebench", "svg.fonttype": "none"}  # text stays text


def drawn(chart: Chart, form: str) -> bytes:
    """The picture of a chart as svg, png or pdf."""
    return pictures(chart, [form])[form]


def pictures(chart: Chart, forms: Iterable[str]) -> dict[str, bytes]:
    """A chart in several forms, which takes little longer than in one."""
    import matplotlib as mpl

    with styled(), mpl.rc_context(SVG), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*Glyph .* missing from font")  # of names in rare scripts
        figure = chart.draw(chart)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # everything has its place now
        return {form: saved(figure, form) for form in forms}


def saved(figure: "Figure", form: str) -> bytes:
    """What a file of it holds. savefig would draw it once more, to lay it out again."""
    out, backend = io.BytesIO(), import_module(f"matplotlib.backends.backend_{'agg' if form == 'png' else form}")
    figure.set_dpi(DPI if form == "png" else 72)
    getattr(backend.FigureCanvas(figure), f"print_{form}")(out, metadata=ABOUT[form])
    return out.getvalue()


def keyed(figure: "Figure", most: int = 3) -> None:
    """A legend below, of as many columns as the page's width has room for."""
    entries = dict(zip(*reversed(figure.axes[0].get_legend_handles_labels()), strict=True))
    widest = max((inches(label) for label in entries), default=0.0) + KEY
    columns = max(1, min(most, int((WIDTH - 0.2) / widest)))
    legend = figure.legend(entries.values(), entries, loc="outside lower center", ncols=columns, handlelength=4)
    for handle in legend.legend_handles:
        if handle:
            handle.set_alpha(1)
