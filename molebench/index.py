"""What is in a store, without reading it all again: a table of its records, kept in the cache folder.

The table is derived. Opening the index looks at every <store>/cells/*/record.json and reads those that are new or
changed since (by time, size and file number). Where the table is missing, damaged or of another version it is made
again; where it cannot be written it lives in memory. Two processes may refresh it at once: both write the same rows.

    <cache>/index/<sha256 of the store's path>[:16].sqlite
"""

import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from molebench.errors import MolebenchError
from molebench.progress import Progress, silent
from molebench.record import Record
from molebench.stages import canonical
from molebench.store import RECORD, Store, read_record

VERSION = 1  # of the table; raise it where a column changes or a record is read otherwise
PATIENCE = 10.0  # seconds to wait for another process that writes
BATCH = 500  # records between two commits: what a killed refresh loses


class Entry(NamedTuple):  # quicker to make than a dataclass, and there are many
    """A record in short. seconds: the sum of its durations. code: 'kind name' to code_sha256 of each component."""

    key: str
    group: str
    status: str
    scenario: str
    attack: str
    victim: str
    dataset: str
    defenses: tuple[str, ...]
    profile: str
    seed: int
    started: str
    seconds: float
    code: Mapping[str, str]


COLUMNS = ", ".join(f'"{name}"' for name in (*Entry._fields, "stamp", "fault"))
TABLE = f"CREATE TABLE IF NOT EXISTS records ({COLUMNS}, PRIMARY KEY (key)) WITHOUT ROWID"
PUT = f"INSERT OR REPLACE INTO records ({COLUMNS}) VALUES ({', '.join('?' * (len(Entry._fields) + 2))})"  # noqa: S608 (names only)
Row = tuple[str | int | float | None, ...]


@dataclass(frozen=True)
class Index:
    """A store as it was when the index was opened. entries: by key. damaged: key to what is wrong, one line.

    without_record: cells that have a folder and no record: being run, failed, or left by a killed run.
    """

    store: Store
    entries: Mapping[str, Entry]
    damaged: Mapping[str, str]
    without_record: frozenset[str]

    @classmethod
    def of(cls, store: Store, cache: Path, progress: Progress = silent, rebuild: bool = False) -> "Index":
        """The index of a store, refreshed. rebuild: every record is read again."""
        path = place(store, cache)
        try:
            if rebuild:
                path.unlink(missing_ok=True)
            return kept(path, store, progress)
        except (sqlite3.Error, OSError):
            return refreshed(":memory:", store, progress)  # read-only, full, or somebody else's for too long

    @property
    def failed(self) -> frozenset[str]:
        """Cells without a record that have failed, as of now."""
        return frozenset(key for key in self.without_record if self.attempts(key))

    def attempts(self, key: str) -> int:
        """How often a cell has failed, as of now."""
        return len(self.store.attempts(key))


def place(store: Store, cache: Path) -> Path:
    """Where the table of a store is."""
    return cache / "index" / f"{hashlib.sha256(str(store.folder.resolve()).encode()).hexdigest()[:16]}.sqlite"


def stamps(store: Store) -> tuple[dict[str, str], frozenset[str]]:
    """By key, what changes when a record does; and the cells without one."""
    found, without = dict[str, str](), set[str]()
    try:
        cells = os.scandir(store.root / "cells")
    except (FileNotFoundError, NotADirectoryError):
        return found, frozenset()
    with cells:
        for cell in cells:
            try:
                seen = os.stat(f"{cell.path}/{RECORD}")  # noqa: PTH116 (of 100 000, Path takes a second)
                found[cell.name] = f"{seen.st_mtime_ns} {seen.st_size} {seen.st_ino}"
            except (FileNotFoundError, NotADirectoryError):
                if cell.is_dir():
                    without.add(cell.name)
    return found, frozenset(without)


# The table


def kept(path: Path, store: Store, progress: Progress) -> Index:
    """The index from the table in the cache; one that is no table is made again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return refreshed(str(path), store, progress)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        path.unlink(missing_ok=True)
        return refreshed(str(path), store, progress)


def refreshed(path: str, store: Store, progress: Progress) -> Index:
    """The index from a table that is brought up to date."""
    with closing(sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)) as table:
        make(table)
        without = renewed(table, store, progress)
        whole = table.execute(f"SELECT {COLUMNS} FROM records WHERE fault IS NULL ORDER BY key")  # noqa: S608
        entries = {entry.key: entry for entry in map(entry_of, whole)}
        damaged = dict(table.execute("SELECT key, fault FROM records WHERE fault IS NOT NULL ORDER BY key"))
        return Index(store, entries, damaged, without)


def renewed(table: sqlite3.Connection, store: Store, progress: Progress) -> frozenset[str]:
    """Makes a table's rows those of the store; the cells without a record."""
    found, without = stamps(store)
    changed, gone = dict(found), []
    for key, stamp, sound in table.execute("SELECT key, stamp, fault IS NULL FROM records"):
        if key not in found:
            gone.append((key, stamp))
        elif found[key] == stamp and sound:
            del changed[key]
    if changed:
        keys = list(changed)
        with progress("reading records", len(keys)) as advance:
            for start in range(0, len(keys), BATCH):
                rows = [row_of(store, key, changed[key]) for key in keys[start : start + BATCH]]
                change(table, PUT, rows)
                advance(len(rows))
    # another process may have met one that was made since we looked, or made again
    if gone := [each for each in gone if not store.has(each[0])]:
        change(table, "DELETE FROM records WHERE key = ? AND stamp = ?", gone)
    return without


def make(table: sqlite3.Connection) -> None:
    """Makes the table where it is missing or of another version."""
    if version(table) == VERSION:
        return
    table.execute("BEGIN IMMEDIATE")
    if version(table) != VERSION:  # no other process has been faster
        table.execute("DROP TABLE IF EXISTS records")
        table.execute(TABLE)
        table.execute(f"PRAGMA user_version = {VERSION}")
    table.execute("COMMIT")


def version(table: sqlite3.Connection) -> int:
    """The version of a table; 0 of a new file."""
    return int(table.execute("PRAGMA user_version").fetchone()[0])


def change(table: sqlite3.Connection, statement: str, rows: Sequence[Row]) -> None:
    """Changes rows in one transaction."""
    table.execute("BEGIN IMMEDIATE")
    table.executemany(statement, rows)
    table.execute("COMMIT")


# Rows


def row_of(store: Store, key: str, stamp: str) -> Row:
    """What the table holds of a record: what it says in short, or what is wrong with it."""
    try:
        entry = in_short(read_record(store.cell(key) / RECORD), key)
    except MolebenchError as error:
        return (key, *([None] * (len(Entry._fields) - 1)), stamp, str(error))
    texts = {"defenses": json.dumps(entry.defenses), "code": canonical(dict(entry.code))}
    return (*(texts.get(name, getattr(entry, name)) for name in Entry._fields), stamp, None)


def in_short(record: Record, key: str) -> Entry:
    """A record's entry; one that lies in another cell's folder, or whose cell lacks a name, is at fault."""
    if record.key != key:
        raise MolebenchError(f"record {key[:12]}/{RECORD} is that of cell {record.key[:12]}; move it away")
    cell = record.cell
    try:
        return Entry(
            key=key,
            group=record.group,
            status=record.status,
            scenario=record.scenario,
            attack=str(cell["attack"]["name"]),
            victim=str(cell["victim"]["name"]),
            dataset=str(cell["dataset"]["name"]),
            defenses=tuple(str(defense["name"]) for defense in cell["defenses"]),
            profile=str(cell["profile"]),
            seed=int(cell["seed"]),
            started=record.started,
            seconds=float(sum(record.durations.values())),
            code={f"{c.kind} {c.name}": c.code_sha256 for c in record.components},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MolebenchError(f"record {key[:12]}/{RECORD}: its cell lacks {error}; move it away") from error


def entry_of(row: Sequence[Any]) -> Entry:
    """A row's entry; what many records share is one object, so that 100 000 entries stay small."""
    key, *shared, defenses, profile, seed, started, seconds, code, _, _ = row
    texts = map(sys.intern, shared)
    return Entry._make([key, *texts, names(defenses), sys.intern(profile), seed, started, seconds, codes(code)])


@lru_cache(4096)
def names(text: str) -> tuple[str, ...]:
    """The defenses in a column."""
    return tuple(json.loads(text))


@lru_cache(4096)
def codes(text: str) -> Mapping[str, str]:
    """The digests in a column."""
    return MappingProxyType(json.loads(text))
