"""PyTorch's own team of threads, lent to compiled work that divides itself.

Between two operations PyTorch's threads wait for milliseconds at full speed: threads of our own would have to share
their processors. OpenMP's runtime is asked for the team by the entry that GCC's programs use; where PyTorch has brought
another runtime, which lacks it, threads of our own do the work.

Reference: https://gcc.gnu.org/onlinedocs/libgomp/Implementing-PARALLEL-construct.html
"""

import ctypes
import os
from collections.abc import Callable, Sequence
from functools import cache
from inspect import unwrap
from typing import Any

import numpy as np
import torch
from numba import carray, cfunc, types  # type: ignore[attr-defined]

from molebench.aside import workers

Entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@cache
def entry(work: Callable[[Any], None]) -> tuple[Any, Any]:
    """Machine code of a compiled function of a row of numbers, for threads that know no interpreter; what holds it."""

    def begun(row: Any) -> None:
        work(carray(row, 1))

    made: Any = cfunc(types.void(types.CPointer(types.int64)))(unwrap(begun))  # type: ignore[no-untyped-call]
    return Entry(made.address), made


@cache
def runtime() -> Any:
    """Lends the team; None where nobody would."""
    found = getattr(ctypes.CDLL(None), "GOMP_parallel", None)
    if found:
        found.argtypes, found.restype = [Entry, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return found


def together(work: Callable[[Any], None], numbers: Sequence[int], shares: int) -> None:
    """A compiled function of a row [ticket, *numbers], int64, called by as many threads as PyTorch may use: each draws
    one share after the other of so many (`lanes.ticket`) until none is left. A single share needs no team."""
    row = np.array([0, *numbers], np.int64)
    threads, (code, _), lend = torch.get_num_threads(), entry(work), runtime()
    if threads == 1 or shares < 2:
        code(row.ctypes.data)
    elif lend:  # all of them: a team that grows smaller ends its threads
        lend(code, row.ctypes.data, threads, 0)
    else:
        list(workers(threads, os.getpid()).map(code, [row.ctypes.data] * threads))
