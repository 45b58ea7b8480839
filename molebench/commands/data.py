"""Data and weights, and the machine they are on: `data fetch`, `data verify`, `doctor`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from molebench.commands.shared import AsJson, Offline, opened, plain_errors
from molebench.errors import MolebenchError

Names = Annotated[list[str] | None, typer.Argument(help="Datasets and extractors.", show_default=False)]
ForSweep = Annotated[Path | None, typer.Option("--for", help="A sweep: all that its cells need.", show_default=False)]

app = typer.Typer(help="Get and check data and weights.", no_args_is_help=True)


@app.command()
@plain_errors
def fetch(names: Names = None, sweep: ForSweep = None, offline: Offline = False) -> None:
    """Get datasets and extractor weights, so that later runs need no connection."""
    from molebench import holdings

    if not names and not sweep:
        raise MolebenchError("data fetch: nothing is named; name datasets or extractors, or give --for FILE.yaml")
    workspace = opened(offline=offline)
    wanted = holdings.named(names or []) + (holdings.needed(sweep) if sweep else [])
    for one in wanted:
        typer.echo(one.get(workspace))


@app.command()
@plain_errors
def verify(names: Names = None) -> None:
    """Check what was got against the known checksums; changes nothing and makes no connection."""
    from molebench import holdings

    damaged = 0
    for found in holdings.examined(names or [], opened(offline=True)):
        damaged += found.state == "DAMAGED"
        typer.echo(f"{found.state:<8}{found.what}: {found.says}")
    if damaged:
        typer.echo(f"molebench: {damaged} damaged; each line says what to do", err=True)
        raise typer.Exit(4)


@plain_errors
def doctor(offline: Offline = False, as_json: AsJson = False) -> None:
    """Say what works on this machine, and how to mend what does not."""
    from molebench.doctor import examine

    findings = list(examine(opened(offline=offline)))
    if as_json:
        typer.echo(json.dumps([f._asdict() for f in findings]))
    else:
        mark = {True: "ok", False: "FAULT", None: "note"}
        typer.echo("\n".join(f"{mark[f.ok]:<6} {f.what}: {f.says}" for f in findings))
    if any(f.ok is False for f in findings):
        raise typer.Exit(4)
