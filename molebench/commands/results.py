"""What the records say: `report`."""

from pathlib import Path
from typing import Annotated

import typer

from molebench.commands.shared import OtherProfile, Plugins, StoreDir, opened, plain_errors
from molebench.errors import MolebenchError


@plain_errors
def report(
    file: Annotated[Path | None, typer.Argument(help="A sweep; without it, every record.")] = None,
    form: Annotated[str, typer.Option("--format", help="md, html, csv, latex or plain.")] = "md",
    worst: Annotated[
        bool, typer.Option("--worst", help="One line a defense: the attack that hurts it most, over seeds.")
    ] = False,
    profile: OtherProfile = None,
    plugin: Plugins = None,
    store: StoreDir = None,
) -> None:
    """A table of the records in the store: one row a cell, averaged over its seeds.

    A sweep that holds published numbers gets a line for each of them, measured beside published, with a verdict.
    """
    from molebench import planning
    from molebench import report as tables
    from molebench.store import Store
    from molebench.sweep_file import load_sweep

    workspace = opened(store)
    if file and not worst and (published := (swept := load_sweep(file, profile)).published):
        from molebench import beside

        typer.echo(beside.report(swept, published, file, workspace, form))
        return
    if file:
        there = [cell for cell in planning.planned(file, workspace, profile).cells if cell.state in ("done", "stale")]
        records = [record for cell in there if (record := Store(workspace.store).get(cell.key))]
        stale = {cell.key for cell in there if cell.stale}
    else:
        records = list(Store(workspace.store).records())
        stale = {r.key for r in records if tables.edited(r)}
    if not records:
        raise MolebenchError(f"no record below {workspace.store}; make one with molebench run, or name another --store")
    if worst:
        from molebench.worst_case import table

        tables.known(form)
        typer.echo(table(records, form))
        return
    parts = [tables.store_table(records, form, stale)]
    if form != "csv":
        from molebench.models_table import models_table
        from molebench.pairs_table import pairs_table

        groups = tables.grouped(records)
        parts += models_table(records, form) + (pairs_table(groups[0], form) if len(groups) == 1 else [])
    typer.echo("\n\n".join(parts))
