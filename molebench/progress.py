"""Progress with an ETA: a bar on a terminal, a plain line now and then elsewhere; always on stderr.

with progress("crafting", 500) as advance:
    advance(25)
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[[int], None]
Progress = Callable[[str, int], AbstractContextManager[Advance]]

EVERY = 10.0  # seconds between two plain lines


def automatic() -> Progress:
    """A bar where stderr is a terminal, otherwise plain lines."""
    return bars if sys.stderr.isatty() else lines


@contextmanager
def silent(label: str, total: int) -> Iterator[Advance]:
    """No output."""
    yield lambda n: None


@contextmanager
def bars(label: str, total: int) -> Iterator[Advance]:
    """rich's bar with count and remaining time."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn())
    times = (TextColumn("elapsed"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Bar(*columns, *times, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total)
        yield lambda n: bar.advance(task, n)


@contextmanager
def lines(label: str, total: int, every: float = EVERY) -> Iterator[Advance]:
    """'label done/total, left 12 s' at most every few seconds, and a line at the end."""
    start = said = time.monotonic()
    done = 0

    def advance(n: int) -> None:
        nonlocal done, said
        done += n
        now = time.monotonic()
        if now - said >= every and done < total:
            said = now
            left = (now - start) / max(done, 1) * (total - done)
            say(f"{label} {done}/{total}, left {left:.0f} s")

    yield advance
    say(f"{label} {done}/{total}, took {time.monotonic() - start:.1f} s")


def say(line: str) -> None:
    """One line on stderr, at once."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
