"""The rows of the whole store: a row is a group of records that differ in their seed only.

What a row shows comes from its records alone, not from the code at hand: the same records make the same page.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from molebench.errors import MolebenchError
from molebench.record import MetricValue, Record
from molebench.report import grouped, over, over_seeds, whole
from molebench.stages import key

SETUP = ("attack", "victim", "dataset", "defenses", "profile")
SHOWN = (
    "delta_total",
    "delta_a",
    "mean_delta_a",
    "max_delta_a",
    "delta_total_vs_control",
    "mean_delta_a_vs_control",
    "delta_total_defended",
    "delta_a_defended",
    "mean_delta_a_defended",
    "recovery",
    "clean_cost",
    "success_rate",
    "collision_ratio",
    "accuracy_clean",
    "accuracy_poisoned",
)
Names = tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """names: attack, victim, dataset, defenses, profile. apart: the parameters that set it apart from its like.

    seeds: seed to key. statuses: how many records of each. figures: those of SHOWN. parts: its defenses, each by
    name. why: it may not be ranked.
    """

    names: dict[str, str]
    parts: tuple[str, ...]
    scenario: str
    apart: dict[str, str]
    seeds: dict[int, str]
    statuses: Counter[str]
    over: str
    figures: Mapping[str, MetricValue]
    rankable: bool
    why: str

    @property
    def keys(self) -> tuple[str, ...]:
        """Of its records, by seed."""
        return tuple(self.seeds.values())

    @property
    def status(self) -> str:
        """Every status among them."""
        return " ".join(sorted(self.statuses))

    @property
    def title(self) -> str:
        """What it is, in words."""
        names = self.names
        return f"{names['attack']} against {names['victim']} on {names['dataset']}, defenses {names['defenses']}"


def rows(records: Iterable[Record]) -> list[Row]:
    """A row for each group; ordered by dataset, victim, attack and defenses, and the parameters behind them."""
    groups = grouped(records)
    varied = varying(groups)
    return sorted((row(group, varied[setup(group[0])]) for group in groups), key=order)


def row(group: Sequence[Record], varied: Iterable[str]) -> Row:
    """One row. varied: the parameters in which those with the same names differ."""
    first, own = group[0], parameters(group[0].cell)
    return Row(
        names=dict(zip(SETUP, setup(first), strict=True)),
        parts=tuple(part["name"] for part in first.cell["defenses"]) or ("none",),
        scenario=first.scenario,
        apart={name: own[name] for name in varied if name in own},
        seeds={record.seeds["cell"]: record.key for record in sorted(group, key=lambda r: r.seeds["cell"])},
        statuses=Counter(record.status for record in group),
        over=over(group),
        figures=over_seeds([slim(record) for record in group]),
        rankable=all(record.rankable for record in group),
        why=why(group),
    )


def slim(record: Record) -> Record:
    """The same with no more than a row shows of it."""
    metrics = {name: record.metrics[name] for name in SHOWN if name in record.metrics}
    return record.model_copy(update={"metrics": metrics, "updates": []})


def order(row: Row) -> tuple[str, ...]:
    """Where a row stands: no ranking, but the names in order and the parameters behind them."""
    names = (row.names[name] for name in ("dataset", "victim", "attack", "defenses", "profile"))
    return (*names, *(f"{name}={value}" for name, value in row.apart.items()), *row.keys)


def setup(record: Record) -> Names:
    """A record's names, in the order of SETUP."""
    cell = record.cell
    return (*(cell[role]["name"] for role in ("attack", "victim", "dataset")), defended(cell), cell["profile"])


def defended(cell: Mapping[str, Any]) -> str:
    """The defenses of a cell in words."""
    return " + ".join(part["name"] for part in cell["defenses"]) or "none"


def varying(groups: Iterable[Sequence[Record]]) -> dict[Names, list[str]]:
    """For groups of the same names, the parameters in which they differ."""
    alike: dict[Names, list[dict[str, str]]] = {}
    for group in groups:
        alike.setdefault(setup(group[0]), []).append(parameters(group[0].cell))
    every = {names: dict.fromkeys(name for each in found for name in each) for names, found in alike.items()}
    return {
        names: [name for name in every[names] if len({each.get(name) for each in found}) > 1]
        for names, found in alike.items()
    }


def parameters(cell: Mapping[str, Any]) -> dict[str, str]:
    """Every parameter of a cell, such as 'victim.head': 'nn1'."""
    return {f"{role}.{name}": str(value) for role, part in parts(cell) for name, value in part["parameters"].items()}


def parts(cell: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The components of a cell, by what they are called in its parameters."""
    roles = ("dataset", "attack", "victim", "extractor", "scorer")
    named = [(role, cell[role]) for role in roles if cell.get(role)]
    return named + [(part["name"], part) for part in cell["defenses"]]


def why(group: Sequence[Record]) -> str:
    """What keeps a row out of a ranking, as its records say it; nothing where nothing does."""
    barred = [record for record in group if not record.rankable]
    statuses = sorted({f"status {r.status}" for r in barred if r.status != "ok"})
    weights = ["random weights"] if any(w.source == "random" for r in barred for w in r.weights) else []
    warnings = sorted({warning for record in barred for warning in record.warnings})
    said = "; ".join([*statuses, *weights, *warnings])
    return said or ("a part of it knows what no defense could know" if barred else "")


def consistent(record: Record) -> bool:
    """Whether a record's cell has the shape of one, and its key, group and seed."""
    try:
        whole(record)
    except MolebenchError:
        return False
    group = key({name: value for name, value in record.cell.items() if name != "seed"})
    return record.key == key(record.cell) and record.group == group
