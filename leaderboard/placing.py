"""From checked records to standings: what may be ranked, what keeps the rest from it, and who ends up where.

In order of what bars a defense from a rank: a record that does not count (unhealthy, random weights, told the truth),
an attack of the suite not met, a record that nobody but its author has run (self-reported); such are only shown. With
fewer than `SEEDS` seeds, or not all seeds of the victim without a defense, an entry is provisional.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

import numpy as np

from molebench.attesting import Tier
from molebench.contributions import Contributions
from molebench.errors import listed
from molebench.leaderboard.entered import successors
from molebench.leaderboard.loading import Loaded
from molebench.leaderboard.naming import slug
from molebench.leaderboard.standings import Entry, Interval, Met, Setting, Standings, State
from molebench.ranking import SEEDS, Exam, Place, ranked
from molebench.record import MetricValue, Record
from molebench.rng import stream
from molebench.worst_case import NONE, Score, scores, setting_of
from molebench.worst_case import Met as Meeting

ORDER = {"ranked": 0, "provisional": 1, "shown": 2}
TIERS = get_args(Tier)  # from the word of a record's author to a maintainer's
CHECKED = ("reproduced-tiny", "reproduced")  # tiers of records that somebody else has run too
FAR = 1e6  # points: what an attack that a defense has not met takes from it, so that it is never the worst


def standings(loaded: Loaded, own: bool = False) -> list[Standings]:
    """The standings of every setting, those that say most first. own: the records are the reader's own, and count
    though nobody else ran them."""
    settings: dict[str, list[Score]] = {}
    for score in scores(loaded.records):
        settings.setdefault(setting_of(score.met[0].records[0]), []).append(score)
    return sorted((standing(found, loaded, own) for found in settings.values()), key=weight)


def weight(found: Standings) -> tuple[int, int, str]:
    """Settings by how many ranks and entries they have."""
    return -sum(entry.state == "ranked" for entry in found.entries), -len(found.entries), found.setting.name


def standing(found: Sequence[Score], loaded: Loaded, own: bool) -> Standings:
    """One setting's entries."""
    why = {score.defense: barred(score, loaded, own) for score in found}
    base = next((score for score in found if score.defense == NONE and not why[NONE]), None)
    lacking = {score.defense: lacks(score, base, loaded.contributions) for score in found}
    fit = [score for score in found if not why[score.defense] and not lacking[score.defense]]
    due = seeds_of(base) if base else set()
    places = dict(zip((score.defense for score in fit), placed(fit, due, loaded.contributions), strict=True))
    entries = [entry(s, places.get(s.defense), due, why[s.defense], lacking[s.defense], loaded.tiers) for s in found]
    first = found[0].met[0]
    return Standings(
        setting=setting(found[0]),
        figure=first.name.removesuffix("_defended"),
        attacks=tuple(sorted({m.attack for score in found for m in score.met})),
        entries=sorted(entries, key=lambda e: (ORDER[e.state], -e.score.value, e.defense)),
    )


def setting(score: Score) -> Setting:
    """The names of a setting; its own is unique, for it ends in what all parameters hash to."""
    record = score.met[0].records[0]
    victim, dataset, profile = record.cell["victim"]["name"], record.cell["dataset"]["name"], record.cell["profile"]
    name = "-".join((slug(victim), slug(dataset), slug(profile), setting_of(record)[:8]))
    apart = " ".join(word for label in score.setting[:2] for word in label.split()[1:])
    return Setting(name, record.scenario, victim, dataset, profile, apart)


def barred(score: Score, loaded: Loaded, own: bool) -> str:
    """What keeps a defense from any rank."""
    records = [record for met in score.met for record in met.records]
    if invalid := sorted({loaded.invalid[record.key] for record in records if record.key in loaded.invalid}):
        return f"invalid: {listed(invalid, 3)}"
    parts = {part["name"] for record in records for part in record.cell["defenses"]}
    if newer := sorted({new for old, new in successors(loaded.forms).items() if old in parts}):
        return f"superseded by {listed(newer, 3)}"
    odd = sorted({record.status for record in records} - {"ok"})
    if odd:
        return f"status {listed(odd, 3)}"
    if any(weights.source == "random" for record in records for weights in record.weights):
        return "random weights"
    if not all(record.rankable for record in records):
        return "is told what no defense could know"
    if score.missing:
        return f"incomplete: has not met {listed(score.missing, 3)}"
    if not own and any(loaded.tiers.get(record.key, "claimed") not in CHECKED for record in records):
        return "self-reported: nobody else has run it yet"
    return ""


def lacks(score: Score, base: Score | None, known: Mapping[str, Contributions]) -> str:
    """What a defense still needs for a rank."""
    if base is None:
        return "no undefended victim to compare with"
    due, held = seeds_of(base), seeds_of(score)
    if len(due) < SEEDS or len(held) < SEEDS:
        return f"{min(len(held), len(due))} of {SEEDS} seeds"
    if missing := due - held:
        return f"not the seeds {listed(map(str, sorted(missing)), 5)} of the undefended victim"
    if any(record.key not in known for met in score.met for record in met.records):
        return "no predictions of single items behind its score"
    return ""


def seeds_of(score: Score) -> set[int]:
    """The seeds on which every attack of the suite was met."""
    each = [seeds(met) for met in score.met if met.attack in score.suite]
    return set.intersection(*each) if each else set()


def seeds(met: Meeting) -> set[int]:
    """The seeds of an attack's records."""
    return {record.seeds["cell"] for record in met.records}


def placed(fit: Sequence[Score], due: set[int], known: Mapping[str, Contributions]) -> list[Place]:
    """Ranks of those that may have one, all on the seeds of the undefended victim."""
    if not fit:
        return []
    exams = [exam(fit, seed, due, known) for seed in sorted(due)]
    return ranked(exams, stream(0, "board", setting(fit[0]).name))


def exam(fit: Sequence[Score], seed: int, due: set[int], known: Mapping[str, Contributions]) -> Exam:
    """One seed of all defenses. An attack outside the suite counts for those that have met it on all seeds."""
    attacks = sorted({met.attack for score in fit for met in score.met})
    rows = [by_attack(score, seed, due) for score in fit]
    first = next(iter(rows[0].values()))
    empty = np.full(m := len(known[first.key].y), FAR / m)
    c = [[known[row[a].key].c if a in row else empty for a in attacks] for row in rows]
    tested = (digest for name, digest in sorted(first.data.splits.items()) if name.startswith("test"))
    return Exam(known[first.key].y, np.array(c), " ".join(tested))


def by_attack(score: Score, seed: int, due: set[int]) -> dict[str, Record]:
    """A defense's record of each attack that it has met on all seeds that are due."""
    whole = [met for met in score.met if due <= seeds(met)]
    return {met.attack: r for met in whole for r in met.records if r.seeds["cell"] == seed}


def entry(score: Score, place: Place | None, due: set[int], why: str, lacking: str, tiers: Mapping[str, str]) -> Entry:
    """A defense as the board shows it."""
    whole = [met for met in score.met if place is None or due <= seeds(met)]
    worst = min(whole, key=lambda met: met.figure.value)
    figure = interval(worst.figure)
    state: State = "ranked" if place else "shown" if why else "provisional"
    costs = [met.cost for met in score.met if met.cost]
    return Entry(
        defense=score.defense,
        score=Interval(place.score, place.low, place.high) if place else figure,
        worst=worst.attack,
        met=tuple(Met(m.attack, tuple(r.key for r in m.records), interval(m.figure)) for m in in_order(score.met)),
        missing=score.missing,
        seeds=len(seeds_of(score)),
        cost=interval(costs[0]) if costs else None,
        state=state,
        why=why or lacking,
        rank=place.rank if place else None,
        group=place.group if place else None,
        tier=min((tiers.get(r.key, "claimed") for met in score.met for r in met.records), key=TIERS.index),
    )


def in_order(met: Iterable[Meeting]) -> list[Meeting]:
    """By the attack's name."""
    return sorted(met, key=lambda each: each.attack)


def interval(figure: MetricValue) -> Interval:
    """A figure without an interval is its own."""
    value = figure.value
    return Interval(value, value if figure.low is None else figure.low, value if figure.high is None else figure.high)
