"""Records on disk. A cell's folder holds its predictions; record.json is written last, and without it the cell
does not exist: whatever a killed run left is not a result.

    <store>/store.json                      the schema of all this; a store without it is of version 1
    <store>/cells/<key>/<arm>.safetensors   y and predicted, per test item
    <store>/cells/<key>/illustration.safetensors    what its pictures need
    <store>/cells/<key>/record.json         the record, written last
    <store>/cells/<key>/*.png, *.pdf        pictures, drawn from the above; <store>/groups/<group>/: over seeds
    <store>/cells/<key>/sounds/*.wav        originals, poisons and what was added, of a cell whose samples are sounds
    <store>/cells/<key>/attempts/NN.json    what failed, and why; tried again
    <store>/poisons/<sha256>.safetensors    x, y, base and facts, by content
    <store>/locks/<key>.lock                there while a process runs the cell (molebench/locks.py)
    <store>/superseded/<key>-NN/            a record whose code has changed since, kept; <key>-NN-damaged: a broken one
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from molebench import migrations
from molebench.errors import MolebenchError, cannot_write, first_line
from molebench.locks import held
from molebench.progress import say
from molebench.record import ArmRecord, Damaged, Record, parsed
from molebench.stages import LOCK, Arrays, canonical, load_arrays, save_arrays
from molebench.types import Array
from molebench.workspace import settled, sha256, writing

SCHEMA: Final = "molebench.store/1"
STORE, RECORD, ILLUSTRATION = "store.json", "record.json", "illustration.safetensors"


@dataclass(frozen=True)
class Attempt:
    """A run of a cell that failed. type: the error's; started, seconds: None where they were not noted."""

    number: int
    type: str
    message: str
    started: str | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Store:
    """The records below one folder."""

    folder: Path

    @cached_property
    def root(self) -> Path:
        """The folder; a store that a newer molebench wrote is refused, and nothing in it touched."""
        path = self.folder / STORE
        try:
            schema = json.loads(path.read_text("utf-8"))["schema"]
            migrations.check(f"the store {self.folder}", schema, SCHEMA)
        except (FileNotFoundError, NotADirectoryError):
            pass  # of version 1, or not there yet
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MolebenchError(
                f"{path} is damaged ({first_line(error)}); where no newer molebench has written there, remove that file"
            ) from error
        return self.folder

    # Cells

    def cell(self, key: str) -> Path:
        """The folder of a cell."""
        return self.root / "cells" / key

    def lock(self, key: str) -> Path:
        """What a process holds while it runs a cell."""
        return self.root / "locks" / f"{key}{LOCK}"

    def locked(self, key: str, wait: bool = True) -> AbstractContextManager[bool]:
        """Holds a cell while the block runs; without `wait`, False at once where another process is at it."""
        return held(self.lock(key), wait, partial(say, f"another process is at cell {key[:12]}; waiting for it"))

    def check(self) -> None:
        """Fails early and clearly where nothing could be written later."""
        probe = self.root / "cells" / ".probe"
        with writing(probe) as temporary:
            temporary.write_text("", "utf-8")
        probe.unlink(missing_ok=True)

    # Reading

    def has(self, key: str) -> bool:
        """Whether a cell has a record, be it damaged."""
        return (self.cell(key) / RECORD).is_file()

    def get(self, key: str) -> Record | None:
        """The record of a cell, or None where it has none; a damaged one is an error that names it."""
        return read_record(self.cell(key) / RECORD) if self.has(key) else None

    def sound(self, key: str) -> Record | None:
        """The same for who holds the cell: a damaged record is named, set aside, and counts as not there."""
        try:
            return self.get(key)
        except Damaged as error:
            aside = self.supersede(key, "damaged")
            say(f"{error.fault}: set aside as superseded/{aside.name[:12]}...{aside.name[len(key) :]}")
            return None

    def records(self) -> Iterator[Record]:
        """Every record, in order of key; a damaged one is an error, since what leaves it out would look whole."""
        for path in sorted((self.root / "cells").glob(f"*/{RECORD}")):
            yield read_record(path)

    def attempts(self, key: str) -> list[Attempt]:
        """What failed at a cell, in order; a cell that has a record keeps what failed before."""
        files = (self.cell(key) / "attempts").glob("*.json")
        return [read_attempt(path) for path in sorted(files, key=number)]

    # Writing: data first

    def save_predictions(self, key: str, arm: str, arrays: Arrays) -> tuple[str, str]:
        """Writes an arm's predictions, in as few bytes as classes need; returns the file's name and sha256."""
        path = self.cell(key) / f"{arm}.safetensors"
        save_arrays(path, {name: smallest(values) for name, values in arrays.items()})
        return path.name, sha256(path)

    def save_poison(self, digest: str, arrays: Arrays) -> None:
        """Keeps a poison by its content; one that is there already is the same."""
        path = self.root / "poisons" / f"{digest}.safetensors"
        with held(self.lock(f"poison-{digest}")):
            if load_arrays(path) is None:
                save_arrays(path, arrays)
                settled(path.parent)
            else:
                os.utime(path)  # a record is about to name it: not the moment to remove it as nobody's

    def save_illustration(self, key: str, arrays: Mapping[str, Array]) -> None:
        """Keeps what a cell's pictures need beside its record; no figure depends on it."""
        save_arrays(self.cell(key) / ILLUSTRATION, arrays, durable=False)

    def commit(self, record: Record) -> Path:
        """Writes record.json: the moment at which a cell begins to exist. All else is on the disk before it."""
        folder = self.cell(record.key)
        self.stamp()
        with writing(folder / RECORD) as temporary:
            temporary.write_text(record.text(), "utf-8")
            settled(folder)
        settled(folder)
        return folder / RECORD

    def stamp(self) -> None:
        """Says which version of this layout the store has, once."""
        if not (path := self.root / STORE).exists():
            with writing(path) as temporary:
                temporary.write_text(canonical({"schema": SCHEMA}) + "\n", "utf-8")

    def adopt(self, key: str, files: Mapping[str, bytes]) -> bool:
        """Takes over what was run elsewhere: the files of a store with this one cell, by their path in it.

        False where there is no record among them, or the cell has one of the same code, which stays.
        """
        record = f"cells/{key}/{RECORD}"
        if record not in files:
            return False
        new = parsed(f"record {key[:12]}/{RECORD}", files[record])
        with self.locked(key):
            if (known := self.sound(key)) and known.components == new.components:
                return False
            self.make_way(key)
            for name in sorted(files):
                if name != record and adoptable(name, key):
                    with writing(self.root / name) as temporary:
                        temporary.write_bytes(files[name])
            self.commit(new)
        return True

    def failed(self, key: str, attempt: Mapping[str, Any]) -> Path:
        """Notes a failed attempt beside the others."""
        folder = self.cell(key) / "attempts"
        with held(self.lock(f"{key}.attempts")):
            last = max((number(path) for path in folder.glob("*.json")), default=0)
            path = folder / f"{last + 1:02d}.json"
            with writing(path) as temporary:
                temporary.write_text(canonical(attempt) + "\n", "utf-8")
        return path

    # Making way

    def supersede(self, key: str, why: str = "") -> Path:
        """Sets a record aside, whole, so that the cell can be run again; why: a word that the folder's name ends in."""
        folder = self.root / "superseded"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            last = max((number(path, key) for path in folder.glob(f"{key}-*")), default=0)
            aside = self.cell(key).rename(folder / "-".join([key, f"{last + 1:02d}", *([why] if why else [])]))
            os.utime(aside)  # when it was set aside
        except OSError as error:
            raise cannot_write(str(folder), error) from error
        return aside

    def make_way(self, key: str) -> None:
        """Empties a cell's folder for a new record: an old record is set aside, what a killed run left is removed."""
        if self.has(key):
            self.supersede(key)
        else:
            clear(self.cell(key))


def clear(folder: Path) -> None:
    """Removes what is in a cell's folder but its attempts, and the folder where it is empty then."""
    for path in sorted(folder.glob("*")):
        if path.is_dir() and path.name != "attempts":
            shutil.rmtree(path)
        elif not path.is_dir():
            path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def number(path: Path, before: str = "") -> int:
    """The number in the name of an attempt, or of what was set aside of the cell `before`; 0 where there is none."""
    digits = path.stem.removeprefix(f"{before}-").partition("-")[0]
    return int(digits) if digits.isdecimal() else 0


def adoptable(name: str, key: str) -> bool:
    """Whether a file of another store is of this cell, or a poison."""
    parts = PurePosixPath(name).parts
    return ".." not in parts and (parts[:2] == ("cells", key) or (parts[0] == "poisons" and len(parts) == 2))


def read_record(path: Path) -> Record:
    """A record that is whole and unchanged, or an error that names the file."""
    what = f"record {path.parent.name[:12]}/{path.name}"
    try:
        return parsed(what, path.read_bytes())
    except OSError as error:
        raise MolebenchError(f"{what} cannot be read: {first_line(error)}") from error


def read_attempt(path: Path) -> Attempt:
    """What a file in attempts/ says."""
    try:
        said = json.loads(path.read_text("utf-8"))
        return Attempt(number(path), said["type"], said["message"], said.get("started"), said.get("seconds"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Attempt(number(path), "unreadable", f"{path.name} cannot be read")


def load_records(path: str | Path) -> list[Record]:
    """Every record below a store folder."""
    return list(Store(Path(path)).records())


def load_illustration(folder: Path) -> Arrays:
    """What a cell's pictures need; nothing where the file is missing, older or damaged."""
    found = load_arrays(folder / ILLUSTRATION)
    return found[0] if found else {}


def load_predictions(folder: Path, arm: ArmRecord) -> Arrays:
    """An arm's y and predicted, once the file is what the record says it is."""
    path = folder / arm.predictions
    found = load_arrays(path)
    if found is None or sha256(path) != arm.predictions_sha256:
        raise MolebenchError(f"predictions {path.name} of cell {folder.name[:12]} are missing or changed")
    return {name: values.astype(np.int64) for name, values in found[0].items()}


def smallest(labels: Array) -> Array:
    """The same whole numbers in the smallest type that holds them."""
    return labels.astype(np.min_scalar_type(int(labels.max()))) if labels.size and labels.min() >= 0 else labels
