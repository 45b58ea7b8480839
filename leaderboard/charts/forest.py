"""Forest plots: what each attack does to each defense of a setting, with its interval; no defense and control below.

    Delta = accuracy, poisoned and defended - clean and undefended, in points: a drop is negative

The numbers of defenses are those that the standings rank by.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from molebench.drawing import Look
from molebench.leaderboard.charts import vega
from molebench.leaderboard.charts.chart import Chart, Value
from molebench.leaderboard.charts.dose import interval
from molebench.leaderboard.charts.drawing import keyed
from molebench.leaderboard.charts.groups import DELTAS, metric, subjects
from molebench.leaderboard.charts.looks import GREY, encoded, many
from molebench.leaderboard.charts.words import distinct, figure, filed, plain
from molebench.leaderboard.standings import Entry, Met, Standings
from molebench.record import Record
from molebench.worst_case import NONE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTHING, CONTROL = "no defense", "control, no defense"
COLUMNS = ("defense", "attack", "delta", "low", "high", "seeds", "standing")
MOST_ATTACKS, MOST_LINES = 12, 60  # of attacks; of marks, where a page ends
STEP, HEAD = 14, 24  # pixels of an interval, and of a defense's margin


def charts(records: Sequence[Record], folders: Mapping[str, Path], standings: Sequence[Standings]) -> Iterator[Chart]:
    """One for each setting, those of most defenses first."""
    del folders
    by_key = {record.key: record for record in records}
    for each in sorted(standings, key=lambda s: (-len(s.entries), s.setting.name)):
        if any(met.figure for entry in each.entries for met in entry.met):
            yield chart(each, by_key)


def chart(standings: Standings, by_key: Mapping[str, Record]) -> Chart:
    """The intervals of a setting."""
    attacks = standings.attacks[:MOST_ATTACKS]
    word = dict(zip(attacks, distinct(told_apart(attacks), 64), strict=True))
    most = max(MOST_LINES // max(len(attacks), 1), 1)
    kept = standings.entries[:most]
    names = distinct([NOTHING if entry.defense == NONE else entry.defense for entry in kept])
    rows = [row for name, entry in zip(names, kept, strict=True) for row in measured(name, entry, word)]
    every = [by_key[key] for entry in standings.entries for met in entry.met for key in met.keys if key in by_key]
    rows += references(standings.entries, by_key, word, [] if NOTHING in names else [("", NOTHING)])
    left = f" The {most} first of {len(standings.entries)} entries are shown." if len(standings.entries) > most else ""
    cut = f" {len(standings.attacks) - len(attacks)} more attacks are left out." if standings.attacks != attacks else ""
    title = DELTAS.get(standings.figure, "Δ (points)")
    looks = dict(zip(word.values(), many(len(word)), strict=True))
    return Chart(
        name=filed("forest", [standings.setting.name], standings.setting.name),
        title=f"What each attack leaves of each defense: {where(standings)}",
        caption=f"Poisoned and defended against clean and undefended: a drop is negative, 0 is as without attack and "
        f"defense. Lines: 95 % intervals. Best worst case first.{left}{cut}",
        columns=COLUMNS,
        rows=tuple(rows),
        subjects=(f"setting {standings.setting.name}", *subjects(every)),
        spec=specified(looks, len(dict.fromkeys(row[0] for row in rows)), title),
        draw=partial(draw, looks=looks, x=title),
    )


def told_apart(attacks: Sequence[str]) -> list[str]:
    """Names without the parameters that all of them have."""
    words = [plain(attack, 200).split() for attack in attacks]
    shared = set.intersection(*map(set, words)) if len(words) > 1 else set()
    return [" ".join([*each[:1], *(word for word in each[1:] if word not in shared)]) for each in words]


def where(standings: Standings) -> str:
    """A setting in words."""
    setting = standings.setting
    apart = f" ({plain(setting.apart, 90)})" if setting.apart else ""
    return f"{plain(setting.victim)} on {plain(setting.dataset)}, profile {plain(setting.profile)}{apart}"


def standing(entry: Entry) -> str:
    """What an entry's place is worth."""
    if entry.state != "ranked" or not entry.rank:
        return plain(f"{entry.state}: {entry.why}" if entry.why else entry.state, 120)
    first, last = entry.rank
    return f"rank {first}" if first == last else f"rank {first}-{last}"


def measured(name: str, entry: Entry, word: Mapping[str, str]) -> Iterator[tuple[Value, ...]]:
    """The rows of an entry, an attack each."""
    for met in entry.met:
        if met.figure and met.attack in word:
            ends = figure(met.figure.low), figure(met.figure.high)
            yield (name, word[met.attack], figure(met.figure.value), *ends, len(met.keys), standing(entry))


def references(
    entries: Sequence[Entry], by_key: Mapping[str, Record], word: Mapping[str, str], missing: Sequence[tuple[str, str]]
) -> list[tuple[Value, ...]]:
    """What attacks do to no defense, where no entry says so, and what controls do: from the records of most seeds."""
    met: dict[str, Met] = {}
    for each in (met for entry in entries for met in entry.met if met.attack in word):
        if each.attack not in met or len(each.keys) > len(met[each.attack].keys):
            met[each.attack] = each
    found = []
    for suffix, name in [*missing, ("_control", CONTROL)]:
        for attack, each in sorted(met.items()):
            records = [by_key[key] for key in each.keys if key in by_key]
            held = metric(records[0], suffix) if records else None
            having = [record for record in records if held in record.metrics]
            if held and having:
                found.append((name, word[attack], *interval(having, held), len(having), "not an entry"))
    return found


def specified(looks: Mapping[str, Look], defenses: int, title: str) -> dict[str, Any]:
    """A band a defense, in it an interval an attack."""
    y = {
        "y": {"field": "defense", "type": "nominal", "sort": None, "title": None, "axis": {"grid": True}},
        "yOffset": {"field": "attack", "type": "nominal", "scale": {"domain": list(looks), "paddingOuter": 0.6}},
    }
    span = {"x": vega.axis("low", title), "x2": {"field": "high"}, **y, **encoded("attack", looks, ["color"])}
    numbers = {"delta": ".1f", "low": ".1f", "high": ".1f", "seeds": "d"}
    tips = vega.tips(numbers, ["defense", "attack", "standing"])
    dot = {"x": vega.axis("delta", title), **y, **encoded("attack", looks, ["color", "shape"]), "tooltip": tips}
    layers = [
        vega.at("x"),
        {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": span},
        {"mark": {"type": "point", "filled": True, "opacity": 1, "size": vega.MARK}, "encoding": dot},
    ]
    return vega.layered(layers, max(defenses * (STEP * len(looks) + HEAD // 2), 120))


def draw(chart: Chart, looks: Mapping[str, Look], x: str) -> "Figure":
    """The same on paper."""
    from molebench.mole_drawing import framed

    defenses = list(dict.fromkeys(str(row[0]) for row in chart.rows))
    step = 0.8 / max(len(looks), 1)
    page, (axes,) = framed(1, chart.title, chart.caption, 1.2 + len(defenses) * (0.08 + 0.13 * len(looks)))
    for i, (attack, look) in enumerate(looks.items()):
        mine: list[tuple[Any, ...]] = [row for row in chart.rows if row[1] == attack]
        y = [defenses.index(row[0]) + (i - (len(looks) - 1) / 2) * step for row in mine]
        for place, row in zip(y, mine, strict=True):
            if row[3] is not None and row[4] is not None:
                axes.hlines(place, row[3], row[4], color=look.colour, linewidth=1.2)
        face = "white" if look.hollow else look.colour
        points = [row[2] for row in mine]
        axes.plot(points, y, look.marker, color=look.colour, markerfacecolor=face, markersize=4.5, label=attack)
    axes.axvline(0, color=GREY, linewidth=0.6)
    axes.set_yticks(range(len(defenses)), defenses)
    axes.set(ylim=(len(defenses) - 0.4, -0.6), xlabel=x)
    axes.grid(visible=False, axis="y")
    for i in range(1, len(defenses)):
        axes.axhline(i - 0.5, color=GREY, linewidth=0.4, alpha=0.4)
    keyed(page)
    return page
