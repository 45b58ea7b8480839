"""Limits on someone else's code that runs in this process: how long one call may take, how much it may print.

The time limit is an alarm signal: it stops Python code and sleeping, not a library that never returns to the
interpreter, and it works in the main thread only. Code that must not be trusted belongs into the sandbox.
What is printed goes to stderr, so that a command's own output stays clean.
"""

import io
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any

HOOK_SECONDS = 3600.0
PRINTED = 2**20  # characters


class OverLimit(BaseException):
    """A limit was passed; not an Exception, so that a plug-in's `except Exception` does not swallow it."""


@contextmanager
def limited(seconds: float, printed: int = PRINTED) -> Iterator[None]:
    """Raises OverLimit inside the block when it takes longer, or prints more."""
    out = Gauge(sys.stderr, printed)
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(out))
        stack.enter_context(alarmed(seconds))
        yield


class Gauge(io.TextIOBase):
    """A text stream that passes on what is written until it is too much."""

    def __init__(self, stream: Any, most: int) -> None:
        self.stream, self.most, self.left = stream, most, most

    def write(self, text: str) -> int:
        """Passes text on, or raises OverLimit."""
        self.left -= len(text)
        if self.left < 0:
            raise OverLimit(f"it printed more than {self.most} characters")
        self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flushes the stream behind it."""
        self.stream.flush()


@contextmanager
def alarmed(seconds: float) -> Iterator[None]:
    """Raises OverLimit in the main thread after this time; an alarm set before goes on counting, or stays if sooner."""
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "setitimer") or 0 < signal.getitimer(signal.ITIMER_REAL)[0] < seconds:
        yield
        return

    def ring(signum: int, frame: object) -> None:
        raise OverLimit(f"it took longer than {seconds:g} s")

    handler, start = signal.signal(signal.SIGALRM, ring), time.monotonic()
    left, every = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - start), 1e-3), every)
