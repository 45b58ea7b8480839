"""What there is and what it says of itself: `list`, `describe`, `cite`."""

import json
from typing import Annotated

import typer

from molebench.commands.shared import AsJson, plain_errors
from molebench.errors import unknown

LISTED = ("attacks", "victims", "defenses", "datasets", "extractors", "scorers", "benchmarks")


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


@plain_errors
def describe(name: str, as_json: AsJson = False) -> None:
    """A plug-in's card: what it is, what it may do, its parameters with types and ranges."""
    from molebench import describing

    cards = describing.cards(name)
    typer.echo(json.dumps(cards) if as_json else "\n\n".join(describing.text(card) for card in cards))


@plain_errors
def cite(name: str) -> None:
    """BibTeX of a plug-in's reference, and of molebench."""
    from molebench import describing

    typer.echo(describing.citations(name))
