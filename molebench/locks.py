"""Locks between processes, each a file that is there only while somebody holds it.

A lock is the kernel's (flock) on the file that a name stands for, so that of a dead process it is free by itself: the
file that one leaves is taken over by the next holder, and removed with its lock. Whoever opened a file that was removed
before its lock was had tries again. Where a file system of several hosts has flock (NFS of today, Lustre, GPFS, CephFS)
this holds between them. Where it has none, a marker beside the file takes its place (filelock's SoftFileLock): that of
a dead process on this host is taken over, that of one on another host stays until somebody removes <name>.soft.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from molebench.errors import cannot_write

NO_FLOCK = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # what a file system without it answers
MARKER = ".soft"

Release = Callable[[], None]


@contextmanager
def held(path: Path, wait: bool = True, waiting: Release = lambda: None) -> Iterator[bool]:
    """Holds the lock of a file while the block runs; its folder exists inside.

    Gives False, at once, where another process has it and `wait` is false; `waiting` is called before a wait.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        release = grip(path)
        if release is None and wait:
            waiting()
            release = grip(path, wait=True)
    except OSError as error:
        raise cannot_write(str(path.parent), error) from error
    try:
        yield release is not None
    finally:
        if release:
            release()


def grip(path: Path, wait: bool = False) -> Release | None:
    """Takes a lock: what lets it go again, or None while another process has it."""
    try:
        handle = grasped(path, wait)
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
        path.unlink(missing_ok=True)  # of no use to anybody there
        return marked(path.with_name(f"{path.name}{MARKER}"), wait)
    return None if handle is None else partial(let_go, handle, path)


def grasped(path: Path, wait: bool = False) -> int | None:
    """A descriptor of the file at `path`, made where there is none, with its lock; None while another has that."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        with ExitStack() as unless_kept:  # closed on Ctrl-C while it waits, too
            unless_kept.callback(os.close, handle)
            ours, there = locked(handle, wait), is_at(handle, path)
            if ours and there:
                unless_kept.pop_all()
                return handle
        if not ours:
            return None  # else it was removed, or renamed, before its lock was ours


def locked(handle: int, wait: bool = False) -> bool:
    """Whether the lock of an open file could be had."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def is_at(handle: int, path: Path) -> bool:
    """Whether an open file is still the one that a path names."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def let_go(handle: int, path: Path) -> None:
    """Removes a lock's file while it is held, then lets go: who waits for that file sees it and tries again."""
    with suppress(OSError):  # a folder that has turned read-only: the file stays, its lock is free
        path.unlink()
    unlocked(handle)


def unlocked(handle: int) -> None:
    """Lets go of a file's lock, whichever processes have inherited the descriptor."""
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)


def marked(path: Path, wait: bool = False) -> Release | None:
    """The same by a marker that is there or not, where the file system has no flock."""
    from filelock import SoftFileLock, Timeout

    marker = SoftFileLock(path)
    try:
        marker.acquire(timeout=-1 if wait else 0)
    except Timeout:
        return None
    return marker.release


def free(path: Path) -> bool:
    """Whether a lock's file is one that nobody holds; it is removed then."""
    if (release := grip(path)) is None:
        return False
    release()
    return True


def busy(path: Path) -> bool:
    """Whether somebody holds a lock now; changes nothing."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return path.with_name(f"{path.name}{MARKER}").exists()
    try:
        return not locked(handle)
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
        return False
    finally:
        os.close(handle)
