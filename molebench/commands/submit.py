"""Submissions: `submit new`, `submit check`, `submit scope`."""

from pathlib import Path
from typing import Annotated

import typer

from molebench.commands.shared import plain_errors

app = typer.Typer(help="A defense or an attack of your own, for the board.", no_args_is_help=True)


@app.callback()
def submit() -> None:
    """A defense or an attack of your own, for the board."""


@app.command()
@plain_errors
def new(
    slug: Annotated[str, typer.Argument(help="Its name: of the folder, of the plug-in and on the board.")],
    kind: Annotated[str, typer.Option("--kind", help="defense | attack (a break).")] = "defense",
    out: Annotated[Path, typer.Option("--out", help="Folder of the submissions.")] = Path("leaderboard/submissions"),
) -> None:
    """Write a submission's folder: a plug-in that works and a form, to write your own over."""
    from molebench.submission.scaffold import next_steps, scaffold

    typer.echo(next_steps(scaffold(slug, kind, out), kind))


@app.command()
@plain_errors
def check(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a submission.")]) -> None:
    """Check a submission without running it: every fault at once, exit code 2 where there is one."""
    from molebench.submission.check import checked

    report = checked(folder)
    for kind, lines in (("ok", report.well), ("note", report.notes)):
        for line in lines:
            typer.echo(f"{kind}: {line}")
    faulty(report.faults)


@app.command()
@plain_errors
def scope(
    changed: Annotated[Path, typer.Argument(help="What git diff --name-only --no-renames -z has printed.")],
    merged: Annotated[Path, typer.Option("--merged", help="Folder of the submissions that are merged.")] = Path(
        "leaderboard/submissions"
    ),
) -> None:
    """Print the folder that a pull request adds; exit code 2 where it touches anything else."""
    from molebench.submission import scope as reading
    from molebench.submission.form import Faulty

    there = [folder.name for folder in merged.glob("*") if folder.is_dir()]
    try:
        typer.echo(reading.submitted(reading.changed(changed.read_bytes()), there))
    except Faulty as error:
        faulty(error.faults)


def faulty(faults: list[str]) -> None:
    """Says each fault in a line of its own."""
    for fault in faults:
        typer.echo(f"fault: {fault}", err=True)
    if faults:
        raise typer.Exit(2)
