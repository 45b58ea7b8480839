"""Delta over N: what updates of different size do to the classes they attack, mean over pairs and the worst pair.

A record that tries every pair at several N (attack.sweep_n) makes a chart.

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment", arXiv:2303.17080, Fig. 4.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from molebench.drawing import Look
from molebench.leaderboard.charts.chart import Chart, Value
from molebench.leaderboard.charts.groups import ARMS, Group, groups, sound, subjects
from molebench.leaderboard.charts.lines import Frame, lines, spans
from molebench.leaderboard.charts.looks import ARMS as LOOKS
from molebench.leaderboard.charts.words import figure, filed
from molebench.leaderboard.standings import Standings
from molebench.mole_effects import ATTACK, Effects, by_size, effects
from molebench.record import Record
from molebench.stats import seed_interval

WORST = "attack, undefended: worst pair"


def charts(records: Sequence[Record], folders: Mapping[str, Path], standings: Sequence[Standings]) -> Iterator[Chart]:
    """One for each group whose pairs were tried at several sizes."""
    del folders, standings
    for group in groups(records, "offline"):
        if all(sound(record) and swept(record) for record in group.records):
            yield chart(group)


def swept(record: Record) -> bool:
    """Whether there are updates of one pair each that attack one pair at two sizes."""
    sizes: dict[tuple[str, str], set[int]] = {}
    for update in record.updates:
        if len(update.pairs) == 1 and ATTACK in update.arms:
            pair = update.pairs[0]
            sizes.setdefault((pair.attacked, pair.confounding), set()).add(update.moles)
    return any(len(each) > 1 for each in sizes.values())


def chart(group: Group) -> Chart:
    """The lines of a group."""
    found = [effects(record) for record in group.records]
    arms = [arm for arm in ARMS if all(arm in each.delta for each in found)]
    rows = [row for arm in arms for row in along(found, arm, ARMS[arm])]
    rows += along(found, ATTACK, WORST, worst=True)
    x = [float(row[1]) for row in rows if isinstance(row[1], int | float)]
    looks = {ARMS[arm]: LOOKS[arm] for arm in arms} | {WORST: Look("#CC79A7", (0, (1, 1)), "D", hollow=True)}
    return lines(
        filed("sizes", group.words, group.records[0].group),
        f"Δ by the size of the update: {group.title}",
        "Change of the attacked class in points (a drop is negative), mean over pairs, by the moles N of the update; "
        f"{group.over}. The worst pair is the one that loses most at each N.",
        Frame(("moles", "N (moles)"), ("delta", "Δ of the attacked class (points)"), looks, True, spans(x)),
        rows,
        subjects(group.records),
        {"pairs": "d"},
    )


def along(found: Sequence[Effects], arm: str, name: str, worst: bool = False) -> Iterator[tuple[Value, ...]]:
    """The rows of a line: at each N the mean over pairs, or the least of them, over records."""
    tables = [by_size(each, arm) for each in found]
    for n in np.unique(np.concatenate([x for x, _ in tables])).tolist():
        columns = [y[:, int(np.searchsorted(x, n))] for x, y in tables if n in x]
        known = [column[np.isfinite(column)] for column in columns if np.isfinite(column).any()]
        if known:
            mean, low, high = seed_interval([float(c.min() if worst else c.mean()) for c in known])
            ends = (figure(low), figure(high)) if len(known) > 1 else (None, None)
            yield (name, n, figure(mean), *ends, min(len(column) for column in known))
