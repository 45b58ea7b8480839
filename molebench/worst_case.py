"""The score of a defense: the worst that any attack of the suite does to what it defends, adaptive ones included.

    score(defense) = min over attacks of the mean over seeds of Delta(poisoned and defended; clean and undefended)

in points of accuracy, so a loss is negative and 0 is perfect. Delta is of all test items for active learners, of the
attacked classes (mean over pairs) where moles are recruited. A defense that has not met every attack of the suite is
incomplete: attacks left out can only make a minimum better. The suite is what the victim without a defense has met in
the same setting on `SEEDS` seeds, or at all where no attack has so many yet, or else what any defense has met: nobody's
own attack, and none that is still young, makes others incomplete.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from molebench.labels import label, labels
from molebench.ranking import SEEDS
from molebench.record import MetricValue, Record
from molebench.report import interval, number, over_seeds, rendered
from molebench.stages import key

FIGURES = {"active": ("delta_total",), "offline": ("mean_delta_a", "delta_a"), "continual": ("mean_delta_a",)}
NONE = "none"
HEAD = ("victim", "dataset", "profile", "defense", "score", "worst attack", "attacks", "seeds", "clean_cost", "remarks")


@dataclass(frozen=True)
class Met:
    """What one attack did to one defense. figure: over seeds, of the metric `name`. records: one a seed."""

    attack: str
    name: str
    figure: MetricValue
    cost: MetricValue | None
    records: tuple[Record, ...]

    @property
    def seeds(self) -> int:
        """How many there are."""
        return len(self.records)

    @property
    def rankable(self) -> bool:
        """Whether all of them count."""
        return all(record.rankable for record in self.records)


@dataclass(frozen=True)
class Score:
    """One defense in one setting. met: by attack. missing: attacks of the suite that are not among them."""

    setting: tuple[str, str, str]  # victim, dataset, profile
    defense: str
    met: tuple[Met, ...]
    missing: tuple[str, ...]
    suite: tuple[str, ...]

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
    settings: dict[str, list[Record]] = {}
    for record in records:
        if record.cell["attack"]["name"] != NONE:
            settings.setdefault(setting_of(record), []).append(record)
    cells = [group[0].cell for group in settings.values()]
    victims, datasets = (labels(cell[role] for cell in cells) for role in ("victim", "dataset"))
    found = []
    for group in settings.values():
        cell = group[0].cell
        setting = (label(cell["victim"], victims), label(cell["dataset"], datasets), str(cell["profile"]))
        found += ranked(setting, met_by(group))
    return found


def met_by(records: Sequence[Record]) -> dict[str, dict[str, list[Record]]]:
    """The records of one setting by defense and attack, named so that they can be told from their like."""
    attacks = labels(record.cell["attack"] for record in records)
    defenses = labels(part for record in records for part in record.cell["defenses"])
    found: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        name = " + ".join(label(part, defenses) for part in record.cell["defenses"]) or NONE
        found.setdefault(name, {}).setdefault(label(record.cell["attack"], attacks), []).append(record)
    return found


def ranked(setting: tuple[str, str, str], defenses: Mapping[str, Mapping[str, list[Record]]]) -> list[Score]:
    """The scores of one setting."""
    suite = suite_of(defenses)
    found = []
    for defense, attacks in defenses.items():
        met = tuple(m for attack, group in attacks.items() if (m := judged(attack, group, defense != NONE)))
        if met:
            missing = tuple(a for a in suite if a not in {m.attack for m in met})
            found.append(Score(setting, defense, met, missing, tuple(suite)))
    return sorted(found, key=lambda score: -score.worst.figure.value)


def suite_of(defenses: Mapping[str, Mapping[str, Sequence[Record]]]) -> list[str]:
    """The attacks that every defense of a setting has to meet."""
    base = defenses.get(NONE, {})
    old = [attack for attack, group in base.items() if len(group) >= SEEDS]
    return sorted(old or base or {attack for met in defenses.values() for attack in met})


def judged(attack: str, group: Sequence[Record], defended: bool) -> Met | None:
    """What an attack did over seeds; None where the records hold no such figure."""
    figures = over_seeds(group)
    suffix = "_defended" if defended else ""
    name = next((n for f in FIGURES[group[0].scenario] if (n := f"{f}{suffix}") in figures), None)
    if name is None:
        return None
    return Met(attack, name, figures[name], figures.get("clean_cost"), tuple(group))


def setting_of(record: Record) -> str:
    """What must be alike for two defenses to be compared: all but attack, scorer, defenses and seed."""
    return key({k: v for k, v in record.cell.items() if k not in ("attack", "scorer", "defenses", "seed")})


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
