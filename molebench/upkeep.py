"""What of a store and of a cache may go, and taking it away.

Never a record, nor what one names; never what a process has in its hands: cells, stages and files that are being
written are locked (molebench/locks.py), and what has no lock is left alone until it is old.

What may go: files whose writer is dead; locks that nobody holds; what a killed run left of a cell that has no record;
poisons that no record names; where days are given, records set aside longer ago, and stages not used for longer; stages
that are damaged.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from molebench.errors import cannot_write
from molebench.locks import NO_FLOCK, busy, free, grasped, held, unlocked
from molebench.progress import Progress, silent
from molebench.stages import LOCK, load_arrays
from molebench.store import RECORD, Store, clear
from molebench.workspace import TEMPORARY

DAY, HOUR = 86_400.0, 3_600.0  # seconds
Kind = Literal["temporary", "lock", "unfinished", "poison", "aside", "stage"]


@dataclass(frozen=True)
class Garbage:
    """Something that may go. why: in words. size: bytes. lock: what must be held meanwhile; before: it must not have
    been touched since (time.time)."""

    kind: Kind
    path: Path
    why: str
    size: int
    lock: Path | None = None
    before: float | None = None


# Finding


def garbage(store: Store, keep_days: float | None = None) -> Iterator[Garbage]:
    """What may go from a store; records that were set aside only where it is said how many days they are kept."""
    for place in ("cells", "poisons", "groups"):
        yield from temporaries(store.root / place)
    yield from locks(store.root / "locks")
    for cell in sorted((store.root / "cells").glob("*")):
        if not (cell / RECORD).exists() and (left := unfinished(cell)):
            lock, why = store.lock(cell.name), "left by a run that never finished"
            yield Garbage("unfinished", cell, why, sum(map(size, left)), lock)
    yield from poisons(store)
    if keep_days is not None:
        before = time.time() - keep_days * DAY
        for path in sorted((store.root / "superseded").glob("*")):
            if path.stat().st_mtime < before:
                yield Garbage("aside", path, f"set aside more than {keep_days:g} days ago", size(path), before=before)


def cache_garbage(cache: Path, older_than: float | None = None, progress: Progress = silent) -> Iterator[Garbage]:
    """What may go from a cache: stages that are damaged or, where days are given, have not been used for longer."""
    yield from temporaries(cache)
    yield from locks(cache)
    before = None if older_than is None else time.time() - older_than * DAY
    stages = sorted((cache / "stages").glob("*/*.safetensors"))
    with progress("looking at stages", len(stages)) as advance:
        for path in stages:
            lock = path.with_suffix(LOCK)
            if before is not None and path.stat().st_mtime < before:
                why = f"not used for {older_than:g} days"
                yield Garbage("stage", path, why, size(path), lock, before)
            elif load_arrays(path) is None:
                yield Garbage("stage", path, "damaged", size(path), lock)
            advance(1)


def temporaries(folder: Path) -> Iterator[Garbage]:
    """Files that somebody began to write."""
    for path in sorted(folder.rglob(f".*{TEMPORARY}")):
        yield Garbage("temporary", path, "its writer is dead", size(path), path)


def locks(folder: Path) -> Iterator[Garbage]:
    """Locks' files."""
    for path in sorted(folder.rglob(f"*{LOCK}")):
        yield Garbage("lock", path, "nobody holds it", 0, path)


def unfinished(cell: Path) -> list[Path]:
    """What a cell's folder holds besides attempts; the folder where that is nothing at all."""
    inside = sorted(cell.glob("*"))
    return [path for path in inside if path.name != "attempts"] if inside else [cell]


def poisons(store: Store) -> Iterator[Garbage]:
    """Poisons that neither a record nor one that was set aside names; none where a record cannot be read."""
    named, before = set(), time.time() - HOUR  # a cell that runs now writes its poison, then the record that names it
    for place in ("cells", "superseded"):
        for path in sorted((store.root / place).glob(f"*/{RECORD}")):
            try:
                named.add(json.loads(path.read_bytes())["poison"]["sha256"])
            except (OSError, ValueError, KeyError, TypeError):
                return
    for path in sorted((store.root / "poisons").glob("*.safetensors")):
        if path.stem not in named and path.stat().st_mtime < before:
            yield Garbage("poison", path, "no record names it", size(path), store.lock(f"poison-{path.stem}"), before)


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    try:
        return sum(map(size, path.iterdir())) if path.is_dir() else path.stat().st_size
    except FileNotFoundError:
        return 0


# Removing


def removable(item: Garbage) -> bool:
    """Whether an item may go now: nobody holds it, and nobody has touched it."""
    return not (item.lock and busy(item.lock)) and still(item)


def removed(item: Garbage) -> bool:
    """Takes an item away; False where it may not go now."""
    try:
        if item.kind == "temporary":
            return cleared(item.path)
        if item.kind == "lock":
            return free(item.path)
        with held(item.lock, wait=False) if item.lock else nullcontext(True) as ours:
            if may := ours and still(item):
                take(item)
            return may
    except OSError as error:
        raise cannot_write(str(item.path.parent), error) from error


def still(item: Garbage) -> bool:
    """Whether an item is still what it was when it was found."""
    if item.kind == "unfinished":
        return not (item.path / RECORD).exists()
    return item.path.exists() and (item.before is None or item.path.stat().st_mtime < item.before)


def take(item: Garbage) -> None:
    """Removes an item that nobody else can be at now."""
    if item.kind == "unfinished":
        clear(item.path)
    elif item.path.is_dir():
        shutil.rmtree(item.path)
    else:
        item.path.unlink(missing_ok=True)


def cleared(path: Path) -> bool:
    """Removes a file whose writer is gone: its lock is free or, where there are no such locks, it is a day old."""
    try:
        handle = grasped(path)
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
        old = path.stat().st_mtime < time.time() - DAY
        if old:
            path.unlink()
        return old
    if handle is None:
        return False
    path.unlink(missing_ok=True)
    unlocked(handle)
    return True


def tidied(store: Store) -> list[Path]:
    """Removes what killed processes left outside of cells' folders: locks, and poisons half-written; what went."""
    found = [*temporaries(store.root / "poisons"), *locks(store.root / "locks")]
    return [item.path for item in found if removed(item)]
