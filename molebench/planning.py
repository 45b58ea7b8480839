"""What a sweep would do, before it does anything: each cell with its state, what is skipped and why, what is shared,
what it is likely to cost. No record is read for it: the index knows what is there.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from molebench.codehash import code_sha256
from molebench.crossing import Combination, Skipped
from molebench.grid import Cell, Lookup, Resolved, modules, resolve
from molebench.index import Entry, Index
from molebench.sharing import Foundation, Shared, Tally
from molebench.stages import key
from molebench.standing import duration
from molebench.store import Store
from molebench.sweep_file import Sweep, load_sweep
from molebench.workspace import Workspace

State = Literal["done", "stale", "to run", "failed before"]


@dataclass(frozen=True)
class Planned:
    """A cell of a sweep. stale: the parts whose code has changed since its record. why: what is behind its state, where
    more is to say. seconds: what it is likely to take, None where nothing is known or nothing has to run. foundation:
    what it rests on, and may share."""

    cell: Cell
    key: str
    group: str
    state: State
    stale: tuple[str, ...] = ()
    why: str = ""
    seconds: float | None = None
    foundation: Foundation | None = None

    @property
    def done(self) -> bool:
        """Whether nothing has to run."""
        return self.state == "done"


@dataclass(frozen=True)
class Plan:
    """cells: in the order in which they run. skipped: combinations that do not go together. shared: what the cells that
    have to run have in common."""

    name: str
    cells: tuple[Planned, ...]
    skipped: tuple[Skipped, ...]
    shared: tuple[Shared, ...]

    @property
    def left(self) -> list[Planned]:
        """The cells that have to run."""
        return [each for each in self.cells if not each.done]


@dataclass(frozen=True)
class Costs:
    """Seconds that cells took: by attack, victim, dataset and profile, and by victim and profile alone."""

    near: dict[tuple[str, ...], float]
    far: dict[tuple[str, ...], float]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> "Costs":
        """The medians over records."""
        near, far = dict[tuple[str, ...], list[float]](), dict[tuple[str, ...], list[float]]()
        for e in entries:
            near.setdefault((e.attack, e.victim, e.dataset, e.profile), []).append(e.seconds)
            far.setdefault((e.victim, e.profile), []).append(e.seconds)
        medians = ({name: statistics.median(values) for name, values in each.items()} for each in (near, far))
        return cls(*medians)

    def likely(self, resolved: Resolved) -> float | None:
        """Seconds of a cell, as its like took; None where there is none."""
        profile = resolved.cell.profile
        attack, victim, dataset = (resolved.parts[role].name for role in ("attack", "victim", "dataset"))
        return self.near.get((attack, victim, dataset, profile), self.far.get((victim, profile)))


@dataclass(frozen=True)
class Planner:
    """What planning looks things up in. code: sha256 of each module, asked once."""

    index: Index
    costs: Costs
    lookup: Lookup = field(default_factory=Lookup)
    code: dict[str, str] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)

    def planned(self, combination: Combination) -> Iterator[Planned]:
        """The cells of a combination, looked up and checked once for all of its seeds."""
        resolved = resolve(combination.cell, self.lookup)
        canonical, group, foundation = resolved.canonical, resolved.group, Foundation.of(resolved)
        code = self.code_of(resolved) if self.index.entries else {}
        for seed in combination.seeds:
            one = key(canonical | {"seed": seed})
            state, stale, why = self.state(one, code)
            if state != "done":
                self.tally.add(foundation, seed)
            seconds = None if state == "done" else self.costs.likely(resolved)
            yield Planned(combination.at(seed), one, group, state, stale, why, seconds, foundation)

    def state(self, key: str, code: Mapping[str, str]) -> tuple[State, tuple[str, ...], str]:
        """Where a cell stands, the parts whose code is not what made its record, and a word on it."""
        if entry := self.index.entries.get(key):
            stale = tuple(sorted(part for part, sha in code.items() if entry.code.get(part) != sha))
            return ("stale" if stale else "done"), stale, ""
        if fault := self.index.damaged.get(key):
            return "to run", (), f"its record is damaged: {fault}"
        attempts = self.index.attempts(key) if key in self.index.without_record else 0
        return ("failed before", (), f"failed attempts: {attempts}") if attempts else ("to run", (), "")

    def code_of(self, resolved: Resolved) -> dict[str, str]:
        """Today's sha256 of each part's code."""
        names = modules(resolved, self.lookup)
        for module in names.values():
            if module not in self.code:
                self.code[module] = code_sha256(module)
        return {part: self.code[module] for part, module in names.items()}


def planned(file: Path, workspace: Workspace, profile: str | None = None) -> Plan:
    """Every cell of a sweep file, looked up and checked. profile: in place of the file's own, where given."""
    sweep, index = load_sweep(file, profile), Index.of(Store(workspace.store), workspace.cache)
    return plan(sweep, index)


def plan(sweep: Sweep, index: Index) -> Plan:
    """The plan of a sweep, given what is in the store; two spellings of one cell are one."""
    planner = Planner(index, Costs.of(list(index.entries.values())))
    crossing = sweep.crossed(planner.lookup)
    turn = {} if sweep.zip.seed else {seed: i for i, seed in enumerate(sweep.seed)}  # seeds vary slowest
    found: dict[str, tuple[int, Planned]] = {}
    for combination in crossing.combinations:
        for one in planner.planned(combination):
            found.setdefault(one.key, (turn.get(one.cell.seed, 0), one))
    ordered = sorted(found.values(), key=lambda each: each[0])
    return Plan(sweep.name, tuple(one for _, one in ordered), crossing.skipped, planner.tally.shared)


# In words


def text(plan: Plan) -> str:
    """What a dry run prints: cells, combinations that are skipped, what is shared, the cost, and the sum."""
    shown = varying(plan)
    cells = [line(each, shown) for each in plan.cells]
    return "\n".join([*cells, *map(passed_over, plan.skipped), *map(str, plan.shared), *summed(plan)])


def explained(plan: Plan) -> str:
    """Why each cell would run or not, a line each."""
    shown = varying(plan)
    return "\n".join(f"{line(each, shown)}: {reason(each)}" for each in plan.cells)


def varying(plan: Plan) -> frozenset[str]:
    """The parameters that are not the same in all cells of a plan that have them."""
    first: dict[str, Any] = {}
    found = set()
    for each in plan.cells:
        for name, value in each.cell.parameters.items():
            if first.setdefault(name, value) != value:
                found.add(name)
    return frozenset(found)


def reason(planned: Planned) -> str:
    """Why a cell has its state."""
    if planned.stale:
        return f"the code of {', '.join(planned.stale)} has changed since its record"
    return planned.why or ("its record is by today's code" if planned.done else "it has no record")


def line(planned: Planned, shown: Set[str]) -> str:
    """A cell in words, with its values of the parameters shown."""
    cell = planned.cell
    defenses = "+".join(cell.defenses) or "none"
    values = "".join(f" {name}={value}" for name, value in cell.parameters.items() if name in shown)
    names = f"{cell.attack} {cell.victim} {cell.dataset or '-'} {defenses} seed {cell.seed}{values}"
    return f"{planned.key[:12]}  {planned.state:<13} {names}"


def passed_over(skipped: Skipped) -> str:
    """A combination that is skipped, in words."""
    names = skipped.names
    return (
        f"skipped  {names.attack} {names.victim} {names.dataset} {'+'.join(names.defense) or 'none'}: {skipped.reason}"
    )


def summed(plan: Plan) -> Iterator[str]:
    """The cost of what is left, and how many cells are in which state."""
    if left := plan.left:
        yield cost(left)
    states = [each.state for each in plan.cells]
    others = {state: states.count(state) for state in ("stale", "failed before")}
    more = [f"{n} {state}" for state, n in others.items() if n]
    more += [f"{len(plan.skipped)} combinations skipped"] if plan.skipped else []
    yield ", ".join([f"{len(states)} cells, {states.count('done')} done", *more])


def cost(left: Sequence[Planned]) -> str:
    """What cells are likely to take together, one after the other."""
    known = [each.seconds for each in left if each.seconds is not None]
    if not known:
        return f"cost: nothing is known of such cells; {len(left)} to run"
    rest = f"; nothing is known of {len(left) - len(known)}" if len(known) < len(left) else ""
    return f"cost: about {duration(sum(known))} on one worker, for {len(known)} of {len(left)} cells{rest}"


def plain(plan: Plan) -> dict[str, Any]:
    """The same as JSON types."""
    return {
        "name": plan.name,
        "cells": [
            {
                "key": each.key,
                "group": each.group,
                "state": each.state,
                "stale": list(each.stale),
                "why": each.why,
                "seconds": each.seconds,
                "cell": each.cell.model_dump(mode="json"),
            }
            for each in plan.cells
        ],
        "skipped": [{**vars(s.names), "defense": list(s.names.defense), "reason": s.reason} for s in plan.skipped],
        "shared": [vars(each) for each in plan.shared],
    }
