"""Cells that were tried and have no record: what a store's attempts say."""

import json
from pathlib import Path
from typing import Any

from molebench.leaderboard.site import Failure
from molebench.store import RECORD, Store


def failures(folder: Path) -> list[Failure]:
    """Every cell that has attempts and no record, by key."""
    store = Store(folder)
    folders = sorted({path.parent.parent for path in (folder / "cells").glob("*/attempts/*.json")})
    return [
        Failure(each.name, tried(each), tuple(store.attempts(each.name)))
        for each in folders
        if not (each / RECORD).is_file()
    ]


def tried(folder: Path) -> dict[str, Any]:
    """The cell that the last attempt was at; nothing where no file says it."""
    for path in sorted((folder / "attempts").glob("*.json"), reverse=True):
        try:
            cell = json.loads(path.read_text("utf-8"))["cell"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(cell, dict):
            return cell
    return {}
