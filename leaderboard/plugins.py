"""What an attack, victim, defense or dataset of this installation says of itself, read from its file as text.

Nothing is imported, so that the board needs neither torch nor trust in a plug-in; a plug-in that is not installed here
has no card, and its page says what the records say.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from molebench import registry
from molebench.hooks import MOMENTS
from molebench.places import parsed, plain

KINDS = ("attack", "victim", "defense", "dataset")
WORDS = ("paper", "licence", "cost", "control", "scenario", "scenarios", "dataset", "modality", "band", "sees")
TITLES = {"scenario": "scenarios", "dataset": "default dataset", "band": "healthy accuracy", "control": "its control"}


@dataclass(frozen=True)
class Card:
    """summary: the first line of its file; text: the rest. facts: what its decorator says, in words.

    may, knows: of an attack. moments: when a defense acts.
    """

    kind: str
    name: str
    summary: str
    text: str
    paper: str
    facts: Mapping[str, str]
    may: tuple[str, ...]
    knows: tuple[str, ...]
    sees: tuple[str, ...]
    moments: tuple[str, ...]
    bibtex: str


def installed(kind: str) -> dict[str, Card | None]:
    """The cards of this kind that are here, by name."""
    return {name: card(kind, name) for name in registry.files(f"{kind}s")}


def card(kind: str, name: str) -> Card | None:
    """The card of a plug-in; None where this installation has none of that name."""
    kinds = f"{kind}s"
    if not registry.has(kinds, name):
        return None
    tree = parsed(registry.place(kinds, name).path)
    summary, _, text = (ast.get_docstring(tree) or "").partition("\n")
    said = declared(tree, kind)
    threat = said.pop("threat", {})
    return Card(
        kind=kind,
        name=name,
        summary=summary,
        text=text.strip(),
        paper=str(said.get("paper", "")),
        facts={TITLES.get(word, word): in_words(said[word]) for word in WORDS if said.get(word) and word != "paper"},
        may=tuple(sorted(threat.get("may", ()))),
        knows=tuple(sorted(threat.get("knows", ()))),
        sees=tuple(said.get("sees", ())),
        moments=moments(tree) if kind == "defense" else (),
        bibtex=registry.bibtex(kinds, plain(kinds, name)),
    )


def declared(tree: ast.Module, kind: str) -> dict[str, Any]:
    """What stands in a plug-in's decorator, as far as it is written out there."""
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == kind]
    words = {word.arg: word.value for word in calls[0].keywords if word.arg} if calls else {}
    found = {name: literal(value) for name, value in words.items() if name != "threat"}
    if isinstance(threat := words.get("threat"), ast.Call):
        found["threat"] = {word.arg: literal(word.value) or () for word in threat.keywords if word.arg}
    return {name: value for name, value in found.items() if value is not None}


def literal(node: ast.expr) -> Any:
    """The value that an expression writes out, frozenset({...}) included; None of any other."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "frozenset" and len(node.args) == 1:
        node = node.args[0]
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def in_words(value: Any) -> str:
    """A declared value for people."""
    if isinstance(value, tuple | list):
        return (" to " if all(isinstance(v, float) for v in value) else ", ").join(str(v) for v in value)
    return str(value)


def moments(tree: ast.Module) -> tuple[str, ...]:
    """The moments that methods of a file's classes are named after."""
    methods = (node for each in tree.body if isinstance(each, ast.ClassDef) for node in each.body)
    there = {node.name for node in methods if isinstance(node, ast.FunctionDef)}
    return tuple(moment for moment in MOMENTS if moment in there)


def paragraphs(text: str) -> Iterator[str]:
    """The parts of a docstring between empty lines, each as it is laid out."""
    return (part for part in text.split("\n\n") if part.strip())
