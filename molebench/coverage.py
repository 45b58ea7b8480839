"""What there is of a sweep, or of a whole store: cells done, stale, failed and still to run, by attack and victim."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tabulate import tabulate

from molebench.index import Index
from molebench.planning import Plan, Planned
from molebench.standing import Standing
from molebench.store import Store

STATES = ("done", "stale", "failed before", "to run")
FAILURES = 20  # named; more are counted


def of_plan(plan: Plan) -> str:
    """A sweep's table: one row for each attack, victim, dataset and defense."""
    rows: dict[tuple[str, ...], Counter[str]] = {}
    for each in plan.cells:
        rows.setdefault(combination(each), Counter())[each.state] += 1
    done = sum(each.done for each in plan.cells)
    table = [
        (*names, f"{states['done']}/{states.total()}", *(states[s] or "" for s in STATES[1:]))
        for names, states in rows.items()
    ]
    headers = ("attack", "victim", "dataset", "defense", "done", *STATES[1:])
    return f"{plan.name}: {done} of {len(plan.cells)} cells done\n{tabulate(table, headers)}"


def combination(planned: Planned) -> tuple[str, ...]:
    """What a row is about."""
    cell = planned.cell
    return cell.attack, cell.victim, cell.dataset or "-", "+".join(cell.defenses) or "none"


def of_store(index: Index) -> str:
    """A store in one line."""
    states = Counter(entry.status for entry in index.entries.values())
    parts = [f"{n} {status}" for status, n in sorted(states.items())]
    parts += [f"{len(index.damaged)} damaged"] if index.damaged else []
    return f"{len(index.entries)} records" + (f" ({', '.join(parts)})" if parts else "")


def failures(keys: Sequence[str], store: Store) -> Iterator[str]:
    """The last failure of each cell, a line each."""
    for key in keys[:FAILURES]:
        if attempts := store.attempts(key):
            last = attempts[-1]
            yield f"failed  {key[:12]}  {last.type}: {last.message} ({len(attempts)} attempts)"
    if len(keys) > FAILURES:
        yield f"and {len(keys) - FAILURES} cells more that failed"


def running(standing: Standing, alive: bool, now: float) -> str:
    """A sweep that runs, or was killed, and the cells in flight."""
    state = "running" if alive else "no longer running (it was killed; the same command goes on)"
    lines = [f"sweep {standing.name}, {state}: {standing.words(now)}"]
    return "\n".join([*lines, *(f"  {each.words()}" for each in standing.flights.values() if alive)])


def plain(index: Index, standings: Sequence[tuple[Standing, bool]], plan: Plan | None) -> dict[str, Any]:
    """The same as JSON types."""
    states = Counter(each.state for each in plan.cells) if plan else Counter[str]()
    return {
        "records": dict(Counter(entry.status for entry in index.entries.values())),
        "damaged": dict(index.damaged),
        "sweeps": [{**each.plain(), "running": alive} for each, alive in standings],
        "plan": {"name": plan.name, "cells": len(plan.cells), **states} if plan else None,
    }
