"""The board of a store that changes: built anew whenever its records do, the last whole one being shown meanwhile.

What is watched are names, sizes and times of the files that records and failed attempts are in. Each build gets a
folder of its own, so that no half-built site is ever seen.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from molebench.attesting import FILE
from molebench.errors import MolebenchError, cannot_write
from molebench.leaderboard.build import build
from molebench.stages import key
from molebench.store import RECORD

Seen = tuple[str, int, int]


@dataclass(frozen=True)
class Built:
    """A whole site. version: of the files that it was built from."""

    folder: Path
    version: str
    records: int


@dataclass
class Live:
    """The site of a store as it was built last. home: where builds are put, emptied by whoever made it."""

    store: Path
    home: Path
    built: Built = field(init=False)
    tried: str = field(init=False)
    builds: int = 0

    def __post_init__(self) -> None:
        """The first build; a store that has no board is an error."""
        self.tried = version(self.store)
        self.built = self.made(self.tried)

    def follow(self) -> bool:
        """Builds again where the store has changed since the last try; whether it did."""
        now = version(self.store)
        if now == self.tried:
            return False
        self.tried = now  # before the build: what changes during it is built next time
        last, self.built = self.built, self.made(now)
        for old in self.home.iterdir():
            if old not in (last.folder, self.built.folder):  # a page of the last one may be on its way to a browser
                shutil.rmtree(old, ignore_errors=True)
        return True

    def made(self, version: str) -> Built:
        """A new build."""
        self.builds += 1
        folder = self.home / str(self.builds)
        try:
            return Built(folder, version, build(self.store, folder, own=True))
        except OSError as error:  # a file that went away while it was being read
            raise MolebenchError(f"cannot read {self.store}: {error.strerror or error}") from error


def version(store: Path) -> str:
    """Another one whenever a record, an attempt or what is said of records comes, goes or changes."""
    return key(sorted([*facts(store, store / FILE), *(each for cell in cells(store) for each in watched(store, cell))]))


def cells(store: Path) -> list[Path]:
    """The folders of all cells; none where there is no store yet."""
    try:
        with os.scandir(store / "cells") as found:
            return [Path(entry.path) for entry in found]
    except OSError:
        return []


def watched(store: Path, cell: Path) -> Iterator[Seen]:
    """What is seen of a cell: its record, and the folder of its attempts, which changes with each of them."""
    for name in (RECORD, "attempts"):
        yield from facts(store, cell / name)


def facts(store: Path, path: Path) -> list[Seen]:
    """Name, size and time of a file, where it is there."""
    try:
        found = path.stat()
    except OSError:
        return []
    return [(path.relative_to(store).as_posix(), found.st_size, found.st_mtime_ns)]


@contextmanager
def home(cache: Path) -> Iterator[Path]:
    """A folder below the cache for as long as the block runs."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        folder = TemporaryDirectory(dir=cache, prefix="board-")
    except OSError as error:
        raise cannot_write(str(cache), error) from error
    with folder as path:
        yield Path(path)
