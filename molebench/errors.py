"""What a user can do wrong, said in one line: who, what came, what is allowed, what to try."""

import difflib
import errno
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class MolebenchError(Exception):
    """A mistake of the user or of the machine, never of this program: one line, exit code 2."""

    exit_code = 2


class CellFailed(MolebenchError):
    """A cell could not be finished; the message says why."""

    exit_code = 3


class Busy(MolebenchError):
    """Another process is at this very cell."""


def listed(names: Iterable[str], most: int = 8) -> str:
    """The first names, comma separated, and how many more there are."""
    names = list(names)
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def first_line(error: object) -> str:
    """What a library's error begins with, at most 160 characters."""
    return (str(error).splitlines() or ["no reason given"])[0][:160]


def how_ended(code: int) -> str:
    """The end of a process in words, from its exit code."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def unknown(what: str, name: str, choices: Iterable[str]) -> MolebenchError:
    """No such name; the nearest one, and what there is."""
    choices = sorted(choices)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "; there is:"
    return MolebenchError(f"no {what} named {name!r}{hint} ({listed(choices, 20)})")


DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would exceed the size limit",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "no permission to write there",
    errno.EPERM: "no permission to write there",
    errno.ENOTDIR: "a part of that path is a file, not a folder",
}


def cannot_write(folder: str, error: OSError) -> MolebenchError:
    """Why a folder of ours cannot be written, and where else to point it."""
    why = DISK.get(error.errno or 0, error.strerror or str(error))
    return MolebenchError(
        f"cannot write below {folder}: {why}; nothing half-written was left; free some space there, or point "
        "MOLEBENCH_STORE and MOLEBENCH_CACHE (or --store) at another folder, and run the same command again"
    )


@contextmanager
def blamed(who: str) -> Iterator[None]:
    """Someone else's code: what it raises is the cell's failure, by name. Clear lines and a full disk pass."""
    try:
        yield
    except (MolebenchError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, OSError) and error.errno in DISK:
            raise
        raise CellFailed(f"{who} raised {type(error).__name__}: {error}") from error
