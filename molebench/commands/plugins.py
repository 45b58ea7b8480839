"""What there is and what it says of itself: `list`, `describe`, `cite`, `conformance`; and a draft: `new`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from molebench.commands.shared import AsJson, Offline, Plugins, opened, plain_errors
from molebench.errors import unknown

EDITORS = "# yaml-language-server: $schema=sweep.schema.json"  # says where the schema of a sweep file is
LISTED = ("attacks", "victims", "defenses", "datasets", "extractors", "scorers", "benchmarks")


@plain_errors
def list_(
    kind: Annotated[str | None, typer.Argument(help=" | ".join(LISTED))] = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
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
        elif kind:
            typer.echo(f"no {k} yet")


def summaries(kind: str) -> dict[str, str]:
    """Name to summary of one kind; a benchmark's is its first comment, after the one for editors."""
    from molebench import places, registry

    if kind != "benchmarks":
        return registry.summaries(kind)
    files = {f.stem: f for folder in places.folders("benchmarks") for f in sorted(folder.glob("*.yaml"))}
    texts = {name: f.read_text("utf-8").removeprefix(f"{EDITORS}\n") for name, f in files.items()}
    return {name: text.split("\n", 1)[0].lstrip("# ") for name, text in texts.items()}


@plain_errors
def describe(name: str, plugin: Plugins = None, as_json: AsJson = False) -> None:
    """A plug-in's card: what it is, what it may do, its parameters with types and ranges."""
    from molebench import describing

    cards = describing.cards(name)
    typer.echo(json.dumps(cards, default=str) if as_json else "\n\n".join(describing.text(card) for card in cards))


@plain_errors
def cite(name: str, plugin: Plugins = None) -> None:
    """BibTeX of a plug-in's reference, and of molebench."""
    from molebench import describing

    typer.echo(describing.citations(name))


@plain_errors
def conformance(
    what: Annotated[str, typer.Argument(metavar="PATH|NAME", help="File of a plug-in, or the name of one.")],
    plugin: Plugins = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Ask a plug-in everything that our own are asked by the tests; a line a question, exit code 4 for a fault."""
    from molebench import conformance as asking
    from molebench.questions.bench import Bench

    bench, faulty = Bench(opened(offline=offline)), False
    rows: list[dict[str, object]] = []
    for each in asking.named(what):
        if not as_json:
            typer.echo(f"{each.kind} {each.name}, {each.place.shown}")
        for finding in asking.asked(each, bench):
            faulty |= bool(finding.faults)
            rows.append({"kind": each.kind, "name": each.name, **finding._asdict()})
            if not as_json:
                typer.echo(asking.line(finding))
    if as_json:
        typer.echo(json.dumps(rows))
    if faulty:
        raise typer.Exit(4)


@plain_errors
def new(
    kind: Annotated[str, typer.Argument(help="attack | victim | defense | dataset")],
    name: Annotated[str, typer.Argument(help="What will be typed on the command line, such as my_attack.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path(),
    plugin: Plugins = None,
) -> None:
    """Write NAME.py and test_NAME.py: a plug-in that works, to write your own over."""
    from molebench import drafts

    file, test = drafts.draft(kind, name, out)
    typer.echo(drafts.next_steps(kind, name, file, test))
