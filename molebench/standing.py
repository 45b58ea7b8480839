"""Where a sweep stands: cells over, cells in flight, how fast, how long still; and a file of it that others may read.

The file lies in the cache folder, <cache>/sweeps/<the store's name>/<process>.json, so that nothing of a killed sweep
is left in the store. It is written anew every second, whole or not at all.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from molebench.errors import MolebenchError
from molebench.jobs import RECORDED, Ended, Event, Got, Started
from molebench.stages import key
from molebench.workspace import Workspace, writing

EVERY = 1.0  # seconds between two states of the file


@dataclass
class Flight:
    """A cell in flight. does, done, total: what it does now, and how far it is."""

    key: str
    label: str
    worker: str = ""
    since: float = field(default_factory=time.time)
    does: str = ""
    done: int = 0
    total: int = 0

    def words(self) -> str:
        """As a person reads it."""
        far = f": {self.does} {self.done}/{self.total}" if self.does else ""
        return f"{self.worker}  {self.label}{far}"


@dataclass
class Standing:
    """name: the sweep's. total: its cells. before: those that were done when it began. labels: of cells, by key, while
    they are in flight."""

    name: str
    total: int
    before: int
    began: float = field(default_factory=time.time)
    states: Counter[str] = field(default_factory=Counter)
    flights: dict[str, Flight] = field(default_factory=dict)

    def hear(self, event: Event, label: str = "") -> None:
        """Takes an event in. label: of the cell, where it starts."""
        if isinstance(event, Started):
            self.flights[event.key] = Flight(event.key, label or event.key[:12], event.worker)
        elif isinstance(event, Got) and (flight := self.flights.get(event.key)):
            flight.does, flight.done, flight.total = event.label, event.done, event.total
        elif isinstance(event, Ended):
            self.flights.pop(event.key, None)
            self.states[event.state] += event.state != "busy"

    @property
    def finished(self) -> int:
        """Cells that this run gave a record."""
        return sum(self.states[state] for state in RECORDED)

    @property
    def failed(self) -> int:
        """Tries that failed, lost ones and those over time included."""
        return self.states["failed"] + self.states["timeout"] + self.states["lost"]

    @property
    def done(self) -> int:
        """Cells that have a record."""
        return self.before + self.finished

    def per_minute(self, now: float) -> float:
        """Cells a minute, in this run."""
        return 60 * self.finished / max(now - self.began, 1e-9)

    def seconds_left(self, now: float) -> float | None:
        """How long the rest will take at this rate; None before the first is done."""
        rate = self.per_minute(now) / 60
        return (self.total - self.done) / rate if self.finished else None

    def words(self, now: float) -> str:
        """One line."""
        parts = [f"{self.done} of {self.total} cells done"]
        if self.before:
            parts[0] += f" ({self.before} before)"
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.finished:
            parts.append(f"{self.per_minute(now):.3g} a minute")
        if (left := self.seconds_left(now)) and self.total > self.done:
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        flights = {key: asdict(flight) for key, flight in self.flights.items()}
        return {
            **vars(self),
            "states": dict(self.states),
            "flights": flights,
            "pid": os.getpid(),
            "updated": time.time(),
        }


def duration(seconds: float) -> str:
    """'0.4 s', '40 s', '12 min', '3 h 05 min'."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def folder(workspace: Workspace) -> Path:
    """Where the sweeps of a store tell how they stand."""
    return workspace.cache / "sweeps" / key(str(workspace.store.resolve()))[:16]


@dataclass
class Notice:
    """Keeps a standing's file up to date until it is taken down."""

    standing: Standing
    path: Path
    written: float = 0.0

    @classmethod
    def of(cls, standing: Standing, workspace: Workspace) -> "Notice":
        """This process's."""
        return cls(standing, folder(workspace) / f"{os.getpid()}.json")

    def tick(self) -> None:
        """Writes it where a second has passed; a cache that cannot be written is no reason to stop."""
        if time.time() - self.written < EVERY:
            return
        self.written = time.time()
        try:
            with writing(self.path) as temporary:
                temporary.write_text(json.dumps(self.standing.plain()), "utf-8")
        except MolebenchError:
            return

    def down(self) -> None:
        """Takes it away."""
        self.path.unlink(missing_ok=True)


def posted(workspace: Workspace) -> Iterator[tuple[Standing, bool]]:
    """The standings of sweeps into this store, and whether each still runs; those of dead ones are removed."""
    import psutil

    for path in sorted(folder(workspace).glob("*.json")):
        try:
            content = json.loads(path.read_text("utf-8"))
            pid, updated = content.pop("pid"), content.pop("updated")
            flights = {k: Flight(**v) for k, v in content.pop("flights").items()}
            standing = Standing(**{**content, "states": Counter(content["states"]), "flights": flights})
        except (OSError, ValueError, KeyError, TypeError):
            continue
        alive = psutil.pid_exists(pid) and psutil.Process(pid).create_time() <= standing.began + 1
        yield standing, alive
        if not alive and time.time() - updated > EVERY:
            path.unlink(missing_ok=True)
