"""The commands: thin, and quick to start. Each imports what it needs when it runs.

Exit codes: 0 done; 2 bad usage or input (one line on stderr); 3 some cells failed; 130 interrupted.
"""

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from molebench.errors import MolebenchError, unknown

if TYPE_CHECKING:
    from molebench.grid import Cell
    from molebench.record import Record
    from molebench.workspace import Workspace

app = typer.Typer(
    help="Attacks that poison a learner with valid data, the defenses against them, and figures to compare.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Get data and weights.", no_args_is_help=True)
app.add_typer(data_app, name="data")

LISTED = ("attacks", "victims", "defenses", "datasets", "extractors", "scorers", "benchmarks")
Offline = Annotated[bool, typer.Option("--offline", help="Make no connection.")]
StoreDir = Annotated[Path | None, typer.Option("--store", help="Folder of the records.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON only.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="part.parameter=value; repeatable.")]


def main() -> None:
    """The console script: what typer would print as a box is one line here."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except Exception as error:
        if not (message := getattr(error, "format_message", None)):  # only usage errors can say themselves
            raise
        text = message()
        typer.echo(text if "\n" in text else f"molebench: {text} (see molebench --help)", err=True)
        sys.exit(2)


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


@app.command()
@plain_errors
def run(
    attack: Annotated[str, typer.Option(help="Name of an attack.")],
    victim: Annotated[str, typer.Option(help="Name of a victim.")],
    dataset: Annotated[str | None, typer.Option(help="Name of a dataset; the victim's own where not given.")] = None,
    defense: Annotated[list[str] | None, typer.Option(help="Name of a defense; repeatable.")] = None,
    profile: Annotated[str, typer.Option(help="Sizes: tiny, small or paper.")] = "small",
    seed: Annotated[int, typer.Option(min=0, help="First seed.")] = 0,
    trials: Annotated[int, typer.Option(min=1, help="Seeds to run: seed, seed + 1, ...")] = 1,
    settings: Settings = None,
    store: StoreDir = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Run one cell, or several seeds of it, and print its figures."""
    cells = [
        named_cell(attack, victim, dataset, defense or [], profile, seed + i, settings or []) for i in range(trials)
    ]
    workspace = opened(store, offline)
    records = [finished(cell, workspace) for cell in cells]
    if as_json:
        typer.echo(json.dumps([r.plain() for r in records]))
        return
    from molebench import report
    from molebench.store import Store

    typer.echo(report.title(records))
    typer.echo(report.run_table(records))
    for warning in sorted({w for r in records for w in r.warnings}):
        typer.echo(f"warning: {warning}")
    for record in records:
        typer.echo(f"record: {Store(workspace.store).cell(record.key) / 'record.json'}")


def named_cell(
    attack: str, victim: str, dataset: str | None, defenses: list[str], profile: str, seed: int, settings: list[str]
) -> "Cell":
    """The cell that the options name, every name and parameter checked before anything runs."""
    from molebench.grid import PROFILES, Cell, resolve

    if profile not in PROFILES:
        raise unknown("profile", profile, PROFILES)
    parameters: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise MolebenchError(f"--set {setting}: expected part.parameter=value, such as attack.steps=50")
        parameters[name.strip()] = value.strip()
    cell = Cell(
        attack=attack,
        victim=victim,
        dataset=dataset,
        defenses=tuple(defenses),
        parameters=parameters,
        profile=profile,
        seed=seed,
    )
    resolve(cell)
    return cell


def opened(store: Path | None = None, offline: bool = False) -> "Workspace":
    """The folders, and progress on stderr."""
    from molebench.progress import automatic
    from molebench.workspace import Workspace

    return Workspace.from_environment(store, offline, automatic())


def finished(cell: "Cell", workspace: "Workspace") -> "Record":
    """A cell's record."""
    from molebench.runner import run as run_cell

    return run_cell(cell, workspace)


@app.command("list")
@plain_errors
def list_(kind: Annotated[str | None, typer.Argument(help=" | ".join(LISTED))] = None, as_json: AsJson = False) -> None:
    """Names and one-line summaries; imports no plug-in."""
    if kind and kind not in LISTED:
        raise unknown("kind", kind, LISTED)
    found = {k: summaries(k) for k in ([kind] if kind else LISTED)}
    if as_json:
        typer.echo(json.dumps([{"kind": k, "name": n, "summary": s} for k, v in found.items() for n, s in v.items()]))
        return
    width = max((len(n) for names in found.values() for n in names), default=0)
    for k, names in found.items():
        if names:
            typer.echo(f"{k}\n" + "\n".join(f"  {name:<{width}}  {text}" for name, text in names.items()))


def summaries(kind: str) -> dict[str, str]:
    """Name to summary of one kind; a benchmark's is the comment on its first line."""
    from molebench import registry

    if kind != "benchmarks":
        return registry.summaries(kind)
    files = {f.stem: f for folder in registry.folders("benchmarks") for f in sorted(folder.glob("*.yaml"))}
    return {name: f.read_text("utf-8").split("\n", 1)[0].lstrip("# ") for name, f in files.items()}


@app.command()
@plain_errors
def describe(name: str, as_json: AsJson = False) -> None:
    """A plug-in's card: what it is, what it may do, its parameters with types and ranges."""
    from molebench import describing

    cards = describing.cards(name)
    typer.echo(json.dumps(cards) if as_json else "\n\n".join(describing.text(card) for card in cards))


@app.command()
@plain_errors
def sweep(
    file: Path,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run.")] = False,
    store: StoreDir = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Run a grid of cells from a YAML file, one after the other; what is done already is skipped."""
    from molebench import sweeping

    workspace = opened(store, offline)
    plan = sweeping.planned(file, workspace)
    if dry_run:
        typer.echo("\n".join(sweeping.line(p) for p in plan))
        typer.echo(f"{len(plan)} cells, {sum(p.done for p in plan)} done")
        return
    done, failed = sweeping.swept(plan, workspace)
    if as_json:
        typer.echo(json.dumps([r.plain() for r in done]))
    else:
        from molebench import report

        typer.echo(report.store_table(done, "plain"))
        typer.echo(f"{len(done)} cells done, {len(failed)} failed; records below {workspace.store}")
    if failed:
        raise MolebenchFailed(failed)


class MolebenchFailed(MolebenchError):
    """Some cells of a sweep failed."""

    exit_code = 3

    def __init__(self, failed: list[str]) -> None:
        super().__init__(f"{len(failed)} cells failed: {'; '.join(failed)}")


@app.command()
@plain_errors
def report(
    file: Annotated[Path | None, typer.Argument(help="A sweep; without it, every record.")] = None,
    form: Annotated[str, typer.Option("--format", help="md, html, csv, latex or plain.")] = "md",
    store: StoreDir = None,
) -> None:
    """A table of the records in the store: one row a cell, averaged over its seeds."""
    from molebench import report as tables
    from molebench import sweeping
    from molebench.store import Store

    workspace = opened(store)
    if file:
        records = [p.record for p in sweeping.planned(file, workspace) if p.record]
    else:
        records = list(Store(workspace.store).records())
    if not records:
        raise MolebenchError(f"no record below {workspace.store}; make one with molebench run, or name another --store")
    typer.echo(tables.store_table(records, form))


@data_app.command("fetch")
@plain_errors
def data_fetch(names: list[str], offline: Offline = False) -> None:
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


@app.command()
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


@app.command()
@plain_errors
def cite(name: str) -> None:
    """BibTeX of a plug-in's reference, and of molebench."""
    from molebench import describing

    typer.echo(describing.citations(name))
