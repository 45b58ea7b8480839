"""The records of a store on their way to a board: read, checked, and scored item by item.

A record is refused, by name, where it is not what its seal, key and predictions say: above all where a metric does not
follow from its predictions. One bad record stops the board, since a board without it would say that all is well.

Checking is most of the work of a build, so several processes share it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from molebench.attesting import attestations
from molebench.contributions import Contributions, contributions
from molebench.errors import MolebenchError, first_line
from molebench.leaderboard.entered import beside, claimed, forms
from molebench.leaderboard.many import across
from molebench.leaderboard.rows import consistent
from molebench.progress import Progress, silent
from molebench.recomputed import wrong
from molebench.record import ArmRecord, Record
from molebench.stages import Arrays
from molebench.store import RECORD, read_record
from molebench.submission.form import Form
from molebench.verifying import arm_faults, predictions

ALONE = 200  # records up to which starting other processes takes longer than it saves
CHUNK = 32
FEW = 3  # records that an error names
ALIKE = ("components", "data", "weights", "environment", "code", "threat_model")  # of most records of a store
MISPLACED = "stands under a key, group or seed that is not its cell's; move it away"


@dataclass(frozen=True, eq=False)
class Loaded:
    """A store's records in order of their keys; by key, their folders, what their test items contribute, how far
    somebody else has checked them, where somebody has, and why they count no more, where they do not.

    forms: of what has been submitted, by slug.
    """

    records: list[Record] = field(default_factory=list)
    folders: dict[str, Path] = field(default_factory=dict)
    contributions: dict[str, Contributions] = field(default_factory=dict)
    tiers: dict[str, str] = field(default_factory=dict)
    invalid: dict[str, str] = field(default_factory=dict)
    forms: Mapping[str, Form] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Checked:
    """One record, or why it is refused."""

    folder: Path
    record: Record | None
    contributions: Contributions | None
    fault: str


def load(store: Path, progress: Progress = silent) -> Loaded:
    """Every record of a store and of the submissions beside it; MolebenchError naming each that does not hold (the
    first few)."""
    paths, entries = sorted((store / "cells").glob(f"*/{RECORD}")), beside(store)
    paths = sorted(paths + claimed(entries, (path.parent.name for path in paths)), key=lambda path: path.parent.name)
    with progress("checking records", len(paths)) as advance:
        found = []
        for some in across(checked, [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)], ALONE // CHUNK):
            found += some
            advance(len(some))
    refuse(found)
    said = attestations(store)
    whole = [(one.folder, one.record, one.contributions) for one in found if one.record]
    return Loaded(
        records=[record for _, record, _ in whole],
        folders={record.key: folder for folder, record, _ in whole},
        contributions={record.key: each for _, record, each in whole if each},
        tiers={r.key: said[r.record_sha256].tier for _, r, _ in whole if r.record_sha256 in said},
        invalid={r.key: s.invalid for _, r, _ in whole if (s := said.get(r.record_sha256)) and s.invalid},
        forms=forms(entries),
    )


def checked(paths: Sequence[Path]) -> list[Checked]:
    """Some records, light enough for thousands of them."""
    known: dict[str, Any] = {}
    found = [check(path) for path in paths]
    return [replace(one, record=light(one.record, known)) if one.record else one for one in found]


def light(record: Record, known: dict[str, Any]) -> Record:
    """The same for all that pages show: without confusions, and what is alike in several records is in memory once."""
    alike = {name: known.setdefault(repr(value := getattr(record, name)), value) for name in ALIKE}
    updates = [update.model_copy(update={"arms": counted(update.arms)}) for update in record.updates]
    return record.model_copy(update={**alike, "arms": counted(record.arms), "updates": updates})


def counted(arms: Mapping[str, ArmRecord]) -> dict[str, ArmRecord]:
    """Arms without what was taken for what."""
    return {name: arm.model_copy(update={"confusion": []}) for name, arm in arms.items()}


def check(path: Path) -> Checked:
    """One record."""
    folder = path.parent
    try:
        record = read_record(path)
    except MolebenchError as error:
        return Checked(folder, None, None, str(error))
    if folder.name != record.key or not consistent(record):
        return Checked(folder, None, None, f"record {folder.name[:12]!r} {MISPLACED}")
    files = Files(folder)
    try:
        faults = [*arm_faults(record, files.read)] or [*wrong(record)]
        found = None if faults else contributions(record, files.read_whole)
    except (KeyError, ValueError, IndexError, TypeError) as error:  # arms, classes or pairs that name what is not there
        faults, found = [f"its parts do not fit together ({type(error).__name__}: {first_line(error)})"], None
    return Checked(folder, record, found, f"record {record.key[:12]}: {'; '.join(faults[:3])}" if faults else "")


@dataclass(frozen=True, eq=False)
class Files:
    """A cell's files of predictions, each read once."""

    folder: Path
    known: dict[tuple[str, str], Arrays | None] = field(default_factory=dict)

    def read(self, arm: ArmRecord) -> Arrays | None:
        """None where the file is not what the record names."""
        name = arm.predictions, arm.predictions_sha256
        if name not in self.known:
            self.known[name] = predictions(self.folder, arm)
        return self.known[name]

    def read_whole(self, arm: ArmRecord) -> Arrays:
        """The same of files that are known to be whole."""
        return self.read(arm) or {}


def refuse(found: Iterable[Checked]) -> None:
    """One line for all that is wrong."""
    faults = [one.fault for one in found if one.fault]
    if faults:
        more = f" (and {len(faults) - FEW} records more)" if len(faults) > FEW else ""
        raise MolebenchError(f"{'; '.join(faults[:FEW])}{more}; molebench store verify says all: move such cells away")
