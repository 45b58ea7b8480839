"""Models x draws: how much of a figure's spread is another trained model's, and how much another draw's.

A trial is a trained model (`victim.seed`) and a draw of the attack's and the control's random images (the cell's seed).
"""

from collections.abc import Iterable, Sequence
from typing import Any

from molebench.pair_deltas import model
from molebench.record import Record
from molebench.report import departures, grouped, number, paragraph, rendered
from molebench.stages import key
from molebench.stats import by_model, variance_split

SHOWN = (
    "delta_a",
    "delta_total",
    "max_delta_a",
    "p95_delta_a",
    "mean_delta_a",
    "max_delta_total",
    "delta_a_control",
    "delta_total_control",
    "max_delta_a_control",
    "max_delta_total_control",
)
HEAD = ("cell", "figure", "models", "draws", "mean", "sd between models", "sd between draws")
CAPTION = (
    "Models x draws. A trial is a trained model (victim.seed) and a draw (seed); points. The variance is split by "
    "analysis of variance; an sd between models of 0.0 may be a negative estimate."
)


def models_table(records: Iterable[Record], form: str) -> list[str]:
    """A paragraph and a table of the groups with two models or more of two draws or more; nothing without one."""
    rows = [row for group in families(records) for row in split_rows(group)]
    return [paragraph(CAPTION, form), rendered(HEAD, rows, form)] if rows else []


def families(records: Iterable[Record]) -> list[list[Record]]:
    """Records that differ in their seed and their victim's only, together; one of each trial."""
    found: dict[str, dict[tuple[int, int], Record]] = {}
    for record in (record for group in grouped(records) for record in group):
        trials = found.setdefault(key(seedless(record)), {})
        trials.setdefault((model(record), record.seeds["cell"]), record)
    return [list(trials.values()) for trials in found.values()]


def seedless(record: Record) -> dict[str, Any]:
    """A record's cell without its seed and its victim's."""
    victim = record.cell["victim"]
    parameters = {name: value for name, value in victim["parameters"].items() if name != "seed"}
    cell = {name: value for name, value in record.cell.items() if name != "seed"}
    return cell | {"victim": {**victim, "parameters": parameters}}


def split_rows(group: Sequence[Record]) -> list[list[str]]:
    """A row a figure, where two models or more have two draws or more."""
    rows: list[list[str]] = []
    for name in SHOWN:
        having = [record for record in group if name in record.metrics]
        by = by_model([record.metrics[name].value for record in having], [model(record) for record in having])
        sizes = sorted(len(values) for values in by.values())
        if len(sizes) > 1 and sizes[-2] > 1:
            split = variance_split(list(by.values()))
            draws = f"{sizes[0]}" if sizes[0] == sizes[-1] else f"{sizes[0]}-{sizes[-1]}"
            points = (split.mean, split.between**0.5, split.within**0.5)
            rows.append(["", name, str(len(sizes)), draws, *(number(value, name) for value in points)])
    if rows:
        rows[0][0] = words(group[0])
    return rows


def words(record: Record) -> str:
    """A cell in words, whatever its seeds."""
    cell = seedless(record)
    names = f"{cell['attack']['name']} against {cell['victim']['name']} on {cell['dataset']['name']}"
    defenses = " + ".join(part["name"] for part in cell["defenses"])
    return ", ".join(said for said in (names, defenses, cell["profile"], departures(cell)) if said)
