"""A sweep, cell after cell: planned as a whole, so that a mistake shows before anything runs; done cells skipped."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from molebench.errors import CellFailed, MolebenchError
from molebench.grid import Cell, load_sweep, resolve
from molebench.progress import say
from molebench.record import Record
from molebench.runner import changed, note_failure, run
from molebench.store import Store
from molebench.workspace import Workspace


@dataclass(frozen=True)
class Planned:
    """A cell of a sweep, and its record where there is one. stale: the parts whose code has changed since."""

    cell: Cell
    key: str
    record: Record | None
    stale: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether nothing has to run."""
        return self.record is not None and not self.stale


def planned(file: Path, workspace: Workspace) -> list[Planned]:
    """Every cell of a sweep file, looked up and checked."""
    store, plan = Store(workspace.store), dict[str, Planned]()
    for cell in load_sweep(file).cells():
        resolved = resolve(cell)
        record = store.get(resolved.key)
        stale = tuple(changed(record, resolved)) if record else ()
        plan.setdefault(resolved.key, Planned(cell, resolved.key, record, stale))
    return list(plan.values())


def line(planned: Planned) -> str:
    """A cell in words."""
    cell = planned.cell
    defenses = "+".join(cell.defenses) or "none"
    state = "done" if planned.done else "stale" if planned.stale else "to run"
    return (
        f"{planned.key[:12]}  {state:<7} {cell.attack} {cell.victim} {cell.dataset or '-'} {defenses} seed {cell.seed}"
    )


def swept(plan: Sequence[Planned], workspace: Workspace) -> tuple[list[Record], list[str]]:
    """Runs what is missing, in order; a cell that fails is named and the others go on."""
    done: list[Record] = []
    failed: list[str] = []
    for i, one in enumerate(plan, start=1):
        if one.record and not one.stale:
            done.append(one.record)
            continue
        say(f"cell {i}/{len(plan)}: {line(one)}")
        try:
            done.append(run(one.cell, workspace))
        except MolebenchError as error:
            if not isinstance(error, CellFailed):  # the runner notes those
                note_failure(Store(workspace.store), resolve(one.cell), error)
            failed.append(f"{one.key[:12]} {error}")
            say(f"failed: {error}")
    return done, failed
