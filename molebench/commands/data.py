"""Data and weights, and the machine they are on: `data fetch`, `doctor`."""

import json
from typing import TYPE_CHECKING

import typer

from molebench.commands.shared import AsJson, Offline, opened, plain_errors
from molebench.errors import unknown

if TYPE_CHECKING:
    from molebench.workspace import Workspace

app = typer.Typer(help="Get data and weights.", no_args_is_help=True)


@app.command()
@plain_errors
def fetch(names: list[str], offline: Offline = False) -> None:
    """Get datasets and extractor weights, so that later runs need no connection."""
    from molebench import registry

    workspace = opened(offline=offline)
    there = {n: kind for kind in ("datasets", "extractors") for n in registry.files(kind)}
    for name in names:
        if name not in there:
            raise unknown("dataset or extractor", name, there)
    for name in names:
        typer.echo(fetched(there[name], name, workspace))


def fetched(kind: str, name: str, workspace: "Workspace") -> str:
    """Gets one dataset or extractor and says what it is."""
    from molebench import registry

    plugin = registry.find(kind, name)
    loaded = plugin.build(plugin.resolve({}, "small")).load(workspace)
    if kind == "extractors":
        return f"{name}: weights from {loaded[1].source}, sha256 {loaded[1].sha256}"
    sizes = ", ".join(f"{split} {len(samples)}" for split, samples in loaded.splits.items())
    return f"{name}: {sizes}, {len(loaded.classes)} classes"


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
