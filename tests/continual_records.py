"""Records of continual cells made by hand: a cell that there is, and the figures that its record is told."""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from molebench.grid import Cell, resolve
from molebench.record import Record
from molebench.runner import components
from molebench.store import Store
from tests.test_mole_report import written


def told(store: Store, cell: Cell, metrics: Mapping[str, float]) -> Record:
    """A committed record of a cell; all else in it is that of an offline one without updates."""
    resolved = resolve(cell)
    with TemporaryDirectory() as folder:
        content = written(Store(Path(folder)), [], seed=cell.seed, metrics=dict(metrics)).plain()
    content |= {
        "key": resolved.key,
        "group": resolved.group,
        "cell": json.loads(json.dumps(resolved.canonical)),
        "scenario": resolved.scenario,
        "components": [component.model_dump() for component in components(resolved)],
    }
    record = Record.model_validate(content).sealed()
    store.commit(record)
    return record
