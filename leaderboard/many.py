"""The same function on many things, shared among processes where there are enough of them."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_all_start_methods, get_context
from typing import TypeVar

from molebench.errors import MolebenchError

# what helpers import before they part, so that each of them need not
NEEDED = ("molebench.leaderboard.loading", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg")
T = TypeVar("T")
R = TypeVar("R")


def across(function: Callable[[T], R], things: Sequence[T], alone: int, chunk: int = 1) -> Iterator[R]:
    """What a function gives for each, in order. alone: so many are done sooner here than elsewhere."""
    with begun(function, things, alone, chunk) as found:
        yield from found


@contextmanager
def begun(function: Callable[[T], R], things: Sequence[T], alone: int, chunk: int = 1) -> Iterator[Iterator[R]]:
    """The same, worked on by others while the block does something else; what is not begun at its end is dropped.

    The processes begin anew and are no forks of this one, which may have threads.
    """
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if len(things) <= alone or workers == 1:
        yield map(function, things)
        return
    method = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
    try:
        context = get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload(list(NEEDED))
        with ProcessPoolExecutor(workers, context) as pool:
            try:
                yield pool.map(function, things, chunksize=chunk)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
    except BrokenProcessPool as error:
        raise MolebenchError(
            "a helper process died while the board was made; is there memory left, and does a script that calls it "
            "keep its calls below if __name__ == '__main__'?"
        ) from error
