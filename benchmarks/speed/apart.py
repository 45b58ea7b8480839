"""A job in a fresh process, so that its memory is its own: what it gave, and the most that the process held."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from molebench import provenance


@dataclass(frozen=True)
class Apart:
    """value: what the job gave. mib: the most that its process held, from beginning to end."""

    value: Any
    mib: float


def apart(job: Callable[..., object], *given: object) -> Apart:
    """Runs a job, a function of a module, in a process of its own; what it raises is raised here."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(done, job, *given).result()


def done(job: Callable[..., object], *given: object) -> Apart:
    """In that process: PyTorch, then the job as a cell computes."""
    import torch  # what all jobs have in common

    del torch
    with provenance.computing_threads():
        return Apart(job(*given), provenance.peak_memory_mib())
