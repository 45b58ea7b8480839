"""Class-incremental tasks: which classes come when, and what a class is called before and after the order is drawn.

A dataset of k classes is split into tasks of k / T classes, in an order drawn from the cell's seed. The first `base` of
them may be learnt as one (SSRE needs such a base). Inside a learner a class is its position in the order, so that the
head grows at its end and the classes of earlier tasks are 0..old-1.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int

from molebench.errors import MolebenchError, listed
from molebench.types import Array


@dataclass(frozen=True)
class Tasks:
    """classes: the labels of each task, in order."""

    classes: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.classes)

    @cached_property
    def order(self) -> Int[Array, " k"]:
        """The label at each position."""
        return np.array([c for task in self.classes for c in task], dtype=np.int64)

    @cached_property
    def position(self) -> Int[Array, " k"]:
        """The position of each label."""
        return np.argsort(self.order)

    def old(self, task: int) -> int:
        """How many classes came before a task."""
        return sum(len(each) for each in self.classes[:task])

    def seen(self, task: int) -> int:
        """How many classes are known once it is learnt."""
        return self.old(task + 1)

    def of(self, y: Int[Array, " n"]) -> Int[Array, " n"]:
        """The task of each label."""
        return np.repeat(np.arange(len(self)), [len(each) for each in self.classes])[self.position[y]]


def split(k: int, tasks: int, base: int, rng: np.random.Generator) -> Tasks:
    """T tasks of as many classes each, the first `base` of them merged; MolebenchError where that cannot be."""
    if tasks > k:
        raise MolebenchError(f"victim.tasks={tasks}, but the dataset has {k} classes; choose {k} or fewer")
    if k % tasks:
        even = [str(n) for n in range(1, k + 1) if k % n == 0]
        raise MolebenchError(f"victim.tasks={tasks} splits {k} classes unevenly; choose one of {listed(even, 20)}")
    if not 1 <= base <= tasks:
        raise MolebenchError(f"victim.base={base} of {tasks} tasks; choose 1 to {tasks} (the first so many are one)")
    each, order = k // tasks, rng.permutation(k).tolist()
    first = base * each
    rest = (tuple(order[i : i + each]) for i in range(first, k, each))
    return Tasks((tuple(order[:first]), *rest))
