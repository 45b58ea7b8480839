"""How series are told apart, on paper and on screen: by colour and by shape or dash, on light and on dark ground.

Colours are Okabe and Ito's, as in the pictures of a cell; grey stands for their black, which dark pages swallow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from molebench.drawing import LOOKS, MARKERS, PALETTE, Look

GREY = "#808080"
LONG = 24  # letters of a name: of longer ones a phone has no room for two beside each other
ARMS = LOOKS | {"control_undefended": replace(LOOKS["control_undefended"], colour=GREY)}
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1)), (0, (6, 2, 1, 2)))
SHAPES = {"o": "circle", "^": "triangle-up", "s": "square", "D": "diamond", "v": "triangle-down"}
COLOURS = (PALETTE[0], PALETTE[5], *PALETTE[1:5], GREY)  # those that are farthest apart first


def many(n: int) -> list[Look]:
    """n looks; 35 of them differ in colour or marker."""
    return [
        Look(COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)], MARKERS[i % len(MARKERS)], hollow=i >= len(COLOURS))
        for i in range(n)
    ]


def dashes(look: Look) -> list[int]:
    """A dash as Vega has it."""
    return [1, 0] if isinstance(look.dash, str) else [2 * length for length in look.dash[1]]


def encoded(field: str, looks: Mapping[str, Look], channels: Sequence[str]) -> dict[str, Any]:
    """The channels that tell the series of a field apart: color, shape, strokeDash."""
    ranges: dict[str, list[Any]] = {
        "color": [look.colour for look in looks.values()],
        "shape": [SHAPES[look.marker] for look in looks.values()],
        "strokeDash": [dashes(look) for look in looks.values()],
    }
    columns = 2 if max(map(len, looks), default=0) <= LONG else 1
    return {
        channel: {
            "field": field,
            "type": "nominal",
            "title": None,
            "legend": {"columns": columns},
            "scale": {"domain": list(looks), "range": ranges[channel]},
        }
        for channel in channels
    }
