"""A cell run twice from nothing: whether the same code, data and seed give the same predictions here."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from molebench.errors import MolebenchError, listed
from molebench.grid import Cell
from molebench.record import Record
from molebench.runner import run
from molebench.workspace import Workspace


class NotRepeated(MolebenchError):
    """Two runs of one cell came to different predictions."""

    exit_code = 4


def repeated(cell: Cell, workspace: Workspace) -> str:
    """What was found to be the same, in words; NotRepeated where something is not.

    Neither run uses the stage cache or the store; downloads and converted weights are shared.
    """
    with TemporaryDirectory(prefix="molebench-repeat-") as folder:
        once, again = (run(cell, apart(workspace, Path(folder) / name)) for name in ("once", "again"))
    first, second = dict(digests(once)), dict(digests(again))
    if wrong := sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name)):
        raise NotRepeated(f"repeat check of cell {once.key[:12]}: two runs differ in {listed(wrong)}")
    return f"repeat check: two runs from nothing agree in the poison and all predictions of {len(first) - 1} arms"


def apart(workspace: Workspace, folder: Path) -> Workspace:
    """The same folders but for store and stages."""
    return replace(workspace, store=folder / "store", stages=folder / "stages")


def digests(record: Record) -> Iterator[tuple[str, str]]:
    """The sha256 of the poison and of each arm's predictions, by name."""
    yield "poison", record.poison.sha256
    yield from ((name, arm.predictions_sha256) for name, arm in record.arms.items())
    for update in record.updates:
        yield from ((f"updates of {name}", arm.predictions_sha256) for name, arm in update.arms.items())
