"""What the records say: `report`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molebench.commands.shared import OtherProfile, Plugins, StoreDir, opened, plain_errors
from molebench.errors import MolebenchError

if TYPE_CHECKING:
    from molebench.workspace import Workspace


@plain_errors
def report(
    file: Annotated[Path | None, typer.Argument(help="A sweep; without it, every record.")] = None,
    form: Annotated[str, typer.Option("--format", help="md, html, csv, latex or plain.")] = "md",
    worst: Annotated[
        bool, typer.Option("--worst", help="One line a defense: the attack that hurts it most, over seeds.")
    ] = False,
    charts: Annotated[
        Path | None,
        typer.Option("--charts", help="Draw the charts of the records into this folder.", show_default=False),
    ] = None,
    picture: Annotated[str, typer.Option("--picture", help="Of --charts: svg, png or pdf.")] = "svg",
    profile: OtherProfile = None,
    plugin: Plugins = None,
    store: StoreDir = None,
) -> None:
    """A table of the records in the store: one row a cell, averaged over its seeds.

    A sweep that holds published numbers gets a line for each of them, measured beside published, with a verdict.
    With --charts, no table but the charts of the board, for papers; their names are printed.
    """
    from molebench import planning
    from molebench import report as tables
    from molebench.store import Store
    from molebench.sweep_file import load_sweep

    workspace = opened(store)
    if charts:
        draw(charts, picture, workspace, file, profile)
        return
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


def draw(folder: Path, form: str, workspace: "Workspace", file: Path | None, profile: str | None) -> None:
    """Draws the charts of a store, or of a sweep's cells."""
    from molebench import planning
    from molebench.leaderboard.charted import every, ready, written
    from molebench.leaderboard.loading import load
    from molebench.leaderboard.placing import standings

    ready(folder, form)
    loaded = load(workspace.store)
    if file:
        swept = {cell.key for cell in planning.planned(file, workspace, profile).cells}
        loaded = replace(loaded, records=[record for record in loaded.records if record.key in swept])
    found = every(loaded.records, loaded.folders, standings(loaded, own=True))
    if not found:
        raise MolebenchError(
            f"nothing to draw: no record below {workspace.store} is of an attack or of several tasks; make one with "
            "molebench run, or name another --store"
        )
    typer.echo("\n".join(str(path) for path in written(found, folder, form)))
