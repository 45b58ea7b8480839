"""`run`: one cell, or several seeds of it."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from molebench.commands.shared import AsJson, Isolate, Offline, Plugins, Settings, StoreDir, opened, plain_errors
from molebench.errors import MolebenchError, unknown

if TYPE_CHECKING:
    from molebench.grid import Cell
    from molebench.record import Record
    from molebench.workspace import Workspace

NoPlots = Annotated[bool, typer.Option("--no-plots", help="Draw no pictures into the records' folders.")]


@plain_errors
def run(
    attack: Annotated[str, typer.Option(help="Name of an attack.")],
    victim: Annotated[str, typer.Option(help="Name of a victim.")],
    dataset: Annotated[
        str | None, typer.Option(help="Name of a dataset, or split:NAME for tasks; the victim's own where not given.")
    ] = None,
    defense: Annotated[list[str] | None, typer.Option(help="Name of a defense; repeatable.")] = None,
    profile: Annotated[str, typer.Option(help="Sizes: tiny, small or paper.")] = "small",
    seed: Annotated[int, typer.Option(min=0, help="First seed.")] = 0,
    trials: Annotated[int, typer.Option(min=1, help="Seeds to run: seed, seed + 1, ...")] = 1,
    settings: Settings = None,
    plugin: Plugins = None,
    store: StoreDir = None,
    offline: Offline = False,
    isolate: Isolate = False,
    as_json: AsJson = False,
    no_plots: NoPlots = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say of each stage why it runs.")] = False,
    repeat_check: Annotated[
        bool, typer.Option("--repeat-check", help="Run the cell twice from nothing and compare all predictions.")
    ] = False,
) -> None:
    """Run one cell, or several seeds of it, and print its figures."""
    cells = [
        named_cell(attack, victim, dataset, defense or [], profile, seed + i, settings or []) for i in range(trials)
    ]
    workspace = replace(opened(store, offline, isolate), explain=explain)
    there = {} if explain or repeat_check else known(cells, workspace)
    if repeat_check:
        from molebench.repeating import repeated

        for cell in cells:
            typer.echo(repeated(cell, workspace))
        return
    records: list[Record] = []
    folders: dict[Path, list[str]] = {}
    for cell in cells:
        records.append(there.get(cell.seed) or finished(cell, workspace))
        folders |= {} if no_plots else pictured(records[-1:], workspace)
    folders |= {} if no_plots else pictured_groups(records, workspace)
    if as_json:
        typer.echo(json.dumps([r.plain() for r in records]))
        return
    from molebench import report
    from molebench.pairs_table import pairs_table
    from molebench.store import Store

    typer.echo(report.title(records))
    typer.echo(report.run_table(records))
    if pairs := pairs_table(records):
        typer.echo("\n".join(["", *pairs]))
    for warning in sorted({w for r in records for w in r.warnings}):
        typer.echo(f"warning: {warning}")
    for record in records:
        typer.echo(f"record: {Store(workspace.store).cell(record.key) / 'record.json'}")
    for folder, names in folders.items():
        typer.echo(f"pictures: {folder} ({', '.join(names)})")


def named_cell(
    attack: str, victim: str, dataset: str | None, defenses: list[str], profile: str, seed: int, settings: list[str]
) -> "Cell":
    """The cell that the options name."""
    from molebench.grid import PROFILES, Cell

    if profile not in PROFILES:
        raise unknown("profile", profile, PROFILES)
    parameters: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise MolebenchError(f"--set {setting}: expected part.parameter=value, such as attack.steps=50")
        parameters[name.strip()] = value.strip()
    return Cell(
        attack=attack,
        victim=victim,
        dataset=dataset,
        defenses=tuple(defenses),
        parameters=parameters,
        profile=profile,
        seed=seed,
    )


def known(cells: Sequence["Cell"], workspace: "Workspace") -> dict[int, "Record"]:
    """The records that are there already, by seed."""
    from molebench.recalling import recalled

    return {cell.seed: record for cell in cells if (record := recalled(cell, workspace))}


def finished(cell: "Cell", workspace: "Workspace") -> "Record":
    """A cell's record, all that it names checked before anything runs; the same words find it at once next time."""
    from molebench.grid import resolve
    from molebench.recalling import remember
    from molebench.runner import run_resolved

    record = run_resolved(resolved := resolve(cell), workspace)
    remember(cell, resolved, workspace)
    return record


def pictured(records: Sequence["Record"], workspace: "Workspace") -> dict[Path, list[str]]:
    """Draws the pictures that cells lack; the names of those that are there, by folder."""
    from molebench import pictures
    from molebench.store import Store

    store = Store(workspace.store)
    return by_folder(file for record in records for file in pictures.of_cell(record, store))


def pictured_groups(records: Sequence["Record"], workspace: "Workspace") -> dict[Path, list[str]]:
    """The same for cells that differ in seed only, together."""
    from molebench import pictures, report
    from molebench.store import Store

    store = Store(workspace.store)
    return by_folder(file for group in report.grouped(records) for file in pictures.of_seeds(group, store))


def pictured_sweep(name: str, records: Sequence["Record"], workspace: "Workspace") -> dict[Path, list[str]]:
    """The same for all cells of a sweep together."""
    from molebench import pictures
    from molebench.store import Store

    return by_folder(pictures.of_sweep(name, records, Store(workspace.store)))


def by_folder(files: Iterable[Path]) -> dict[Path, list[str]]:
    """File names by folder, in order."""
    found: dict[Path, list[str]] = {}
    for file in files:
        found.setdefault(file.parent, []).append(file.name)
    return found
