"""In which order cells begin: one that would only wait for what a cell in flight computes lets others pass.

Cells that share a stage, such as a trained victim, each need it at their start. Begun together one of them computes it
and the others hold their workers idle; with cells between them that share nothing, none waits.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from molebench.jobs import Job

AHEAD = 64  # cells among which one is looked for


@dataclass
class Turns:
    """jobs: in order. ahead: taken from them, not begun. made: what cells that are over have computed."""

    jobs: Iterator[Job]
    ahead: deque[Job] = field(default_factory=deque)
    made: set[str] = field(default_factory=set)

    def next(self, flying: Iterable[Job]) -> Job | None:
        """The first job of those ahead that waits for none in flight; where all would wait, the first."""
        self.ahead.extend(islice(self.jobs, AHEAD - len(self.ahead)))
        making = {stage for job in flying for stage in job.needs} - self.made
        at = next((i for i, job in enumerate(self.ahead) if making.isdisjoint(job.needs)), 0)
        if not self.ahead:
            return None
        job = self.ahead[at]
        del self.ahead[at]
        return job

    def over(self, job: Job) -> None:
        """What a job needed is there now."""
        self.made.update(job.needs)

    def left(self) -> int:
        """How many have not begun; the last question, for it takes them."""
        return len(self.ahead) + sum(1 for _ in self.jobs)
