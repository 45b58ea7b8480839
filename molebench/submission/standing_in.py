"""What stands for a submission where its code must not be imported: a plug-in that is made of its form.

It has the name, the card and the parameters that the form states, and the moments that it declares; it is asked in a
jail alone (molebench.sandbox.jailing), where the plug-in that it stands for is.
"""

import sys
from dataclasses import field, make_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from molebench.cards import Card
from molebench.codehash import FILES
from molebench.errors import MolebenchError
from molebench.places import Place
from molebench.registry import Plugin
from molebench.submission.form import Form, FormCard, Scalar
from molebench.types import ThreatModel

ORIGIN = "submission"
CONTROLS = {"active": "unperturbed", "offline": "random_recruitment", "continual": "random_recruitment"}


def stand_in(form: Form, code: Path) -> Plugin:
    """The plug-in of a form. code: the file whose digest names its version."""
    name, kind = f"{FILES}.{form.slug}", form.kind
    module = ModuleType(name)
    module.__file__ = str(code)  # never run: a digest is over its text
    sys.modules[name] = module
    methods = form.card.moments if kind == "defense" else ("craft",)
    made: Any = make_dataclass(
        form.slug,
        [(parameter, Scalar, field(default=value)) for parameter, value in form.params.items()],
        namespace=dict.fromkeys(methods, asked_here) | {"__doc__": f"{form.title}.", "card": card(form)},
        frozen=True,
    )
    return Plugin(kind, form.slug, made, module, Place(f"{kind}s", form.slug, code, name, "", ORIGIN, ""), form.title)


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
