"""A worker: takes cells from its standard input, one a line, and tells what becomes of them, one event a line.

    python -m molebench.worker        started by the executors; its folders and threads come in the environment

Whatever a cell or a library prints goes to standard error, so that standard output holds events and nothing else. A
worker lives for many cells: what it imported and what it has in memory of shared files serves the next one.
"""

import faulthandler
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TextIO

from molebench import jobs
from molebench.errors import Busy, CellFailed, MolebenchError
from molebench.jobs import Ended, Event, Got, Hear, Job
from molebench.progress import Advance, Progress
from molebench.workspace import Workspace

EVERY = 0.25  # seconds between two words about how far a cell is


def main() -> None:
    """Serves until its standard input ends."""
    faulthandler.enable()
    threading.Thread(target=outlived, args=(os.getppid(),), daemon=True).start()
    out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    workspace = Workspace.from_environment()
    for text in sys.stdin:
        serve(text, workspace, out)


def outlived(parent: int) -> None:
    """Ends this process when the one that began it is gone: a killed sweep leaves no worker behind."""
    while os.getppid() == parent:
        time.sleep(EVERY)
    os._exit(1)


def serve(text: str, workspace: Workspace, out: TextIO) -> None:
    """One job, from its line."""

    def emit(event: Event) -> None:
        out.write(jobs.line(event) + "\n")
        out.flush()

    emit(played(jobs.job(text), workspace, emit))


def played(job: Job, workspace: Workspace, emit: Hear) -> Ended:
    """Runs a cell and says how it ended; a failure is noted in attempts/ where that can be written."""
    start = time.monotonic()
    os.environ["MOLEBENCH_THREADS"] = str(job.resources.cpu)
    try:
        ended = ran(job, replace(workspace, progress=told(job.key, emit)))
    except Busy:
        ended = Ended(job.key, "busy")
    except MolebenchError as error:
        ended = Ended(
            job.key, "failed", type=type(error).__name__, message=str(error), noted=noted(job, workspace, error)
        )
    except MemoryError:
        ended = Ended(job.key, "failed", type="MemoryError", message="out of memory; try a smaller profile or pool")
    except Exception as error:  # a fault of ours: this cell's end, not the sweep's
        traceback.print_exc()
        ended = Ended(job.key, "failed", type=type(error).__name__, message=f"{type(error).__name__}: {error}")
    return replace(ended, seconds=time.monotonic() - start)


def ran(job: Job, workspace: Workspace) -> Ended:
    """A cell's record, made or found, and its pictures."""
    from molebench.grid import Cell
    from molebench.runner import run

    record = run(Cell.model_validate(job.cell), workspace, wait=False)
    if job.pictures:
        from molebench import pictures
        from molebench.store import Store

        pictures.of_cell(record, Store(workspace.store))
    return Ended(job.key, record.status)


def noted(job: Job, workspace: Workspace, error: MolebenchError) -> bool:
    """Leaves a note of a failure; False where that cannot be written either."""
    if isinstance(error, CellFailed):
        return True  # the runner has
    from molebench.grid import Cell, resolve
    from molebench.runner import note_failure
    from molebench.store import Store

    try:
        note_failure(Store(workspace.store), resolve(Cell.model_validate(job.cell)), error)
    except MolebenchError:
        return False
    return True


def told(key: str, emit: Hear) -> Progress:
    """Progress as events, a few a second."""

    @contextmanager
    def progress(label: str, total: int) -> Iterator[Advance]:
        done, said = 0, time.monotonic()

        def advance(n: int) -> None:
            nonlocal done, said
            done += n
            if (now := time.monotonic()) - said >= EVERY:
                said = now
                emit(Got(key, label, done, total))

        emit(Got(key, label, 0, total))
        yield advance

    return progress


if __name__ == "__main__":
    main()
