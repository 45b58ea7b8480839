"""The board: `leaderboard build`."""

from pathlib import Path
from typing import Annotated

import typer

from molebench.commands.shared import StoreDir, opened, plain_errors

app = typer.Typer(help="The board of results.", no_args_is_help=True)


@app.callback()
def board() -> None:
    """The board of results, as static pages."""


@app.command()
@plain_errors
def build(
    out: Annotated[Path, typer.Option("--out", help="Folder of the site: new, empty or built before.")] = Path(
        "leaderboard-site"
    ),
    store: StoreDir = None,
) -> None:
    """Render the records to a page that opens from a disk."""
    from molebench.leaderboard.build import build as build_site
    from molebench.progress import say

    workspace = opened(store)
    say(f"reading the records below {workspace.store}")
    made = build_site(workspace.store, out.absolute())
    typer.echo(f"{made} {'record' if made == 1 else 'records'}: {out / 'index.html'}")
