"""Charts as pages hold them: the picture, the specification with its data, and the numbers as a table."""

from dataclasses import dataclass
from typing import Any

from molebench.leaderboard.charts.chart import Chart, Value
from molebench.leaderboard.naming import file_safe, readable, slug
from molebench.leaderboard.tables import Cell, Column, Row, Table

MOST = 100  # rows of numbers on a page; the CSV file has all


@dataclass(frozen=True, eq=False)
class Figure:
    """A chart on a page. name: of its files."""

    name: str
    title: str
    caption: str
    spec: dict[str, Any]
    table: Table


def figure(chart: Chart) -> Figure:
    """A chart with its data."""
    name = file_safe(chart.name)
    values = [{column: inert(value) for column, value in zip(chart.columns, row, strict=True)} for row in chart.rows]
    return Figure(name, chart.title, chart.caption, {**chart.spec, "data": {"values": values}}, numbers(name, chart))


def inert(value: Value) -> Value:
    """A value of a chart's data; text as a page shows it."""
    return readable(value) if isinstance(value, str) else value


def numbers(name: str, chart: Chart) -> Table:
    """The numbers of a chart."""
    more = f", the first {MOST} of {len(chart.rows)} rows" if len(chart.rows) > MOST else ""
    kinds = [any(isinstance(row[i], float | int) for row in chart.rows) for i in range(len(chart.columns))]
    columns = tuple(Column(slug(title), title, kind) for title, kind in zip(chart.columns, kinds, strict=True))
    rows = tuple(Row(str(n), tuple(map(cell, row))) for n, row in enumerate(chart.rows[:MOST]))
    return Table(f"chart-{name}-numbers", f"{chart.title}{more}", columns, rows, enhanced=False)


def cell(value: Value) -> Cell:
    """A number or a word of a chart."""
    if isinstance(value, float | int):
        return Cell(f"{value:.4g}", value=float(value))
    return Cell("–" if value is None else value)
