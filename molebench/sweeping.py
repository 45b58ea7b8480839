"""A sweep, run: what a plan lacks goes to an executor; displays, the notice for `status` and attempts/ hear of it all.

How many workers there are changes no figure: a cell computes with as many threads as its cards say (one, unless
`--threads` or MOLEBENCH_THREADS asks for more), whoever runs it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from molebench import registry
from molebench.cards import Resources
from molebench.errors import CellFailed, MolebenchError
from molebench.executors.processes import Processes
from molebench.executors.serial import Serial
from molebench.grid import Cell, resolve
from molebench.jobs import Ended, Event, Executor, Job
from molebench.planning import Plan, Planned
from molebench.progress import say
from molebench.runner import note_failure
from molebench.scheduling import Policy, Schedule, Tally, interruptible
from molebench.standing import Notice, Standing
from molebench.store import Store, clear
from molebench.turns import Turns
from molebench.upkeep import tidied
from molebench.watching import Display, Form, display
from molebench.workspace import Workspace

Kind = Literal["serial", "processes", "ray"]


@dataclass(frozen=True)
class Options:
    """How a sweep is run. workers: at once; as many as fit where not given. threads: of a cell. address: of a Ray
    cluster. shared: whether its nodes see the store. memory: GiB that a cell's process may hold. failed: only cells
    that failed before."""

    executor: Kind = "processes"
    workers: int | None = None
    threads: int | None = None
    address: str | None = None
    shared: bool = False
    memory: float | None = None
    policy: Policy = Policy()
    failed: bool = False
    pictures: bool = True
    progress: Form = "auto"


def swept(plan: Plan, workspace: Workspace, options: Options) -> Tally:
    """Runs what a plan lacks; what came of it. Failures are in attempts/ and in the tally."""
    wanted = [each for each in plan.cells if runs(each, options)]
    if not wanted:
        return Tally()
    tidied(Store(workspace.store))
    standing = Standing(plan.name, len(plan.cells), len(plan.cells) - len(wanted))
    jobs = Jobs(wanted, options, workspace)
    executor = executor_of(options, jobs.largest, workspace)
    with display(options.progress, standing, jobs.labels) as shown, interruptible(say) as stop:
        told = Told(standing, jobs.labels, shown, Notice.of(standing, workspace))
        try:
            return Schedule(Turns(iter(jobs)), executor, options.policy, told.hear, jobs.note, told.tick).play(stop)
        finally:
            told.notice.down()


def runs(planned: Planned, options: Options) -> bool:
    """Whether a cell is to run now."""
    return planned.state == "failed before" if options.failed else planned.state != "done"


@dataclass(frozen=True)
class Told:
    """Passes events on to all who hear them."""

    standing: Standing
    labels: dict[str, str]
    shown: Display
    notice: Notice

    def hear(self, event: Event) -> None:
        """One event."""
        self.standing.hear(event, self.labels.get(event.key, ""))
        self.shown.hear(event)
        if isinstance(event, Ended) and event.state != "busy":
            self.labels.pop(event.key, None)
        self.tick()

    def tick(self) -> None:
        """Time has passed."""
        self.shown.tick()
        self.notice.tick()


@dataclass(frozen=True)
class Jobs:
    """The jobs of cells. labels: of those that were handed out and are not over."""

    cells: list[Planned]
    options: Options
    workspace: Workspace
    labels: dict[str, str] = field(default_factory=dict)
    known: dict[tuple[str, ...], Resources] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Job]:
        for each in self.cells:
            self.labels[each.key] = label(each.cell)
            cell = each.cell.model_dump(mode="json")
            needs = each.foundation.names(each.cell.seed) if each.foundation else ()
            yield Job(each.key, cell, self.labels[each.key], self.resources(each.cell), self.options.pictures, needs)

    @property
    def largest(self) -> Resources:
        """As much of everything as any cell takes."""
        for each in self.cells:
            self.resources(each.cell)
        return most(*self.known.values())

    def resources(self, cell: Cell) -> Resources:
        """What a cell takes: the most that any of its cards says, and the threads that were asked for."""
        names = (cell.victim, cell.attack, *cell.defenses)
        if names not in self.known:
            kinds = ("victims", "attacks", *["defenses"] * len(cell.defenses))
            cards = (registry.find(kind, name).card for kind, name in zip(kinds, names, strict=True))
            self.known[names] = adjusted(most(*(card.resources for card in cards)), self.options.threads)
        return self.known[names]

    def note(self, job: Job, end: Ended) -> None:
        """Keeps a failure in attempts/, less what a dead worker left; a store that cannot be written ends no sweep."""
        store, error = (
            Store(self.workspace.store),
            CellFailed(f"{end.type}: {end.message}" if end.type else end.message),
        )
        try:
            with store.locked(job.key, wait=False) as ours:
                if ours and not store.has(job.key):
                    clear(store.cell(job.key))
            note_failure(store, resolve(Cell.model_validate(job.cell)), error)
        except MolebenchError as unwritable:
            say(f"no note of the failure of {job.key[:12]} could be written: {unwritable}")


def label(cell: Cell) -> str:
    """A cell in words."""
    defenses = "+".join(cell.defenses)
    parts = [
        cell.attack,
        cell.victim,
        cell.dataset or "",
        f"behind {defenses}" if defenses else "",
        f"seed {cell.seed}",
    ]
    return " ".join(part for part in parts if part)


def most(*resources: Resources) -> Resources:
    """The largest of each."""
    return Resources(
        max(each.cpu for each in resources), max(each.gpu for each in resources), max(each.memory for each in resources)
    )


def adjusted(stated: Resources, threads: int | None) -> Resources:
    """What the cards say, less a graphics processor where none is used, with the threads that were asked for."""
    given = threads or int(os.environ.get("MOLEBENCH_THREADS") or stated.cpu)
    return Resources(given, stated.gpu if os.environ.get("MOLEBENCH_DEVICE") == "cuda" else 0.0, stated.memory)


def executor_of(options: Options, largest: Resources, workspace: Workspace) -> Executor:
    """Whoever runs the cells."""
    if options.executor == "serial":
        refuse(options, timeout=options.policy.timeout, memory=options.memory, workers=(options.workers or 1) > 1)
        return Serial(workspace)
    environment = workspace.environment(largest.cpu)
    if options.executor == "ray":
        refuse(options, memory=options.memory)
        from molebench.executors.ray import Ray

        ours = {name: value for name, value in environment.items() if name.startswith(("MOLEBENCH_", "OMP_"))}
        return Ray(options.address, Store(workspace.store), ours, options.shared, options.workers)
    refuse(options, address=options.address)
    return Processes(options.workers or fitting(largest), {**os.environ, **environment}, options.memory)


def refuse(options: Options, **given: object) -> None:
    """MolebenchError for what an executor cannot do."""
    for name, value in given.items():
        if value:
            other = "ray" if name == "address" else "processes"
            raise MolebenchError(f"--{name} does not go with --executor {options.executor}; try --executor {other}")


def fitting(largest: Resources) -> int:
    """As many workers as this machine has processors and free memory for."""
    import psutil

    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    room = psutil.virtual_memory().available / 2**30
    return max(1, min(processors // largest.cpu, int(room // largest.memory)))
