"""Cells in processes of their own on this machine: fresh interpreters that live for many cells.

A worker (molebench/worker.py) is told of a cell by a line on its standard input and answers in events, a line each, on
its standard output; its standard error is what the cell says. One that dies takes its cell with it and nothing else:
the next cell gets a new one. So does one that outgrows the memory allowed or is stopped.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue

from molebench import jobs
from molebench.errors import how_ended
from molebench.jobs import Ended, Event, Hear, Job, Said, Started

LAST_LINES = 40  # kept of what a worker says
SHOWN_LINES = 5  # of what a dead one said last, in the note of its failure
LOOK = 0.2  # seconds between two looks at the workers' memory


class Worker:
    """One process, and the cell it is at."""

    def __init__(
        self, name: str, environment: Mapping[str, str], heard: "SimpleQueue[tuple[Worker, Event | None]]"
    ) -> None:
        self.name, self.heard = name, heard
        self.job: Job | None = None
        self.since = 0.0
        self.last: deque[str] = deque(maxlen=LAST_LINES)
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", "molebench.worker"]
        # a session of its own: Ctrl-C on the terminal is the sweep's to answer
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, env=dict(environment), text=True, start_new_session=True
        )
        self.talker = threading.Thread(target=self.listen_to_words, daemon=True)
        self.talker.start()
        threading.Thread(target=self.listen_to_events, daemon=True).start()

    def listen_to_events(self) -> None:
        """Passes events on; None when there will be no more."""
        for text in self.process.stdout or ():
            self.heard.put((self, jobs.event(text)))
        self.talker.join(timeout=2)
        self.heard.put((self, None))

    def listen_to_words(self) -> None:
        """Passes lines on, and keeps the last ones."""
        for text in self.process.stderr or ():
            self.last.append(text.rstrip())
            if job := self.job:
                self.heard.put((self, Said(job.key, text.rstrip())))

    def take(self, job: Job) -> bool:
        """Gives it a cell; False where it is dead."""
        self.job, self.since = job, time.monotonic()
        self.last.clear()
        if (pipe := self.process.stdin) is None:
            return False
        try:
            pipe.write(jobs.job_line(job) + "\n")
            pipe.flush()
        except BrokenPipeError:
            return False
        return True

    def kill(self) -> None:
        """Ends it and all that it began."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def obituary(self) -> str:
        """How it died, and what it said last."""
        how = how_ended(self.process.wait())
        said = " | ".join(last_words(list(self.last)))
        return f"the worker process {how}" + (f"; it last said: {said}" if said else "")


def last_words(lines: list[str]) -> list[str]:
    """What is worth knowing of the last lines: of a fatal error where it happened, and what was said before it."""
    fatal = next((i for i, line in enumerate(lines) if line.startswith("Fatal Python error")), None)
    first = max(0, fatal - 2) if fatal is not None else -SHOWN_LINES
    return [line.strip() for line in lines[first:] if line.strip()][:SHOWN_LINES]


class Processes:
    """slots: workers. environment: of each. memory: GiB that a worker may hold; None for no limit."""

    def __init__(self, slots: int, environment: Mapping[str, str], memory: float | None = None) -> None:
        self.slots, self.environment, self.memory = slots, environment, memory
        self.heard: SimpleQueue[tuple[Worker, Event | None]] = SimpleQueue()
        self.idle: list[Worker] = []
        self.busy: dict[str, Worker] = {}
        self.pending: list[Event] = []
        self.made, self.looked = 0, 0.0

    def submit(self, job: Job) -> None:
        """Gives a job to an idle worker, or to a new one."""
        while not (worker := self.idle.pop() if self.idle else self.fresh()).take(job):
            worker.kill()
        self.busy[job.key] = worker
        self.pending.append(Started(job.key, worker.name))

    def fresh(self) -> Worker:
        """One worker more."""
        self.made += 1
        return Worker(f"worker {self.made}", self.environment, self.heard)

    def wait(self, seconds: float, hear: Hear) -> None:
        """Tells what the workers say, and who died or grew too large."""
        while self.pending:
            hear(self.pending.pop(0))
        self.refuse_the_large(hear)
        try:
            self.tell(*self.heard.get(timeout=min(seconds, LOOK)), hear)
            while True:
                self.tell(*self.heard.get_nowait(), hear)
        except Empty:
            return

    def tell(self, worker: Worker, event: Event | None, hear: Hear) -> None:
        """One event; nothing of workers that were stopped."""
        job = worker.job
        if job is None or self.busy.get(job.key) is not worker:
            return
        if event is None:
            del self.busy[job.key]
            hear(Ended(job.key, "failed", time.monotonic() - worker.since, "WorkerDied", worker.obituary()))
        elif isinstance(event, Ended):
            worker.job = None
            self.idle.append(self.busy.pop(job.key))
            hear(event)
        else:
            hear(event)

    def refuse_the_large(self, hear: Hear) -> None:
        """Stops workers that hold more memory than they may."""
        now = time.monotonic()
        if self.memory is None or now - self.looked < LOOK:
            return
        self.looked = now
        for key, worker in list(self.busy.items()):
            if (held := resident_gib(worker.process.pid)) > self.memory:
                seconds = now - worker.since
                self.stop(key)
                words = (
                    f"it held {held:.2f} GiB of memory, {self.memory:g} are allowed; try --memory or a smaller profile"
                )
                hear(Ended(key, "failed", seconds, "MemoryLimit", words))

    def stop(self, key: str) -> None:
        """Kills the worker that is at this cell."""
        if worker := self.busy.pop(key, None):
            worker.job = None
            worker.kill()

    def close(self) -> None:
        """Ends every worker: idle ones by the end of their input."""
        for key in list(self.busy):
            self.stop(key)
        for worker in self.idle:
            if worker.process.stdin:
                worker.process.stdin.close()
        for worker in self.idle:
            try:
                worker.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                worker.kill()
        self.idle.clear()


def resident_gib(pid: int) -> float:
    """What a process and its children hold in memory."""
    import psutil

    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return float(sum(each.memory_info().rss for each in family)) / 2**30
    except psutil.Error:
        return 0.0
