"""A second pair of hands: what a loop will want soon is done beside it, and large work is shared, by threads.

PyTorch and NumPy let go of the interpreter while they compute, so that threads of small operations seldom wait for one
another. A small product on one thread is quicker than one that two share, who meet at its end: here every thread
computes alone, and the number of them is PyTorch's. With one, work is done when it is asked for.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeVar

import torch

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Aside:
    """pool: who works beside the caller; None where nobody does."""

    pool: ThreadPoolExecutor | None

    @property
    def late(self) -> int:
        """How many pieces of work begun are best not waited for."""
        return 1 if self.pool else 0

    def begin(self, work: Callable[..., T], *given: Any) -> Callable[[], T]:
        """Asks for what comes of the work, which is done in the order in which it was begun; or, alone, when asked."""
        return self.pool.submit(work, *given).result if self.pool else partial(work, *given)


@contextmanager
def aside(wanted: bool = True) -> Iterator[Aside]:
    """Somebody who works beside the block, one thread each, where it is wanted and PyTorch may use more than one.

    Everything that was begun is done when the block is left.
    """
    with alone() as threads:
        hands = Aside(workers(1, os.getpid()) if threads > 1 and wanted else None)
        try:
            yield hands
        finally:
            hands.begin(lambda: None)()  # the one worker takes things in turn: this is the last


def shared(work: Callable[[T], object], things: Sequence[T]) -> None:
    """Work on each of some things that do not touch one another, by as many threads as PyTorch may use."""
    with alone() as threads:
        several = threads > 1 and len(things) > 1
        for done in (workers(threads, os.getpid()).map if several else map)(work, things):
            del done


@contextmanager
def alone() -> Iterator[int]:
    """Every operation on the thread that asks for it; given is how many might have shared it."""
    threads = torch.get_num_threads()
    if threads > 1:
        torch.set_num_threads(1)
    try:
        yield threads
    finally:
        if threads > 1:
            torch.set_num_threads(threads)


@cache
def workers(count: int, process: int) -> ThreadPoolExecutor:
    """So many threads, each of which computes alone: PyTorch's number of threads is each thread's own.

    They are kept, for a thread's first product takes milliseconds; not for a process that was forked from this one,
    which does not have them.
    """
    return ThreadPoolExecutor(count, f"aside of {process}", torch.set_num_threads, (1,))
