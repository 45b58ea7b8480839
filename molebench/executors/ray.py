"""Cells as tasks of a Ray cluster: one that runs already (`--address`, RAY_ADDRESS), or one begun here.

Ray places each cell by what its cards say it takes. Each runs in a worker of one cell's threads. Where the store is a
shared folder, workers write into it; otherwise a worker writes into a folder of its own, and what came out travels back
and is written here, data first. What cells say and how far they are comes back through a mailbox, an actor on this
machine. A cell whose worker or node dies is `lost`, and the schedule sends it again.

Ray carries tasks as pickles between its own processes; its token authentication is left as it is.
"""

import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from molebench import jobs
from molebench.errors import MolebenchError, first_line
from molebench.jobs import Ended, Event, Hear, Job, Started
from molebench.store import Store
from molebench.worker import played
from molebench.workspace import Workspace

GIB = 2**30
SPARE = 2  # cells submitted beyond what fits now, so that no processor waits for the next one


class Mailbox:
    """What workers tell, until it is fetched."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def put(self, line: str) -> None:
        """One event's line."""
        self.lines.append(line)

    def take(self) -> list[str]:
        """All since the last time."""
        taken, self.lines = self.lines, []
        return taken


def remote_cell(text: str, mailbox: Any, shared: bool) -> tuple[str, dict[str, bytes]]:
    """On a worker: runs a job; its end as a line, and the files it made where the store is not shared."""
    job, workspace = jobs.job(text), Workspace.from_environment()

    def hear(event: Event) -> None:
        mailbox.put.remote(jobs.line(event))

    hear(Started(job.key, node_name()))
    if shared:
        return jobs.line(played(job, workspace, hear)), {}
    with tempfile.TemporaryDirectory(prefix="molebench-") as folder:
        ended = played(job, replace(workspace, store=Path(folder)), hear)
        return jobs.line(replace(ended, noted=False)), made_files(Path(folder))


def made_files(folder: Path) -> dict[str, bytes]:
    """Every file of a store, by its path in it; failed attempts are noted by who asked."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: path.read_bytes() for name, path in names.items() if "/attempts/" not in name}


def node_name() -> str:
    """The node and the process that this is."""
    import ray

    return f"node {ray.get_runtime_context().get_node_id()[:6]}, process {os.getpid()}"


class Ray:
    """store: where results go. environment: of the workers. shared: whether they see the store too. most: cells at
    once; None for as many as the cluster holds."""

    def __init__(
        self,
        address: str | None,
        store: Store,
        environment: Mapping[str, str],
        shared: bool,
        most: int | None = None,
    ) -> None:
        self.store, self.shared, self.most = store, shared, most
        self.ray = connected(address, environment)
        here = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            self.ray.get_runtime_context().get_node_id(), soft=False
        )
        self.mailbox = self.ray.remote(num_cpus=0, scheduling_strategy=here)(Mailbox).remote()
        self.cell = self.ray.remote(remote_cell)
        self.flying: dict[Any, Job] = {}
        self.since: dict[str, float] = {}
        self.cpu = 1

    @property
    def slots(self) -> int:
        """What the cluster can hold now: nodes come and go."""
        return self.most or max(1, int(self.ray.cluster_resources().get("CPU", 1)) // self.cpu) + SPARE

    def submit(self, job: Job) -> None:
        """Hands a job to the cluster."""
        self.cpu = job.resources.cpu
        takes = {"num_cpus": self.cpu, "num_gpus": job.resources.gpu, "memory": int(job.resources.memory * GIB)}
        task = self.cell.options(**takes, max_retries=0)
        self.flying[task.remote(jobs.job_line(job), self.mailbox, self.shared)] = job
        self.since[job.key] = time.monotonic()

    def wait(self, seconds: float, hear: Hear) -> None:
        """Tells what the mailbox holds, and which tasks are over."""
        done, _ = self.ray.wait(list(self.flying), num_returns=1, timeout=seconds)
        for line in self.ray.get(self.mailbox.take.remote()):
            if (event := jobs.event(line)).key in self.since:
                hear(event)
        for task in done:
            job = self.flying.pop(task)
            hear(self.ended(job, task))
            self.since.pop(job.key, None)

    def ended(self, job: Job, task: Any) -> Ended:
        """How a task ended: with a result, or its worker."""
        seconds, errors = time.monotonic() - self.since[job.key], self.ray.exceptions
        try:
            line, files = self.ray.get(task)
            self.store.adopt(job.key, files)
        except errors.OutOfMemoryError as error:
            return Ended(job.key, "failed", seconds, "MemoryLimit", f"Ray ended its worker: {first_line(error)}")
        except errors.RayTaskError as error:
            return Ended(job.key, "failed", seconds, type(error.cause).__name__, first_line(error.cause))
        except MolebenchError as error:
            return Ended(job.key, "failed", seconds, type(error).__name__, str(error))
        except errors.RayError as error:
            return Ended(job.key, "lost", seconds, type(error).__name__, first_line(error))
        found = jobs.event(line)
        return found if isinstance(found, Ended) else Ended(job.key, "failed", seconds, "NoEnd", line)

    def stop(self, key: str) -> None:
        """Ends a task by force."""
        for task in [task for task, job in self.flying.items() if job.key == key]:
            del self.flying[task]
            self.ray.cancel(task, force=True)
        self.since.pop(key, None)

    def close(self) -> None:
        """Ends what still runs, and a cluster that was begun here."""
        for job in list(self.flying.values()):
            self.stop(job.key)
        self.ray.kill(self.mailbox)
        self.ray.shutdown()


def connected(address: str | None, environment: Mapping[str, str]) -> Any:
    """Ray, connected to a cluster, or to one begun here; one line where it is not installed or cannot be reached."""
    try:
        import ray
    except ImportError:
        raise MolebenchError("--executor ray needs Ray: pip install 'molebench[ray]'") from None
    where = address or os.environ.get("RAY_ADDRESS")
    if where is None and " " in sys.executable:
        raise MolebenchError(
            f"Ray begins no workers where the path of Python holds a space ({sys.executable}); make the environment "
            "somewhere else, or use --executor processes"
        )
    try:
        ray.init(
            address=where,
            log_to_driver=False,
            include_dashboard=False if where is None else None,
            configure_logging=False,
            runtime_env={"env_vars": dict(environment)},
        )
    except (ray.exceptions.RayError, ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise MolebenchError(
            f"no Ray cluster at {where or 'this machine'}: {first_line(error)}; begin one with `ray start --head`, or "
            "leave --address out for one of its own"
        ) from error
    return ray
