"""Pair by pair: what an update did to each of its pairs; of a grid the pairs that lose most. From records alone.

Over several trials every figure is the mean over the trials in which the pair was attacked. Continual trials share no
tasks, and so no pairs: theirs stand one below the other, task by task.
"""

from collections.abc import Sequence

import numpy as np

from molebench.classnames import ARROW
from molebench.continual_effects import Attacked, attacks, harm
from molebench.metrics import MOST_DROPPED
from molebench.mole_effects import ATTACK, CONTROL
from molebench.pair_deltas import Effect, matched
from molebench.record import Record
from molebench.report import number, paragraph, rendered

MOST = 10  # rows
FIGURES = {
    "rho": "rho",
    "n": "N",
    "mean_score": "mean score",
    "delta_a": "Delta_a",
    "delta_a_control": "Delta_a control",
    "delta_confounding": "Delta_confounding",
}


def pairs_table(records: Sequence[Record], form: str = "plain") -> list[str]:
    """A paragraph and a table; nothing where there are no pairs.

    Few pairs stay in the attack's order; of many those are shown whose attacked class loses most.
    """
    if any(record.scenario == "continual" for record in records):
        return tasks_table(records, form)
    found = [list(each.values()) for each in matched(records).values()]
    pairs = [each for each in found if each[0].attacked and "delta_a" in each[0].figures]
    if not pairs:
        return []
    shown = pairs if len(pairs) <= MOST else sorted(pairs, key=lambda each: mean(each, "delta_a"))[:MOST]
    uneven = any(len(each) < len(records) for each in shown)
    rows = [row(each) + ([f"{len(each)} of {len(records)}"] if uneven else []) for each in shown]
    head = ("attacked", "confounding", *FIGURES.values(), *(["trials"] if uneven else []))
    return [paragraph(caption(records, len(pairs)), form), rendered(head, rows, form)]


def row(found: Sequence[Effect]) -> list[str]:
    """The cells of one pair."""
    numbers = [number(mean(found, name), name) if holds(found, name) else "-" for name in FIGURES]
    return [found[0].attacked, found[0].confounding, *numbers]


def holds(found: Sequence[Effect], name: str) -> bool:
    """Whether a figure is known of every trial."""
    return all(name in effect.figures for effect in found)


def mean(found: Sequence[Effect], name: str) -> float:
    """The mean of a figure over trials."""
    return sum(effect.figures[name] for effect in found) / len(found)


def caption(records: Sequence[Record], pairs: int) -> str:
    """What the table shows."""
    over = f", mean over {len(records)} trials" if len(records) > 1 else ""
    if pairs > MOST:
        return f"The {MOST} of {pairs} pairs whose attacked class loses most{over}; Deltas in points:"
    if all(len(record.updates) == 1 and len(record.updates[0].pairs) > 1 for record in records):
        n = ", ".join(f"{r.updates[0].moles / len(r.updates[0].pairs):g}" for r in records)
        return f"The pairs of one update, {n} moles of each (N: what each would take alone){over}; Deltas in points:"
    return f"Pair by pair{over}; Deltas in points:"


# Of a continual learner


def tasks_table(records: Sequence[Record], form: str = "plain") -> list[str]:
    """The same of updates after tasks: the attacked class's change is that after the last task."""
    found = [(r.seeds["cell"], each) for r in records for each in attacks(r) if ATTACK in each.change]
    if not found:
        return []
    shown = found if len(found) <= MOST else sorted(found, key=lambda each: harm(each[1], ATTACK))[:MOST]
    seeds = len(records) > 1
    rows = [[*([str(seed)] if seeds else []), *task_row(each)] for seed, each in shown]
    head = (*(["seed"] if seeds else []), "task", f"attacked{ARROW}confounding", "rho", "moles", "change", "control")
    return [paragraph(tasks_caption([each for _, each in found]), form), rendered(head, rows, form)]


def task_row(found: Attacked) -> list[str]:
    """The cells of one pair of one task; tasks are counted from 1, as while they run."""
    pair = found.pair
    rho = "-" if pair.rho is None else number(pair.rho, "rho")
    names = f"{pair.attacked}{ARROW}{pair.confounding}"
    return [str(found.task + 1), names, rho, str(found.moles), *(changed(found, arm) for arm in (ATTACK, CONTROL))]


def changed(found: Attacked, arm: str) -> str:
    """A change in percent, in brackets where it counts in no median."""
    value = found.change.get(arm, float("nan"))
    if not np.isfinite(value):
        return "-"
    words = number(value, "delta_a_rel")
    return words if found.kept else f"({words})"


def tasks_caption(found: Sequence[Attacked]) -> str:
    """What the table shows."""
    which = f"The {MOST} of {len(found)} pairs whose attacked class loses most" if len(found) > MOST else "Task by task"
    small = f"; in brackets where that is {100 * MOST_DROPPED:g} % or less" * (not all(each.kept for each in found))
    return (
        f"{which}; change of the attacked class after the last task, in percent of its accuracy without attack{small}:"
    )
