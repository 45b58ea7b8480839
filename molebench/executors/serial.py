"""Cells one after the other, in this process: what a debugger wants. Nothing here can stop a cell that hangs."""

from dataclasses import dataclass, field

from molebench.jobs import Hear, Job, Started
from molebench.worker import played
from molebench.workspace import Workspace


@dataclass(frozen=True)
class Serial:
    """One slot."""

    workspace: Workspace
    waiting: list[Job] = field(default_factory=list)
    slots: int = 1

    def submit(self, job: Job) -> None:
        """Keeps the job until `wait` runs it."""
        self.waiting.append(job)

    def wait(self, seconds: float, hear: Hear) -> None:
        """Runs what was submitted, however long it takes."""
        del seconds
        while self.waiting:
            job = self.waiting.pop()
            hear(Started(job.key, "here"))
            hear(played(job, self.workspace, hear))

    def stop(self, key: str) -> None:
        """Nothing runs when this is called."""

    def close(self) -> None:
        """There is nobody to let go."""
