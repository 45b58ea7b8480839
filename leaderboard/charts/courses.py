"""Accuracy of continual learners on all classes seen, after each task: victims side by side, and each under attack."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from molebench.drawing import Look
from molebench.leaderboard.charts.chart import Chart, Value
from molebench.leaderboard.charts.groups import ARMS, Group, groups, subjects
from molebench.leaderboard.charts.lines import MOST_LINES, Frame, lines
from molebench.leaderboard.charts.looks import ARMS as LOOKS
from molebench.leaderboard.charts.looks import many
from molebench.leaderboard.charts.words import distinct, figure, filed, plain, several
from molebench.leaderboard.standings import Standings
from molebench.record import Record
from molebench.stages import canonical, key
from molebench.stats import seed_interval

CLEAN = "clean_undefended"
WORDS = {CLEAN: "clean, undefended", "clean_defended": "clean, defended"} | ARMS


def charts(records: Sequence[Record], folders: Mapping[str, Path], standings: Sequence[Standings]) -> Iterator[Chart]:
    """One for each dataset and profile, all its victims in it; then one for each attacked cell."""
    del folders, standings
    found = [group for group in groups(records, "continual") if all(traced(record) for record in group.records)]
    settings: dict[str, list[Group]] = {}
    for group in found:
        cell = group.records[0].cell
        settings.setdefault(key([cell["dataset"], cell["profile"]]), []).append(group)
    yield from (beside(each) for each in settings.values() if len(victims(each)) > 1)
    yield from (attacked(group) for group in found if any(arm != CLEAN for arm in group.records[0].arms))


def traced(record: Record) -> bool:
    """Whether every arm has an accuracy after each of several tasks, at more and more classes."""
    found = [(arm.trace.get("classes", []), arm.trace.get("accuracy", [])) for arm in record.arms.values()]
    same = len({tuple(x) for x, _ in found}) == 1
    return same and CLEAN in record.arms and all(x == sorted(set(x)) and len(x) == len(y) > 1 for x, y in found)


def victims(found: Sequence[Group]) -> list[Group]:
    """Of each victim, with all its parameters, the group of most seeds."""
    return list({canonical(group.records[0].cell["victim"]): group for group in reversed(found)}.values())[::-1]


def beside(setting: Sequence[Group]) -> Chart:
    """The clean accuracy of every victim of a setting."""
    every = victims(setting)
    shown = sorted(every[:MOST_LINES], key=lambda g: str(g.records[0].cell["victim"]["name"]))
    names = distinct(f"{g.records[0].cell['victim']['name']} {own(g)}" for g in shown)
    cell = shown[0].records[0].cell
    rows = [row for name, group in zip(names, shown, strict=True) for row in along(group.records, CLEAN, name)]
    left = f" {len(every) - len(shown)} more victims are left out." if len(every) > len(shown) else ""
    return course(
        filed("courses", ["victims", cell["dataset"]["name"], cell["profile"]], [cell["dataset"], cell["profile"]]),
        f"Victims along their tasks, not attacked: {plain(cell['dataset']['name'])}, profile {plain(cell['profile'])}",
        f"Accuracy on the test items of all classes seen so far, mean of {counts(shown)}; the table has the "
        f"95 % intervals over seeds.{left}",
        dict(zip(names, many(len(names)), strict=True)),
        rows,
        subjects(record for group in shown for record in group.records),
    )


def own(group: Group) -> str:
    """The victim's parameters that set a group apart."""
    own = {name.removeprefix("victim."): value for name, value in group.apart.items() if name.startswith("victim.")}
    return " ".join(f"{name}={value}" for name, value in own.items())


def counts(found: Sequence[Group]) -> str:
    """How many seeds lines have."""
    n = [len(group.records) for group in found]
    return several(n[0], "seed") if min(n) == max(n) else f"{min(n)} to {max(n)} seeds"


def attacked(group: Group) -> Chart:
    """Every arm of an attacked cell."""
    shown = [arm for arm in WORDS if all(arm in record.arms for record in group.records)]
    return course(
        filed("courses", group.words, group.records[0].group),
        f"Accuracy along the tasks: {group.title}",
        f"Accuracy on the test items of all classes seen so far; {group.over}.",
        {WORDS[arm]: LOOKS[arm] for arm in shown},
        [row for arm in shown for row in along(group.records, arm, WORDS[arm])],
        subjects(group.records),
    )


def along(records: Sequence[Record], arm: str, name: str) -> Iterator[tuple[Value, ...]]:
    """The rows of an arm: accuracy in percent at each number of classes that all records have."""
    traces = [dict(zip(r.arms[arm].trace["classes"], r.arms[arm].trace["accuracy"], strict=True)) for r in records]
    for x in sorted(set.intersection(*map(set, traces))):
        mean, low, high = 100 * np.array(seed_interval([trace[x] for trace in traces]))
        ends = (figure(low), figure(high)) if len(records) > 1 else (None, None)
        yield (name, figure(x), figure(mean), *ends)


def course(
    name: str,
    title: str,
    caption: str,
    looks: Mapping[str, Look],
    rows: Sequence[tuple[Value, ...]],
    about: tuple[str, ...],
) -> Chart:
    """Such lines as a chart."""
    axes = (("classes", "classes seen"), ("accuracy", "accuracy (% of their test items)"))
    return lines(name, title, caption, Frame(*axes, looks, most=100), rows, about, {})
