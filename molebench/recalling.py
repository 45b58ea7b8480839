"""What a cell was when it ran last, found again from what was typed and from the text of the code: nothing is imported.

    <cache>/typed/<sha256 of the cell as typed>.json      {"key": ..., "modules": {"attack noise": module, ...}}

Looking a cell up imports its plug-ins, and so PyTorch, which takes longer than all else where the record is there
already. A name may have come to mean another file, and code may have changed: then nothing is recalled. Cells with
files of the user's, or with plug-ins of files, are always looked up.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from molebench import codehash, registry
from molebench.codehash import FILES
from molebench.errors import MolebenchError
from molebench.grid import Cell, Resolved, modules
from molebench.record import Record
from molebench.stages import key
from molebench.store import Store
from molebench.workspace import Workspace, writing


def recalled(cell: Cell, workspace: Workspace) -> Record | None:
    """The record that the store holds of a cell, where today's code made it; None where it has to be looked up."""
    try:
        said = json.loads(note(cell, workspace).read_text("utf-8"))
        found, there = str(said["key"]), {str(title): str(module) for title, module in said["modules"].items()}
        if not all(named(title, module) for title, module in there.items()):
            return None
        record = Store(workspace.store).get(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, MolebenchError):
        return None
    return record if record and made_by(record, there) else None


def remember(cell: Cell, resolved: Resolved, workspace: Workspace) -> None:
    """Notes what a cell is; a cache that cannot be written is no reason to stop."""
    parts, there = (*resolved.parts.values(), *resolved.defenses), modules(resolved)
    if any(part.values != part.public for part in parts) or any(each.startswith(FILES) for each in there.values()):
        return
    try:
        with writing(note(cell, workspace), durable=False) as temporary:
            temporary.write_text(json.dumps({"key": resolved.key, "modules": there}), "utf-8")
    except MolebenchError:
        return


def note(cell: Cell, workspace: Workspace) -> Path:
    """The file of a cell as typed."""
    return workspace.cache / "typed" / f"{key(cell.model_dump(mode='json'))}.json"


def named(title: str, module: str) -> bool:
    """Whether a name still means the same file of ours, or of another distribution."""
    kind, _, name = title.partition(" ")
    return kind == "scenario" or registry.place(f"{kind}s", name).module == module


def made_by(record: Record, modules: Mapping[str, str]) -> bool:
    """Whether the code of all components is what made a record."""
    then = {f"{c.kind} {c.name}": c.code_sha256 for c in record.components}
    return then == {title: codehash.code_sha256(module) for title, module in modules.items()}
