"""What several commands share: options that read the same everywhere, one-line errors, the folders."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from molebench.errors import MolebenchError

if TYPE_CHECKING:
    from molebench.workspace import Workspace

Offline = Annotated[bool, typer.Option("--offline", help="Make no connection.")]
Isolate = Annotated[bool, typer.Option("--isolate", help="Run each defense in a process of its own.")]
StoreDir = Annotated[Path | None, typer.Option("--store", help="Folder of the records.", show_default=False)]
OtherProfile = Annotated[
    str | None, typer.Option("--profile", help="In place of the file's: tiny, small or paper.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON only.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="part.parameter=value; repeatable.")]


def _use(paths: list[Path] | None) -> list[Path] | None:
    """What --plugin does: names the files in the environment, where lookups and worker processes find them."""
    from molebench import places

    try:
        places.use(paths or [])
    except MolebenchError as error:
        raise typer.BadParameter(str(error)) from error
    return paths


# nothing more is done with its value: every look-up reads the environment
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="File of a plug-in of your own; repeatable.", callback=_use, show_default=False),
]


def plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """One line on stderr and an exit code for what a user or the machine did; nothing is hidden otherwise."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except MolebenchError as error:
            typer.echo(f"molebench: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("molebench: interrupted; finished stages are kept, run the same command to go on", err=True)
            raise typer.Exit(130) from None
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(0) from None

    return guarded


def opened(store: Path | None = None, offline: bool = False, isolate: bool = False) -> "Workspace":
    """The folders, and progress on stderr."""
    from molebench.progress import automatic
    from molebench.workspace import Workspace

    return Workspace.from_environment(store, offline, automatic(), isolate)
