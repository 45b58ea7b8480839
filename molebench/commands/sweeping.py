"""`sweep` and `status`: a grid of cells, and where the grids and the store stand."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molebench.commands.running import NoPlots, pictured_groups, pictured_sweep
from molebench.commands.shared import AsJson, Isolate, Offline, OtherProfile, Plugins, StoreDir, opened, plain_errors
from molebench.errors import MolebenchError, listed, unknown

if TYPE_CHECKING:
    from molebench.jobs import Ended
    from molebench.planning import Plan
    from molebench.record import Record
    from molebench.scheduling import Tally
    from molebench.sweeping import Options
    from molebench.workspace import Workspace

MOST_SHOWN = 500  # cells; a table and pictures of more are asked for by `report`
EXECUTORS = ("serial", "processes", "ray")
FORMS = ("auto", "rich", "lines", "jsonl", "none")


@plain_errors
def sweep(
    file: Annotated[Path | None, typer.Argument(help="The sweep, a YAML file.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and what it may cost.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say why cells run again.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of sweep files.")] = False,
    profile: OtherProfile = None,
    failed: Annotated[bool, typer.Option("--failed", help="Run only cells that failed before.")] = False,
    executor: Annotated[str, typer.Option(help="serial, processes or ray.")] = "processes",
    workers: Annotated[int | None, typer.Option(min=1, help="Cells at once; as many as fit.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of a cell; as its cards say.")] = None,
    address: Annotated[str | None, typer.Option(help="Of a Ray cluster; one of its own where not given.")] = None,
    shared_store: Annotated[bool, typer.Option("--shared-store", help="Ray's nodes see the store's folder.")] = False,
    retries: Annotated[int, typer.Option(min=0, help="Further tries of a cell that failed.")] = 0,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds that a cell may take.")] = None,
    memory: Annotated[float | None, typer.Option(min=0, help="GiB that a cell's process may hold.")] = None,
    keep_going: Annotated[bool, typer.Option(help="Go on after a cell has failed.")] = True,
    progress: Annotated[str, typer.Option(help="auto, rich, lines, jsonl or none; on stderr.")] = "auto",
    plugin: Plugins = None,
    store: StoreDir = None,
    offline: Offline = False,
    isolate: Isolate = False,
    as_json: AsJson = False,
    no_plots: NoPlots = False,
) -> None:
    """Run a grid of cells from a YAML file; what is done already is skipped, and nothing is lost when it is killed."""
    from molebench import planning, sweep_file

    if schema:
        typer.echo(json.dumps(sweep_file.schema(), indent=2))
        return
    if file is None:
        raise MolebenchError("no sweep was named; expected a YAML file, such as benchmarks/smoke.yaml")
    for what, given, choices in (("executor", executor, EXECUTORS), ("form of --progress", progress, FORMS)):
        if given not in choices:
            raise unknown(what, given, choices)
    workspace = opened(store, offline, isolate)
    plan = planning.planned(file, workspace, profile)
    if dry_run or explain:
        words = planning.explained(plan) if explain else planning.text(plan)
        typer.echo(json.dumps(planning.plain(plan)) if as_json else words)
        return
    from molebench.scheduling import Policy
    from molebench.sweeping import Options, swept

    options = Options(
        executor=executor,  # type: ignore[arg-type]
        workers=workers,
        threads=threads,
        address=address,
        shared=shared_store,
        memory=memory,
        policy=Policy(retries, timeout, keep_going),
        failed=failed,
        pictures=not no_plots,
        progress=progress,  # type: ignore[arg-type]
    )
    tally = swept(plan, workspace, options)
    shown(plan, file, workspace, options, as_json)
    ended(plan, tally)


def shown(plan: "Plan", file: Path, workspace: "Workspace", options: "Options", as_json: bool) -> None:
    """The records of a plan's cells as JSON, or a table and where the pictures are."""
    if as_json:
        for line in json_array(each.plain() for each in records(plan, workspace)):
            typer.echo(line, nl=False)
        return
    if len(plan.cells) > MOST_SHOWN:
        typer.echo(f"{len(plan.cells)} cells; molebench report {file} makes their table")
        return
    from molebench import report

    done = list(records(plan, workspace))
    if done:
        typer.echo(report.store_table(done, "plain"))
    typer.echo(f"{len(done)} of {len(plan.cells)} cells have a record below {workspace.store}")
    if options.pictures and done:
        pictured_groups(done, workspace)
        for folder, names in pictured_sweep(file.stem, done, workspace).items():
            typer.echo(f"pictures: {folder} ({', '.join(names)})")


def records(plan: "Plan", workspace: "Workspace") -> Iterator["Record"]:
    """The records of a plan's cells, one at a time; cells without one are left out."""
    from molebench.store import Store

    store = Store(workspace.store)
    return (record for each in plan.cells if (record := store.get(each.key)))


def json_array(items: Iterable[object]) -> Iterator[str]:
    """A JSON array, item by item."""
    yield "["
    for i, item in enumerate(items):
        yield f"{', ' if i else ''}{json.dumps(item)}"
    yield "]\n"


def ended(plan: "Plan", tally: "Tally") -> None:
    """How it went: an error where cells failed or are left."""
    if plan.skipped:
        typer.echo(f"{len(plan.skipped)} combinations do not go together and were skipped (--dry-run lists them)")
    if tally.failures:
        raise SweepFailed(tally)
    if tally.stopped:
        raise Interrupted(f"interrupted: {tally.left} cells are left; run the same command to go on")


def named(end: "Ended") -> str:
    """A failure in words."""
    return f"{end.key[:12]} {end.state}: {end.message or end.type}"


class SweepFailed(MolebenchError):
    """Some cells of a sweep failed."""

    exit_code = 3

    def __init__(self, tally: "Tally") -> None:
        ends = [named(end) for end in tally.failures.values()]
        left = f"; {tally.left} cells were not run" if tally.left else ""
        super().__init__(f"{len(ends)} cells failed: {listed(ends, 20)}{left}; --failed runs them again")


class Interrupted(MolebenchError):
    """The user stopped a sweep."""

    exit_code = 130


@plain_errors
def status(
    file: Annotated[Path | None, typer.Argument(help="A sweep; without it, the whole store.")] = None,
    profile: OtherProfile = None,
    plugin: Plugins = None,
    store: StoreDir = None,
    as_json: AsJson = False,
) -> None:
    """Say where the store, a sweep and the sweeps that run now stand; at any moment, from any shell."""
    import time

    from molebench import coverage, planning
    from molebench.index import Index
    from molebench.standing import posted
    from molebench.store import Store

    workspace = opened(store)
    records, standings = Store(workspace.store), list(posted(workspace))
    index = Index.of(records, workspace.cache)
    plan = planning.planned(file, workspace, profile) if file else None
    if as_json:
        typer.echo(json.dumps(coverage.plain(index, standings, plan)))
        return
    for standing, alive in standings:
        typer.echo(coverage.running(standing, alive, time.time()))
    typer.echo(f"store {workspace.store}: {coverage.of_store(index)}")
    if plan:
        typer.echo(coverage.of_plan(plan))
    wanted = [each.key for each in plan.cells] if plan else sorted(index.failed)
    for line in coverage.failures([key for key in wanted if key not in index.entries], records):
        typer.echo(line)
