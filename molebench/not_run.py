"""Why a published row was not run, and what to type."""

from pathlib import Path

from molebench import registry
from molebench.grid import Cell, resolve
from molebench.places import plain
from molebench.published import Published, PublishedRow
from molebench.store import Store
from molebench.sweep_file import Sweep
from molebench.workspace import Workspace


def available(row: PublishedRow) -> list[str]:
    """The datasets of ours on which this version could run a row."""
    if not registry.has("victims", row.victim):
        return []
    return [name for name in row.ours if registry.has("datasets", name)]


def why_not(sweep: Sweep, table: Published, row: PublishedRow, file: Path, workspace: Workspace) -> str:
    """The reason, and what to type."""
    if not registry.has("victims", row.victim):
        return f"no victim {row.victim} in this version" + (f" ({row.note})" if row.note else "")
    if not (there := available(row)):
        return f"no dataset {' or '.join(row.ours)} in this version"
    dataset = next((name for name in there if name in sweep.datasets), there[0])
    cell = next(sweep.published_cells(row, table.attack_of(row), dataset))
    if failure := last_failure(Store(workspace.store), resolve(cell).key):
        return f"failed: {failure}"
    if not is_here(dataset, workspace):
        return f"dataset {dataset} is not here: molebench data fetch {dataset}"
    swept = dataset in sweep.datasets and row.victim in sweep.victims
    return f"not run yet: molebench sweep {file}" if swept else f"not run yet: {command(cell)}"


def last_failure(store: Store, key: str) -> str:
    """What the last attempt at a cell died of; nothing where there was none."""
    attempts = store.attempts(key)
    return " ".join(attempts[-1].message.split())[:200] if attempts else ""


def is_here(dataset: str, workspace: Workspace) -> bool:
    """Whether a dataset's files are on this machine: the user's, or fetched before."""
    files = [name for name in registry.find("datasets", dataset).card.needs if " " not in name]
    folders = (workspace.data, workspace.cache / "downloads")
    kept = any((workspace.cache / "data").glob(f"{plain('datasets', dataset)}-*.safetensors"))
    return kept or all(any((folder / name).exists() for folder in folders) for name in files)


def command(cell: Cell) -> str:
    """What makes a cell's record."""
    sets = "".join(f" --set {name}={value}" for name, value in cell.parameters.items())
    names = f"--attack {cell.attack} --victim {cell.victim} --dataset {cell.dataset}"
    return f"molebench run {names} --profile {cell.profile} --seed {cell.seed}{sets}"
