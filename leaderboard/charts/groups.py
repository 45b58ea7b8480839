"""Records that differ in their seed only, as charts name them; and what can be believed of their counts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from molebench.leaderboard.charts.words import plain
from molebench.leaderboard.rows import parameters, setup, varying
from molebench.record import ArmRecord, Record
from molebench.report import grouped
from molebench.worst_case import FIGURES

DELTAS = {
    "delta_total": "Δ of all test items (points)",
    "delta_a": "Δ of the attacked class (points)",
    "mean_delta_a": "Δ of attacked classes, mean (points)",
}
ROLES = ("dataset", "attack", "victim", "extractor", "scorer")
ARMS = {
    "poisoned_undefended": "attack, undefended",
    "poisoned_defended": "attack, defended",
    "poisoned_matched": "attack, as many items dropped at random",
    "control_undefended": "control, undefended",
}


@dataclass(frozen=True)
class Group:
    """The records of one cell, in order of seed. apart: the parameters that set it apart from its like.

    bare: it is shown for what is the same behind every defense.
    """

    records: tuple[Record, ...]
    apart: Mapping[str, str]
    bare: bool = False

    @property
    def defenses(self) -> list[str]:
        """Their names."""
        return [] if self.bare else [part["name"] for part in self.records[0].cell["defenses"]]

    @property
    def words(self) -> list[str]:
        """The names that a file of it is named by."""
        cell = self.records[0].cell
        return [*(cell[role]["name"] for role in ("attack", "victim", "dataset")), *self.defenses]

    @property
    def title(self) -> str:
        """What met what, in words."""
        attack, victim, dataset, *defenses = (plain(word) for word in self.words)
        behind = f", behind {' + '.join(defenses)}" if defenses else ""
        roles = (*ROLES, *self.defenses)
        own = [f"{name}={value}" for name, value in self.apart.items() if name.partition(".")[0] in roles]
        said = f" ({plain(' '.join(own), 90)})" if own else ""
        return f"{attack} against {victim} on {dataset}{behind}, profile {plain(self.records[0].cell['profile'])}{said}"

    @property
    def over(self) -> str:
        """How many seeds there are, and what an interval is over."""
        n = len(self.records)
        return (
            "one seed, so without an interval over seeds" if n == 1 else f"mean of {n} seeds, 95 % interval over them"
        )


def groups(records: Iterable[Record], *scenarios: str) -> list[Group]:
    """The groups of scenarios: those of most seeds first, among equals those without a defense, then by name."""
    chosen = grouped(record for record in records if record.scenario in scenarios)
    varied = varying(chosen)
    found = [group(each, varied[setup(each[0])]) for each in chosen]
    return sorted(found, key=lambda g: (-len(g.records), bool(g.defenses), g.words, g.records[0].group))


def group(records: Iterable[Record], varied: Iterable[str]) -> Group:
    """One of them. varied: the parameters in which those of the same names differ."""
    ordered = tuple(sorted(records, key=lambda r: r.seeds["cell"]))
    own = parameters(ordered[0].cell)
    return Group(ordered, {name: own[name] for name in varied if name in own})


def subjects(records: Iterable[Record]) -> tuple[str, ...]:
    """On whose pages a chart of these records stands."""
    found: dict[str, None] = {}
    for record in records:
        cell = record.cell
        found[f"scenario {record.scenario}"] = None
        found |= {f"{role} {cell[role]['name']}": None for role in ("attack", "victim", "dataset")}
        found |= {f"defense {part['name']}": None for part in cell["defenses"]}
        found[f"cell {record.key}"] = None
    return tuple(sorted(found))


def metric(record: Record, suffix: str = "") -> str | None:
    """The Delta that a scenario is judged by, with a suffix, where a record has it."""
    names = (f"{name}{suffix}" for name in FIGURES.get(record.scenario, ()))
    return next((name for name in names if name in record.metrics), None)


def counted(arm: ArmRecord, k: int) -> bool:
    """Whether an arm's counts are those of k classes."""
    right = all(0 <= c <= n for c, n in zip(arm.correct, arm.n, strict=False))
    return len(arm.n) == len(arm.correct) == k and sum(arm.n) > 0 and right


def sound(record: Record) -> bool:
    """Whether all counts of a record are of its classes, and its pairs too."""
    classes = record.data.classes
    arms = [*record.arms.values(), *(arm for update in record.updates for arm in update.arms.values())]
    named = {name for update in record.updates for pair in update.pairs for name in (pair.attacked, pair.confounding)}
    unique = len(set(classes)) == len(classes) and named <= set(classes)
    return "clean_undefended" in record.arms and unique and all(counted(arm, len(classes)) for arm in arms)
