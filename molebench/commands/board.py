"""The board: `leaderboard build`, `leaderboard serve`."""

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
    own: Annotated[bool, typer.Option("--own", help="They are your own: rank what nobody else has run yet.")] = False,
) -> None:
    """Render the records to pages that open from a disk."""
    from molebench.leaderboard.build import build as build_site
    from molebench.progress import say

    workspace = opened(store)
    say(f"reading the records below {workspace.store}")
    made = build_site(workspace.store, out.absolute(), own)
    typer.echo(f"{counted(made)}: {out / 'index.html'}")


@app.command()
@plain_errors
def serve(
    store: StoreDir = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0: any.")] = 8000,
    browse: Annotated[bool, typer.Option("--open/--no-open", help="Open it in a browser.")] = False,
) -> None:
    """Show the board of your own store, built again whenever its records change."""
    import webbrowser
    from contextlib import suppress
    from threading import Event

    from molebench.leaderboard.live import home
    from molebench.leaderboard.serve import serve as serve_site

    def ready(address: str, records: int) -> None:
        typer.echo(f"{counted(records)}: {address} (Ctrl-C ends it)")
        if browse:
            webbrowser.open(address)

    workspace = opened(store)
    with suppress(KeyboardInterrupt), home(workspace.cache) as folder:
        serve_site(workspace.store.absolute(), folder, host, port, ready, Event())


def counted(records: int) -> str:
    """How many records."""
    return f"{records} {'record' if records == 1 else 'records'}"
