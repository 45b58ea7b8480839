"""Functions of numbers and arrays as machine code, made by Numba when they are first called, kept by the process alone.

They let go of the interpreter. Numba's cache on disk is a pickle, and stays off.
"""

import inspect
from collections.abc import Callable
from typing import TypeVar, cast

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., object])

ORDERLESS = {"reassoc", "contract", "nsz", "arcp"}  # sums may be regrouped; what is not finite stays so


def compiled(function: Kernel) -> Kernel:
    """Machine code of a function of numbers and arrays, made when it is first called."""
    made = numba.njit(fastmath=ORDERLESS, nogil=True, error_model="numpy")
    return cast(Kernel, made(inspect.unwrap(function)))
