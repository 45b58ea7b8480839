"""Looking after a store: `store verify`, `store attest`, `store invalidate`, `store gc`, `store index`."""

from collections import Counter
from typing import Annotated

import typer

from molebench.commands.shared import StoreDir, opened, plain_errors
from molebench.errors import MolebenchError

MIB = 2**20
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")]
KeepDays = Annotated[
    float | None,
    typer.Option(min=0, help="Also remove records that were set aside longer ago.", show_default="kept for ever"),
]
Cache = Annotated[bool, typer.Option("--cache", help="Look after the cache's stages instead of the store.")]
OlderThan = Annotated[
    float | None,
    typer.Option(min=0, help="With --cache: also remove stages not used for so many days.", show_default="kept"),
]
Keys = Annotated[list[str] | None, typer.Argument(help="Records, by the beginning of their keys.", show_default="all")]
By = Annotated[str, typer.Option("--by", help="Who ran them, or ran them again.")]
Reproduced = Annotated[str, typer.Option("--tier", help="How far: local-trusted, reproduced-tiny, reproduced.")]
Rebuild = Annotated[bool, typer.Option("--rebuild", help="Read every record again.")]

app = typer.Typer(help="Look after a store: check it, remove what is left over.", no_args_is_help=True)


@app.command()
@plain_errors
def verify(store: StoreDir = None) -> None:
    """Check that all that the records name is there, whole and unchanged, and that their counts are its counts."""
    from molebench.store import Store
    from molebench.verifying import verified

    workspace = opened(store)
    if not workspace.store.is_dir():
        raise MolebenchError(f"there is no store {workspace.store}; name another --store")
    faults = 0
    for fault in verified(Store(workspace.store), workspace.progress):
        faults += 1
        typer.echo(f"{fault.where}: {fault.says}")
    if faults:
        noun = "fault" if faults == 1 else "faults"
        typer.echo(f"molebench: {faults} {noun}; move such a cell's folder away, then run the cell again", err=True)
        raise typer.Exit(4)
    typer.echo(f"all that the records below {workspace.store} name is there, whole and unchanged")


@app.command()
@plain_errors
def attest(by: By, keys: Keys = None, tier: Reproduced = "reproduced", store: StoreDir = None) -> None:
    """Say of records who has run them, in attested.json beside them: what the board ranks, for no record vouches for
    itself."""
    from molebench.attesting import attest as say_so
    from molebench.attesting import chosen
    from molebench.store import load_records

    workspace = opened(store)
    records = chosen(load_records(workspace.store), keys or [])
    made = say_so(workspace.store, records, tier, by)
    typer.echo(f"{made} {'record' if made == 1 else 'records'} {tier} by {by}: {workspace.store / 'attested.json'}")


@app.command()
@plain_errors
def invalidate(
    keys: Annotated[list[str], typer.Argument(help="Records, by the beginning of their keys.")],
    by: Annotated[str, typer.Option("--by", help="Who says so.")],
    reason: Annotated[str, typer.Option("--reason", help="What is wrong with them, in one line.")],
    store: StoreDir = None,
) -> None:
    """Mark records as invalid, with the reason: the board shows them so and ranks them no more; nothing is deleted."""
    from molebench.attesting import chosen
    from molebench.attesting import invalidate as say_so
    from molebench.store import load_records

    workspace = opened(store)
    made = say_so(workspace.store, chosen(load_records(workspace.store), keys), by, reason)
    typer.echo(f"{made} {'record' if made == 1 else 'records'} invalid: {workspace.store / 'attested.json'}")


@app.command()
@plain_errors
def gc(
    dry_run: DryRun = False,
    keep_days: KeepDays = None,
    cache: Cache = False,
    older_than: OlderThan = None,
    store: StoreDir = None,
) -> None:
    """Remove what killed runs left, and poisons that no record names; never a record, nor what is in use."""
    from molebench import upkeep
    from molebench.store import Store

    if older_than is not None and not cache:
        raise MolebenchError("--older-than is about stages: give --cache too, or --keep-days for records set aside")
    if keep_days is not None and cache:
        raise MolebenchError(
            "--keep-days is about records set aside: leave --cache out, or give --older-than for stages"
        )
    workspace = opened(store)
    root = workspace.cache if cache else workspace.store
    found = (
        upkeep.cache_garbage(root, older_than, workspace.progress) if cache else upkeep.garbage(Store(root), keep_days)
    )
    sizes: Counter[str] = Counter()
    for item in found:
        if upkeep.removable(item) if dry_run else upkeep.removed(item):
            typer.echo(f"{item.size / MIB:8.2f} MiB  {item.path.relative_to(root)}: {item.why}")
            sizes.update(files=1, bytes=item.size)
    word = "would go" if dry_run else "removed"
    typer.echo(f"{sizes['files']} {word} below {root}, {sizes['bytes'] / MIB:.2f} MiB")


@app.command()
@plain_errors
def index(rebuild: Rebuild = False, store: StoreDir = None) -> None:
    """Bring the table of a store's records up to date; it is made again at need and may be deleted."""
    from molebench.index import Index
    from molebench.store import Store

    workspace = opened(store)
    found = Index.of(Store(workspace.store), workspace.cache, workspace.progress, rebuild)
    for said in found.damaged.values():
        typer.echo(said, err=True)
    typer.echo(f"{len(found.entries)} records, {len(found.damaged)} damaged; {len(found.without_record)} cells without")
