"""A chart: the same numbers as a table, as a Vega-Lite specification for the browser, and as a Matplotlib figure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Value = str | float | int | None


@dataclass(frozen=True, eq=False)
class Chart:
    """name: file-safe, unique on a site. caption: how to read it, plain text. rows: as `columns` names them.

    subjects: on whose pages it stands, such as ("scenario active", "attack feature_collision", "victim al_resnet50").
    spec: Vega-Lite without its data. draw: the same as a Matplotlib figure (called only when a picture is wanted).
    """

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    subjects: tuple[str, ...]
    spec: Mapping[str, Any]
    draw: Callable[["Chart"], "Figure"]
