"""What stands for a submission where its code must not be imported: a plug-in that is made of its form.

It has the name, the card and the parameters that the form states, and the moments that it declares; it is asked in a
jail alone (molebench.sandbox.jailing), where the plug-in that it stands for is.
"""

import sys
from dataclasses import field, make_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from molebench.cards import Card
from molebench.codehash import FILES, code_sha256
from molebench.errors import MolebenchError
from molebench.places import Place
from molebench.registry import Plugin
from molebench.submission.form import Form, FormCard, Scalar
from molebench.types import ThreatModel

ORIGIN = "submission"
CONTROLS = {"active": "unperturbed", "offline": "random_recruitment", "continual": "random_recruitment"}


def stand_in(form: Form, folder: Path, temporary: Path) -> Plugin:
    """The plug-in of a form. folder: the submission's. temporary: for what names its version."""
    kind, code = form.kind, named_by(form, folder, temporary)
    module, name = empty(form, code), f"{FILES}.{form.slug}"
    methods = form.card.moments if kind == "defense" else ("craft",)
    made: Any = make_dataclass(
        form.slug,
        [(parameter, Scalar, field(default=value)) for parameter, value in form.params.items()],
        namespace=dict.fromkeys(methods, asked_here) | {"__doc__": f"{form.title}.", "card": card(form)},
        frozen=True,
    )
    return Plugin(kind, form.slug, made, module, Place(f"{kind}s", form.slug, code, name, "", ORIGIN, ""), form.title)


def named_by(form: Form, folder: Path, temporary: Path) -> Path:
    """A file whose digest names the version of a submission: its source, or one that says which package it is."""
    code = temporary / f"{form.slug}.py"
    code.write_bytes(f"PACKAGE = {form.package!r}\n".encode() if form.package else (folder / form.source).read_bytes())
    return code


def empty(form: Form, code: Path) -> ModuleType:
    """A module of the name that the code would have; it is never run, and a digest is over its text."""
    module = sys.modules[f"{FILES}.{form.slug}"] = ModuleType(f"{FILES}.{form.slug}")
    module.__file__ = str(code)
    return module


def digest(form: Form, folder: Path) -> str:
    """sha256 over the code of a submission, as records have it."""
    with TemporaryDirectory(prefix="molebench-") as temporary:
        return code_sha256(empty(form, named_by(form, folder, Path(temporary))).__name__)


def asked_here(self: object, *shown: object) -> None:
    """Instead of any of its methods."""
    raise MolebenchError(f"{type(self).__name__} is a submission: it runs in a sandbox only; see molebench verify")


def card(form: Form) -> Card:
    """The card that a form states."""
    threat = threat_model(form.card) if form.kind == "attack" else None
    control = CONTROLS[form.card.scenarios[0]] if threat else None
    return Card(
        form.kind,
        form.paper or form.title,
        form.card.scenarios,
        threat,
        control,
        sees=form.card.sees,
        licence=form.licence,
    )


def threat_model(said: FormCard) -> ThreatModel:
    """What an attack may do and knows."""
    return ThreatModel(frozenset(said.may), frozenset(said.knows), said.norm, said.bound)
