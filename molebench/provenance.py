"""Where a number comes from: code version, machine and libraries, as a record states them (no host, user or path)."""

import functools
import os
import platform
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import molebench
from molebench.errors import MolebenchError
from molebench.limits import HOOK_SECONDS

MOST_SECONDS = 1e6  # an alarm cannot be set much later
COMPUTE = ("torch", "numpy", "numba", "llvmlite", "timm")  # libraries whose version a cached stage depends on
SHOWN = (*COMPUTE, "scipy", "scikit-learn", "scikit-image", "pillow", "safetensors", "pydantic")


def versions(names: tuple[str, ...] = COMPUTE) -> dict[str, str]:
    """Installed versions by distribution name."""
    return dict(_versions(names))


@functools.cache  # what is installed is looked up once: it is what this process has imported
def _versions(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def environment() -> dict[str, Any]:
    """The machine and libraries that computed a record."""
    torch = sys.modules.get("torch")  # where it was not imported, it has computed nothing
    gpu = torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu(),
        "threads": torch.get_num_threads() if torch else threads(),
        "gpu": gpu,
        "libraries": versions(SHOWN),
        "determinism": {
            "deterministic_algorithms": bool(torch and torch.are_deterministic_algorithms_enabled()),
            "device": device(),
        },
    }


@functools.cache
def cpu() -> str:
    """The processor's model name."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def code() -> dict[str, Any]:
    """molebench's version and, in a checkout, the commit and whether files differed from it when first asked."""
    return dict(_code())


@functools.cache
def _code() -> dict[str, Any]:
    root = Path(molebench.__file__).parents[1]
    if not (root / "setup.cfg").is_file():
        return {"version": molebench.__version__, "git_sha": None, "dirty": None}
    sha = _git(root, "rev-parse", "HEAD")
    status = _git(root, "status", "--porcelain")
    return {"version": molebench.__version__, "git_sha": sha, "dirty": None if status is None else bool(status)}


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def peak_memory_mib() -> float:
    """The largest resident size of this process so far.

    Linux keeps ru_maxrss over exec: there it may be that of whoever started this program.
    """
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10, 1)
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


@dataclass
class Cost:
    """What a block of code took: wall seconds, and the largest resident size of the process meanwhile, MiB."""

    seconds: float = 0.0
    peak_mib: float = 0.0


@contextmanager
def metered(every: float = 0.05) -> Iterator[Cost]:
    """Fills a Cost when the block ends; memory is looked at every few milliseconds (the peak so far, if not Linux)."""
    cost, start, done = Cost(peak_mib=resident_mib()), time.perf_counter(), threading.Event()

    def watch() -> None:
        while not done.wait(every):
            cost.peak_mib = max(cost.peak_mib, resident_mib())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield cost
    finally:
        done.set()
        watcher.join()
        cost.seconds, cost.peak_mib = time.perf_counter() - start, max(cost.peak_mib, resident_mib())


def resident_mib() -> float:
    """What this process holds in memory now."""
    try:
        pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    except OSError:
        return peak_memory_mib()
    return pages * resource.getpagesize() / 2**20


def device() -> str:
    """Where a cell trains its networks: MOLEBENCH_DEVICE, cpu (whose figures others can repeat) where not given."""
    given = os.environ.get("MOLEBENCH_DEVICE", "") or "cpu"
    if given not in ("cpu", "cuda"):
        raise MolebenchError(f"MOLEBENCH_DEVICE = {given!r}; expected cpu or cuda, or nothing")
    if given == "cpu":
        return given
    import torch

    if not torch.cuda.is_available():
        raise MolebenchError("MOLEBENCH_DEVICE = 'cuda', but PyTorch finds no CUDA device here; leave it out for cpu")
    return given


def where() -> dict[str, str]:
    """What the key of a stage says of where it is computed: nothing of the cpu."""
    return {} if device() == "cpu" else {"device": device()}


def threads() -> int:
    """How many threads a cell computes with: MOLEBENCH_THREADS, else the processors this process may use."""
    given = os.environ.get("MOLEBENCH_THREADS", "")
    if given and not (given.isdecimal() and int(given) > 0):
        raise MolebenchError(f"MOLEBENCH_THREADS = {given!r}; expected a whole number above 0, or nothing")
    if given:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def computing_threads() -> Iterator[None]:
    """A fixed number of threads while a cell computes, whatever runs beside it; what it frees is kept for it."""
    from threadpoolctl import threadpool_limits

    from molebench.allocating import keep_freed

    count, torch = threads(), sys.modules.get("torch")  # a cell without networks need not import it
    before = torch.get_num_threads() if torch else count
    with threadpool_limits(count), whole_float32(torch):
        if torch:
            torch.set_num_threads(count)
            keep_freed()
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)


@contextmanager
def whole_float32(torch: Any) -> Iterator[None]:
    """float32 is float32 on a graphics processor too: PyTorch's convolutions there leave out 13 bits unless told."""
    parts = (torch.backends.cuda.matmul, torch.backends.cudnn) if torch else ()
    before = [part.allow_tf32 for part in parts]
    for part in parts:
        part.allow_tf32 = False
    try:
        yield
    finally:
        for part, allowed in zip(parts, before, strict=True):
            part.allow_tf32 = allowed


def hook_seconds() -> float:
    """The longest one call of a defense may take: MOLEBENCH_HOOK_SECONDS, else an hour."""
    given = os.environ.get("MOLEBENCH_HOOK_SECONDS", "")
    try:
        seconds = float(given or HOOK_SECONDS)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MOST_SECONDS:
        raise MolebenchError(
            f"MOLEBENCH_HOOK_SECONDS = {given!r}; expected seconds above 0 and at most {MOST_SECONDS:.0f}, or nothing"
        )
    return seconds
