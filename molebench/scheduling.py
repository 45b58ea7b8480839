"""Which cell runs when: a queue, slots, second tries, and an end in good order.

A cell that fails is tried again as often as allowed, one whose worker was lost (a node that died) a few times more for
free, one that another process is at later. What is over time is stopped. No event of any of it stops the others.
"""

import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from molebench.jobs import RECORDED, Ended, Event, Executor, Hear, Job, Started
from molebench.turns import Turns

LOST = 3  # tries more where a worker was lost
TICK = 0.2  # seconds between two looks at the clock
LATER = 0.5  # seconds before a cell that another process is at is looked at again


@dataclass(frozen=True)
class Policy:
    """retries: further tries of a cell that failed. timeout: seconds a try may take. keep_going: whether one that
    failed for good ends the sweep."""

    retries: int = 0
    timeout: float | None = None
    keep_going: bool = True


@dataclass
class Stop:
    """asked: whether the user wants no new cell."""

    asked: bool = False


@dataclass
class Tally:
    """What came of the jobs. states: cells by how they ended. failures: the last end of each that failed for good.
    left: cells that were not begun, or not ended."""

    states: Counter[str] = field(default_factory=Counter)
    failures: dict[str, Ended] = field(default_factory=dict)
    left: int = 0
    stopped: bool = False


@contextmanager
def interruptible(say: Callable[[str], None]) -> Iterator[Stop]:
    """While the block runs, Ctrl-C asks for a stop, a second one raises KeyboardInterrupt at once; so does SIGTERM."""
    stop = Stop()

    def interrupted(number: int, frame: FrameType | None) -> None:
        del frame
        if stop.asked or number == signal.SIGTERM:
            raise KeyboardInterrupt
        stop.asked = True
        say("stopping: cells in flight are finished, no other begins; Ctrl-C again stops at once")

    before = {number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class Schedule:
    """turns: what is to run. note: keeps a failure beside the cell's others where its worker could not. tick: called
    several times a second."""

    turns: Turns
    executor: Executor
    policy: Policy
    hear: Hear
    note: Callable[[Job, Ended], None]
    tick: Callable[[], None] = lambda: None
    tally: Tally = field(default_factory=Tally)
    again: deque[tuple[float, Job]] = field(default_factory=deque)  # not before, and what
    flying: dict[str, Job] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)  # when a cell in flight began; it may have to wait for a slot
    tries: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    enough: bool = False  # a failure ended the sweep

    def play(self, stop: Stop) -> Tally:
        """Runs everything, or what a stop leaves time for."""
        try:
            while True:
                if not stop.asked and not self.enough:
                    self.fill()
                if not self.flying and (stop.asked or self.enough or not self.again):
                    break
                self.executor.wait(TICK, self.heard)
                self.end_the_overdue()
                self.tick()
        except KeyboardInterrupt:
            stop.asked = True
            for key in self.flying:
                self.hear(Ended(key, "interrupted", self.took(key)))
        finally:
            self.executor.close()
        self.tally.left = len(self.flying) + len(self.again) + self.turns.left()
        self.tally.stopped = stop.asked or self.enough
        return self.tally

    def fill(self) -> None:
        """A job for every free slot."""
        while len(self.flying) < self.executor.slots and (job := self.next_job()):
            self.flying[job.key] = job
            self.executor.submit(job)

    def next_job(self) -> Job | None:
        """New ones first, then those whose time has come again."""
        if job := self.turns.next(self.flying.values()):
            return job
        if self.again and self.again[0][0] <= time.monotonic():
            return self.again.popleft()[1]
        return None

    def heard(self, event: Event) -> None:
        """Passes an event on, and answers the end of a cell."""
        if isinstance(event, Started):
            self.since[event.key] = time.monotonic()
        if isinstance(event, Ended):
            self.since.pop(event.key, None)
            self.over(self.flying.pop(event.key), event)
        else:
            self.hear(event)

    def took(self, key: str) -> float:
        """Seconds since a cell began; 0 where it has not."""
        return time.monotonic() - self.since.get(key, time.monotonic())

    def over(self, job: Job, end: Ended) -> None:
        """Counts a cell that is over, or puts it back."""
        if end.state == "busy":
            self.again.append((time.monotonic() + LATER, job))
        elif end.state in RECORDED:
            self.turns.over(job)
            self.tally.states[end.state] += 1
            self.tally.failures.pop(job.key, None)
        else:
            self.fell(job, end)
        self.hear(end)

    def fell(self, job: Job, end: Ended) -> None:
        """A try that failed: noted, and tried again while that is allowed."""
        if not end.noted:
            self.note(job, end)
        counted, most = (self.lost, LOST) if end.state == "lost" else (self.tries, self.policy.retries)
        counted[job.key] += 1
        if counted[job.key] <= most:
            self.again.append((time.monotonic(), job))
            return
        self.tally.states[end.state] += 1
        self.tally.failures[job.key] = end
        self.enough = not self.policy.keep_going

    def end_the_overdue(self) -> None:
        """Stops cells that have taken too long."""
        if (most := self.policy.timeout) is None:
            return
        for key in list(self.flying):
            if (took := self.took(key)) > most:
                self.executor.stop(key)
                words = f"stopped after {took:.0f} s; --timeout allows {most:g}"
                self.heard(Ended(key, "timeout", took, "Timeout", words))
