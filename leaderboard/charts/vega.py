"""What the Vega-Lite specifications of all charts have in common.

Fields are plain words that this package chooses, never a record's; no specification holds a URL. Text takes its colours
from the page.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from molebench.leaderboard.charts.looks import GREY

Json = dict[str, Any]
MARK = 60  # square pixels of a point


def layered(layers: Sequence[Mapping[str, Any]], height: int) -> Json:
    """A chart as wide as its place, on the page's own ground, its legend below."""
    return {
        "width": "container",
        "height": height,
        "background": "transparent",
        "layer": list(layers),
        "config": {
            "view": {"stroke": None},
            "axis": {"labelLimit": 240, "gridOpacity": 0.35},
            "legend": {"orient": "bottom", "labelLimit": 420, "symbolSize": 90, "symbolOpacity": 1},
        },
    }


def axis(field: str, title: str, **more: Any) -> Json:
    """A quantitative channel; its axis need not begin at zero."""
    return {"field": field, "type": "quantitative", "title": title, "scale": {"zero": False}, **more}


def tips(numbers: Mapping[str, str], words: Sequence[str] = ()) -> list[Json]:
    """What hovering shows: words as they are, numbers in a format."""
    said: list[Json] = [{"field": word, "type": "nominal"} for word in words]
    return said + [{"field": field, "type": "quantitative", "format": form} for field, form in numbers.items()]


def at(channel: str, value: float = 0) -> Json:
    """A thin line across the chart where a channel has a value."""
    mark = {"type": "rule", "color": GREY, "strokeWidth": 1}
    return {"data": {"values": [{}]}, "mark": mark, "encoding": {channel: {"datum": value}}}
