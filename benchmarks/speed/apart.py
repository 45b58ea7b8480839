"""A job in a fresh process, so that its memory is its own: what it gave, and the most that the process held.

Not ru_maxrss: Linux carries that of the process which began it over an exec, so that a small job of a large
process looks large. VmHWM is the peak of the address space, which an exec begins anew.
"""

import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
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
    """In that process: PyTorch with our number of threads, then the job."""
    import torch

    torch.set_num_threads(provenance.threads())
    return Apart(job(*given), peak_mib())


def peak_mib() -> float:
    """MiB that this process has held at most."""
    status = Path("/proc/self/status")
    if not status.exists():
        return provenance.peak_memory_mib()
    (kib,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status.read_text("utf-8"), re.MULTILINE)
    return int(kib) / 1024
