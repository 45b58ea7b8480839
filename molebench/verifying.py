"""Whether all that a store's records name is there, whole and unchanged. Everything is read, nothing is changed."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from molebench import metrics, recomputed
from molebench.errors import MolebenchError
from molebench.progress import Progress, silent
from molebench.record import ArmRecord, Record
from molebench.stages import Arrays, key, load_arrays
from molebench.store import ILLUSTRATION, RECORD, Store, read_record
from molebench.types import Array, fingerprint

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
    counts = list(arm_faults(record, lambda arm: predictions(path.parent, arm)))
    yield from counts or recomputed.wrong(record)
    yield from (f"{name}: no record names it" for name in strangers(path.parent, record))
    if (path.parent / ILLUSTRATION).is_file() and load_arrays(path.parent / ILLUSTRATION) is None:
        yield f"{ILLUSTRATION} is damaged; remove it"
    if poisons and not is_poison(poisons / f"{record.poison.sha256}.safetensors", record.poison.sha256):
        yield f"its poison {record.poison.sha256[:12]} is missing or damaged"


def arm_faults(record: Record, read: Callable[[ArmRecord], Arrays | None]) -> Iterator[str]:
    """What does not hold of predictions: files that are not those that are named, counts that are not theirs."""
    files: dict[tuple[str, str], Arrays | None] = {}
    for name, row, arm in arms(record):
        if len(arm.n) != len(record.data.classes):
            yield f"{name[:80]} counts {len(arm.n)} classes, and there are {len(record.data.classes)}"
        file = arm.predictions, arm.predictions_sha256
        if file not in files:
            files[file] = read(arm)
            if files[file] is None:
                yield f"{file[0][:80]} is missing or changed"
        if (found := files[file]) is not None:
            predicted = found["predicted"] if row is None else found["predicted"][row]
            if not counted(arm, found["y"], predicted):
                yield f"the counts of {name[:80]} are not those of {file[0][:80]}"


def arms(record: Record) -> Iterator[tuple[str, int | None, ArmRecord]]:
    """Every arm of a record by name; of an update's also its row in the file that the updates share."""
    yield from ((name, None, arm) for name, arm in record.arms.items())
    for i, update in enumerate(record.updates):
        yield from ((f"update {i}, {name}", i, arm) for name, arm in update.arms.items())


def predictions(folder: Path, arm: ArmRecord) -> Arrays | None:
    """An arm's y and predicted, where its file is the one that the record names and lies in the record's folder."""
    path = folder / arm.predictions
    try:
        data = path.read_bytes() if path.parent == folder and path.is_file() else b""
        found = load(data) if hashlib.sha256(data).hexdigest() == arm.predictions_sha256 else {}
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):  # too long a name; no arrays, or of odd types
        return None
    if not {"y", "predicted"} <= found.keys():
        return None
    return {name: each.astype(np.int64) if each.dtype.kind in "iu" else each for name, each in found.items()}


def counted(arm: ArmRecord, y: Array, predicted: Array) -> bool:
    """Whether an arm's counts are those of its predictions, which are classes."""
    k = len(arm.n)
    if y.ndim != 1 or y.shape != predicted.shape or not all(is_class(labels, k) for labels in (y, predicted)):
        return False
    right = np.bincount(y[predicted == y], minlength=k)
    counts = np.bincount(y, minlength=k).tolist() == arm.n and right.tolist() == arm.correct
    square = [len(row) for row in arm.confusion] == [k] * k  # the file holds as many numbers as the table will
    return counts and (not arm.confusion or (square and metrics.confusion(y, predicted, k).tolist() == arm.confusion))


def is_class(labels: Array, k: int) -> bool:
    """Whether labels are whole numbers of 0..k-1."""
    return labels.dtype.kind == "i" and len(labels) > 0 and bool(((labels >= 0) & (labels < k)).all())


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
