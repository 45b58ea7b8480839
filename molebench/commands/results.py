"""What the records say: `report`."""

from pathlib import Path
from typing import Annotated

import typer

from molebench.commands.shared import StoreDir, opened, plain_errors
from molebench.errors import MolebenchError


@plain_errors
def report(
    file: Annotated[Path | None, typer.Argument(help="A sweep; without it, every record.")] = None,
    form: Annotated[str, typer.Option("--format", help="md, html, csv, latex or plain.")] = "md",
    store: StoreDir = None,
) -> None:
    """A table of the records in the store: one row a cell, averaged over its seeds."""
    from molebench import report as tables
    from molebench import sweeping
    from molebench.store import Store

    workspace = opened(store)
    if file:
        records = [p.record for p in sweeping.planned(file, workspace) if p.record]
    else:
        records = list(Store(workspace.store).records())
    if not records:
        raise MolebenchError(f"no record below {workspace.store}; make one with molebench run, or name another --store")
    typer.echo(tables.store_table(records, form))
