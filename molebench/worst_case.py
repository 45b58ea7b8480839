"""The score of a defense: the worst that any attack of the suite does to what it defends, adaptive ones included.

    score(defense) = min over attacks of the mean over seeds of Delta(poisoned and defended; clean and undefended)

in points of accuracy, so a loss is negative and 0 is perfect. Delta is of all test items for active learners, of the
attacked classes (mean over pairs) where moles are recruited. A defense that has not met every attack that others of the
same victim, data and profile have met is incomplete: attacks left out can only make a minimum better.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from molebench.record import MetricValue, Record
from molebench.report import departures, interval, number, over_seeds, rendered
from molebench.stages import key

FIGURES = {"active": ("delta_total",), "offline": ("mean_delta_a", "delta_a"), "continual": ("mean_delta_a",)}
HEAD = ("victim", "dataset", "profile", "defense", "score", "worst attack", "attacks", "seeds", "clean_cost", "remarks")


@dataclass(frozen=True)
class Met:
    """What one attack did to one defense: the figure over seeds, how many, and whether all of them count."""

    attack: str
    figure: MetricValue
    cost: MetricValue | None
    seeds: int
    rankable: bool


@dataclass(frozen=True)
class Score:
    """One defense in one setting. met: by attack. missing: attacks that others have met."""

    setting: tuple[str, str, str]  # victim, dataset, profile
    defense: str
    met: tuple[Met, ...]
    missing: tuple[str, ...]

    @property
    def worst(self) -> Met:
        """The attack that does most harm."""
        return min(self.met, key=lambda each: each.figure.value)

    @property
    def rankable(self) -> bool:
        """Whether every attack was met, by records that count."""
        return not self.missing and all(each.rankable for each in self.met)


def scores(records: Iterable[Record]) -> list[Score]:
    """A score for each defense of each setting, and for no defense; best first within a setting."""
    settings: dict[str, dict[str, dict[str, list[Record]]]] = {}
    for record in records:
        if record.cell["attack"]["name"] != "none":
            defenses = settings.setdefault(setting_of(record), {})
            defenses.setdefault(named(record, "defenses"), {}).setdefault(named(record, "attack"), []).append(record)
    return [score for defenses in settings.values() for score in ranked(defenses)]


def ranked(defenses: dict[str, dict[str, list[Record]]]) -> list[Score]:
    """The scores of one setting."""
    every = sorted({attack for met in defenses.values() for attack in met})
    found = []
    for defense, attacks in defenses.items():
        met = tuple(m for attack, group in attacks.items() if (m := judged(attack, group, defense != "none")))
        if met:
            missing = tuple(a for a in every if a not in {m.attack for m in met})
            first = next(iter(attacks.values()))[0]
            setting = (named(first, "victim"), named(first, "dataset"), str(first.cell["profile"]))
            found.append(Score(setting, defense, met, missing))
    return sorted(found, key=lambda score: -score.worst.figure.value)


def judged(attack: str, group: Sequence[Record], defended: bool) -> Met | None:
    """What an attack did over seeds; None where the records hold no such figure."""
    figures = over_seeds(group)
    suffix = "_defended" if defended else ""
    name = next((n for f in FIGURES[group[0].scenario] if (n := f"{f}{suffix}") in figures), None)
    if name is None:
        return None
    return Met(attack, figures[name], figures.get("clean_cost"), len(group), all(r.rankable for r in group))


def setting_of(record: Record) -> str:
    """What must be alike for two defenses to be compared: all but attack, scorer, defenses and seed."""
    return key({k: v for k, v in record.cell.items() if k not in ("attack", "scorer", "defenses", "seed")})


def named(record: Record, role: str) -> str:
    """The attack or the defenses of a record, with those parameters that are not as usual."""
    parts: Any = record.cell[role]
    names = [part["name"] for part in parts] if role == "defenses" else [parts["name"]]
    own = [word for word in departures(record.cell).split() if word.partition(".")[0] in (*names, role)]
    return " ".join(["+".join(names) or "none", *own])


def table(records: Iterable[Record], form: str) -> str:
    """The scores in md, html, csv, latex or plain text."""
    return rendered(HEAD, [row(score) for score in scores(records)], form)


def row(score: Score) -> list[str]:
    """One line of the table."""
    worst, all_ = score.worst, len(score.met) + len(score.missing)
    costs = [m.cost for m in score.met if m.cost]
    cost = f"{number(costs[0].value, 'clean_cost')} {interval(costs[0], 'clean_cost')}".strip() if costs else ""
    missing = f"has not met {', '.join(score.missing)}" if score.missing else ""
    counts = "" if all(m.rankable for m in score.met) else "never ranked"
    figure = f"{number(worst.figure.value, 'delta')} {interval(worst.figure, 'delta')}".strip()
    seeds = str(min(m.seeds for m in score.met))
    remarks = "; ".join(filter(None, (missing, counts)))
    return [*score.setting, score.defense, figure, worst.attack, f"{len(score.met)} of {all_}", seeds, cost, remarks]
