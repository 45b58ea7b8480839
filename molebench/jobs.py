"""What a sweep hands out and what it hears back.

A job is one cell, by its key. An executor runs jobs on slots, in this process, in processes of its own or on a Ray
cluster, and tells what happens as events: a cell started, got on, said something, ended. Every event is plain data:
it crosses pipes and machines as one line of JSON.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Protocol, runtime_checkable

from molebench.cards import Resources

# lost: its worker died through no fault of the cell's; busy: another process is at it; interrupted: stopped by the user
State = Literal["ok", "unhealthy", "invalid", "failed", "timeout", "lost", "busy", "interrupted"]
RECORDED: Final = ("ok", "unhealthy", "invalid")  # states of a cell that has a record


@dataclass(frozen=True)
class Job:
    """A cell to run. cell: as `Cell.model_dump` gives it. label: for people. pictures: whether they are drawn.
    needs: names of what other cells may need as well, and only one computes."""

    key: str
    cell: Mapping[str, Any]
    label: str
    resources: Resources = Resources()
    pictures: bool = True
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Started:
    """A worker has taken a cell up."""

    key: str
    worker: str


@dataclass(frozen=True)
class Got:
    """How far a cell is in what it does now."""

    key: str
    label: str
    done: int
    total: int


@dataclass(frozen=True)
class Said:
    """A line that a cell, or its worker, wrote."""

    key: str
    line: str


@dataclass(frozen=True)
class Ended:
    """A cell is over. type, message: of what went wrong. noted: whether attempts/ has it already."""

    key: str
    state: State
    seconds: float = 0.0
    type: str = ""
    message: str = ""
    noted: bool = False


Event = Started | Got | Said | Ended
Hear = Callable[[Event], None]
KINDS: Final[dict[str, type]] = {"started": Started, "progress": Got, "said": Said, "ended": Ended}
NAMES: Final = {kind: name for name, kind in KINDS.items()}


def line(event: Event) -> str:
    """An event as one line of JSON."""
    return json.dumps({"event": NAMES[type(event)], **asdict(event)}, ensure_ascii=True)


def event(text: str) -> Event:
    """An event of its line."""
    fields = json.loads(text)
    found: Event = KINDS[fields.pop("event")](**fields)
    return found


def job(text: str) -> Job:
    """A job of its line."""
    fields = json.loads(text)
    return Job(**{**fields, "resources": Resources(**fields["resources"]), "needs": tuple(fields["needs"])})


def job_line(given: Job) -> str:
    """A job as one line of JSON."""
    return json.dumps(asdict(given), ensure_ascii=True)


@runtime_checkable
class Executor(Protocol):
    """Where cells run."""

    @property
    def slots(self) -> int:
        """Cells at once."""

    def submit(self, job: Job) -> None:
        """Begins a job on a free slot."""

    def wait(self, seconds: float, hear: Hear) -> None:
        """Tells what happens, as it does; comes back after so long at the latest if nothing happens."""

    def stop(self, key: str) -> None:
        """Ends a cell in flight at once, whatever it does; nothing more is heard of it."""

    def close(self) -> None:
        """Lets the workers go; cells in flight are lost."""
