"""Records on disk. A cell's folder holds its predictions; record.json is written last, and without it the cell
does not exist: whatever a killed run left is not a result.

    <store>/cells/<key>/<arm>.safetensors   y and predicted, per test item
    <store>/cells/<key>/illustration.safetensors    what its pictures need
    <store>/cells/<key>/record.json         the record, written last
    <store>/cells/<key>/*.png, *.pdf        pictures, drawn from the above; <store>/groups/<group>/: over seeds
    <store>/cells/<key>/sounds/*.wav        originals, poisons and what was added, of a cell whose samples are sounds
    <store>/cells/<key>/attempts/NN.json    what failed, and why; tried again
    <store>/poisons/<sha256>.safetensors    x, y, base and facts, by content
    <store>/superseded/<key>-NN/            a record whose code has changed since, kept
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from molebench.errors import MolebenchError, cannot_write
from molebench.record import ArmRecord, Record
from molebench.stages import Arrays, canonical, load_arrays, save_arrays
from molebench.types import Array
from molebench.workspace import sha256, writing

ILLUSTRATION = "illustration.safetensors"


@dataclass(frozen=True)
class Store:
    """The records below one folder."""

    folder: Path

    def cell(self, key: str) -> Path:
        """The folder of a cell."""
        return self.folder / "cells" / key

    def check(self) -> None:
        """Fails early and clearly where nothing could be written later."""
        probe = self.folder / "cells" / ".probe"
        with writing(probe) as temporary:
            temporary.write_text("", "utf-8")
        probe.unlink(missing_ok=True)

    def get(self, key: str) -> Record | None:
        """The record of a cell, or None where it has none; a damaged one is an error that names it."""
        path = self.cell(key) / "record.json"
        return read_record(path) if path.is_file() else None

    def save_predictions(self, key: str, arm: str, arrays: Arrays) -> tuple[str, str]:
        """Writes an arm's predictions; returns the file's name and sha256."""
        path = self.cell(key) / f"{arm}.safetensors"
        save_arrays(path, arrays)
        return path.name, sha256(path)

    def save_poison(self, digest: str, arrays: Arrays) -> None:
        """Keeps a poison by its content; one that is there already is the same."""
        path = self.folder / "poisons" / f"{digest}.safetensors"
        if load_arrays(path) is None:
            save_arrays(path, arrays)

    def save_illustration(self, key: str, arrays: Mapping[str, Array]) -> None:
        """Keeps what a cell's pictures need beside its record; no figure depends on it."""
        save_arrays(self.cell(key) / ILLUSTRATION, arrays)

    def commit(self, record: Record) -> Path:
        """Writes record.json: the moment at which a cell begins to exist."""
        path = self.cell(record.key) / "record.json"
        with writing(path) as temporary:
            temporary.write_text(record.text(), "utf-8")
        return path

    def failed(self, key: str, attempt: Mapping[str, Any]) -> Path:
        """Notes a failed attempt beside the others."""
        folder = self.cell(key) / "attempts"
        path = folder / f"{len(list(folder.glob('*.json'))) + 1:02d}.json"
        with writing(path) as temporary:
            temporary.write_text(canonical(attempt) + "\n", "utf-8")
        return path

    def supersede(self, key: str) -> Path:
        """Sets a record aside, whole, so that the cell can be run again with today's code."""
        folder = self.folder / "superseded"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            aside = folder / f"{key}-{len(list(folder.glob(f'{key}-*'))) + 1:02d}"
            return self.cell(key).rename(aside)
        except OSError as error:
            raise cannot_write(str(folder), error) from error

    def records(self) -> Iterator[Record]:
        """Every record, in order of key."""
        for path in sorted((self.folder / "cells").glob("*/record.json")):
            yield read_record(path)


def read_record(path: Path) -> Record:
    """A record that is whole and unchanged, or an error that names the file."""
    try:
        record = Record.model_validate(json.loads(path.read_text("utf-8")))
        digest = record.digest()
    except (OSError, ValueError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise MolebenchError(
            f"record {path.parent.name[:12]}/{path.name} is damaged ({first}); move it away"
        ) from error
    if digest != record.record_sha256:
        raise MolebenchError(
            f"record {path.parent.name[:12]}/{path.name} was changed after it was written; move it away"
        )
    return record


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
    return found[0]
