"""Records without a run: a store that the first release's code wrote, and copies of its record with other seeds."""

import json
import shutil
from pathlib import Path
from typing import Any

from molebench.record import Record
from molebench.stages import key
from molebench.store import Store

FIRST = Path(__file__).parent / "fixtures" / "store_1"  # written by the code of commit cc2c6c5, untouched since
KEY = "6064728d1c557793ea7b839cbdc031ee7c08cc59ace19f02684538c96f69c8cf"
ARMS = ("clean_undefended", "control_undefended", "poisoned_undefended")


def content() -> dict[str, Any]:
    """The first record, as it was written."""
    found: dict[str, Any] = json.loads((FIRST / "cells" / KEY / "record.json").read_text("utf-8"))
    return found


def seeded(seed: int, **changes: Any) -> Record:
    """The first record with another seed, and so another key."""
    first = content()
    cell = {**first["cell"], "seed": seed}
    return Record.model_validate({**first, "cell": cell, "seeds": {"cell": seed}, "key": key(cell), **changes}).sealed()


def fill(store: Store, seeds: range) -> list[str]:
    """Records of these seeds, written without the care that a store takes; their keys."""
    records = [seeded(seed) for seed in seeds]
    for record in records:
        store.cell(record.key).mkdir(parents=True)
        (store.cell(record.key) / "record.json").write_text(record.text(), "utf-8")
    return [record.key for record in records]


def copied(folder: Path) -> Store:
    """A copy of the first store."""
    shutil.copytree(FIRST, folder)
    return Store(folder)
