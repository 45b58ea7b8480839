"""Whether all that a store's records name is there, whole and unchanged. Everything is read, nothing is changed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from molebench import metrics
from molebench.errors import MolebenchError
from molebench.progress import Progress, silent
from molebench.record import ArmRecord, Record
from molebench.stages import Arrays, key, load_arrays
from molebench.store import ILLUSTRATION, RECORD, Store, read_record
from molebench.types import Array, fingerprint
from molebench.workspace import sha256

PICTURES = (".png", ".pdf")


@dataclass(frozen=True)
class Fault:
    """Something that does not hold. where: of which cell."""

    where: str
    says: str


def verified(store: Store, progress: Progress = silent) -> Iterator[Fault]:
    """What does not hold in a store, cell after cell."""
    cells = sorted((store.root / "cells").glob(f"*/{RECORD}"))
    poisons = store.root / "poisons"
    with progress("verifying", len(cells)) as advance:
        for path in cells:
            said = faults(path, poisons if poisons.is_dir() else None)  # a published store may go without
            yield from (Fault(path.parent.name[:12], one) for one in said)
            advance(1)


def faults(path: Path, poisons: Path | None) -> Iterator[str]:
    """What does not hold of a record and of the files that it names."""
    try:
        record = read_record(path)
    except MolebenchError as error:
        yield str(error)
        return
    if not path.parent.name == record.key == key(record.cell):
        yield "its key is not that of its cell"
    yield from arm_faults(path.parent, record)
    yield from (f"{name}: no record names it" for name in strangers(path.parent, record))
    if (path.parent / ILLUSTRATION).is_file() and load_arrays(path.parent / ILLUSTRATION) is None:
        yield f"{ILLUSTRATION} is damaged; remove it"
    if poisons and not is_poison(poisons / f"{record.poison.sha256}.safetensors", record.poison.sha256):
        yield f"its poison {record.poison.sha256[:12]} is missing or damaged"


def arm_faults(folder: Path, record: Record) -> Iterator[str]:
    """What does not hold of predictions: files that are not those that are named, counts that are not theirs."""
    read: dict[str, Arrays | None] = {}
    for name, row, arm in arms(record):
        file = arm.predictions
        if file not in read:
            read[file] = predictions(folder / file, arm.predictions_sha256)
            if read[file] is None:
                yield f"{file} is missing or changed"
        if (found := read[file]) is not None:
            predicted = found["predicted"] if row is None else found["predicted"][row]
            if not counted(arm, found["y"], predicted):
                yield f"the counts of {name} are not those of {file}"


def arms(record: Record) -> Iterator[tuple[str, int | None, ArmRecord]]:
    """Every arm of a record by name; of an update's also its row in the file that the updates share."""
    yield from ((name, None, arm) for name, arm in record.arms.items())
    for i, update in enumerate(record.updates):
        yield from ((f"update {i}, {name}", i, arm) for name, arm in update.arms.items())


def predictions(path: Path, digest: str) -> Arrays | None:
    """A file's arrays, where it is the one that a record names."""
    if not path.is_file() or sha256(path) != digest:
        return None
    found = load_arrays(path)
    return found[0] if found else None


def counted(arm: ArmRecord, y: Array, predicted: Array) -> bool:
    """Whether an arm's counts are those of its predictions."""
    table = metrics.confusion(y.astype(np.int64), predicted.astype(np.int64), len(arm.n))
    whole = not arm.confusion or table.tolist() == arm.confusion
    return whole and table.sum(axis=1).tolist() == arm.n and table.diagonal().tolist() == arm.correct


def is_poison(path: Path, digest: str) -> bool:
    """Whether a poison's file is whole and, where it holds all that its name is over, the one of that name."""
    found = load_arrays(path)
    if found is None:
        return False
    held = [found[0].get(name) for name in ("x", "y", "base")]
    return any(array is None for array in held) or fingerprint(*(a for a in held if a is not None)) == digest


def strangers(folder: Path, record: Record) -> list[str]:
    """Files of a cell that its record does not name, and that neither pictures nor attempts are."""
    named = {RECORD, ILLUSTRATION, *(arm.predictions for _, _, arm in arms(record))}
    files = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return sorted(path.name for path in files if path.name not in named and path.suffix not in PICTURES)
