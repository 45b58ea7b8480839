"""PyTorch's own team of threads, lent to compiled work that divides itself.

Between two operations PyTorch's threads wait for milliseconds at full speed: threads of our own would have to share
their processors. OpenMP's runtime is asked for the team by the entry that GCC's programs use; where PyTorch has brought
another runtime, which lacks it, threads of our own do the work.

Reference: https://gcc.gnu.org/onlinedocs/libgomp/Implementing-PARALLEL-construct.html
"""

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from functools import cache
from inspect import unwrap
from typing import Any

import numpy as np
import torch
from numba import carray, cfunc, types  # type: ignore[attr-defined]

from molebench.aside import workers

Entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
LENGTH = 10  # of a row


@cache
def entry(work: Callable[[Any], None]) -> tuple[Any, Any]:
    """Machine code of a compiled function of a row of numbers, for threads that know no interpreter; what holds it."""

    def begun(row: Any) -> None:
        work(carray(row, LENGTH))

    made: Any = cfunc(types.void(types.CPointer(types.int64)))(unwrap(begun))  # type: ignore[no-untyped-call]
    return Entry(made.address), made


@cache
def runtime() -> Any:
    """Lends the team; None where nobody would."""
    found = getattr(ctypes.CDLL(None), "GOMP_parallel", None)
    if found:
        found.argtypes, found.restype = [Entry, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return found


def together(work: Callable[[Any], None], numbers: Sequence[int], worth: int) -> None:
    """A compiled function of a row [ticket, *numbers], int64, called by as many threads as PyTorch may use: each draws
    one share after the other (`lanes.ticket`) until none is left. By the caller alone where it is `worth` fewer than
    two; MemoryError where nobody had the memory to draw one."""
    row = np.zeros(LENGTH, np.int64)
    row[1 : 1 + len(numbers)] = numbers
    threads, (code, _), lend = torch.get_num_threads(), entry(work), runtime()
    if threads == 1 or worth < 2:
        code(row.ctypes.data)
    elif lend:  # all of them: a team that grows smaller ends its threads
        lend(code, row.ctypes.data, threads, 0)
    else:
        pool = workers(threads, os.getpid())
        begun = [pool.submit(code, row.ctypes.data) for _ in range(threads)]
        try:
            wait(begun)
        finally:  # whatever a signal raises: what they write to is not to be freed before they are through
            wait(begun)
    if not row[0]:
        raise MemoryError(f"no memory for {work.__name__}")
