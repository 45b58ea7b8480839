"""The form of a submission, submission.yaml: what somebody says of a defense, or of an attack that breaks some.

    schema: molebench.submission/1
    kind: defense                      # or attack: a break
    slug: lid_screen                   # the folder's name, and the plug-in's
    title: LID screen
    authors: [A. Author]
    licence: MIT
    card: {scenarios: [active], moments: [screen_pool, suspicion], sees: []}
    params: {share: 0.2, limit: 2.5}   # every parameter
    disclosure: {tuned_on_attacks: [feature_collision], trusted_data: none, extra_data: none, pretrained: none}
    claims:
      - {attack: feature_collision, victim: al_efficientnet_lite0, profile: tiny, seeds: [0, 1, 2],
         metric: delta_total_defended, value: 1.0, low: -4.0, high: 6.0}

It is all that is known of a submission where its code may not be imported: who asks the code builds what stands for it
from the card and the parameters here.
"""

import json
import keyword
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from molebench.errors import MolebenchError
from molebench.hooks import MOMENTS, SCENARIO_MOMENTS
from molebench.stages import key
from molebench.strict_yaml import load_mapping
from molebench.submission import texts
from molebench.submission.wording import Models, said
from molebench.types import KNOWS, MAY

FILE = "submission.yaml"
SCHEMA = "molebench.submission/1"
SLUG = re.compile(r"[a-z][a-z0-9_]{2,39}")
SOURCES = {"defense": "defense.py", "attack": "attack.py"}
LICENCES = (
    "MIT",
    "MIT-0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "Apache-2.0",
    "ISC",
    "Zlib",
    "MPL-2.0",
    "LGPL-2.1-only",
    "LGPL-2.1-or-later",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "CC0-1.0",
    "Unlicense",
    "0BSD",
)
MOST_SEEDS = 20
MOST_SEED = 2**31 - 1


def _plain(text: str) -> str:
    return _held(text, texts.line(text))


def _address(text: str) -> str:
    return _held(text, texts.link(text))


def _held(text: str, fault: str) -> str:
    if fault:
        raise ValueError(fault)
    return text


def _one_of(words: tuple[str, ...] | frozenset[str]) -> AfterValidator:
    def among(word: str) -> str:
        return _held(word, "" if word in words else f"is {word!r}; allowed: {', '.join(sorted(words))}")

    return AfterValidator(among)


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("names one twice")
    return values


Line = Annotated[str, Field(max_length=200), AfterValidator(_plain)]
Text = Annotated[str, Field(max_length=1_000), AfterValidator(_plain)]
Link = Annotated[str, Field(max_length=300), AfterValidator(_address)]
Name = Annotated[str, Field(max_length=80, pattern=r"^(split:)?[a-z][a-z0-9_]*$")]
Slug = Annotated[str, Field(pattern=rf"^{SLUG.pattern}$")]
Once = AfterValidator(_distinct)
Scenario = Annotated[str, _one_of(tuple(SCENARIO_MOMENTS))]
Moment = Annotated[str, _one_of((*MOMENTS, "suspicion"))]
Seen = Annotated[str, _one_of(("extractor", "trusted"))]
Scalar = bool | int | float | Line | None
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
Parameters = Annotated[Mapping[Annotated[str, Field(max_length=80)], Scalar], Field(max_length=50)]


def taken(name: str) -> bool:
    """Whether what stands for a submission has something else of this name, or can have nothing."""
    return keyword.iskeyword(name) or name.startswith("_") or name in (*MOMENTS, "suspicion", "card", "craft")


class Strict(BaseModel):
    """Takes what it knows, of the type that it says, and finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True, strict=True)


class FormCard(Strict):
    """Where it acts and what it is shown. moments, sees: a defense's. may, knows, norm, bound: an attack's."""

    scenarios: Annotated[tuple[Scenario, ...], Field(min_length=1), Once]
    moments: Annotated[tuple[Moment, ...], Once] = ()
    sees: Annotated[tuple[Seen, ...], Once] = ()
    may: Annotated[tuple[Annotated[str, _one_of(MAY)], ...], Once] = ()
    knows: Annotated[tuple[Annotated[str, _one_of(KNOWS)], ...], Once] = ()
    norm: Literal["l2", "linf"] | None = None
    bound: float | None = None


class Disclosure(Strict):
    """What a figure may owe to something else than the method; 'none' is an answer, silence is not."""

    tuned_on_attacks: Annotated[tuple[Name, ...], Field(max_length=50), Once]
    trusted_data: Text
    extra_data: Text
    pretrained: Text


class Claim(Strict):
    """A figure over seeds and its interval. attack: that a defense meets. defenses: that an attack goes against. set_:
    parameters of other parts, as --set has them."""

    victim: Name
    attack: Name | None = None
    dataset: Name | None = None
    defenses: Annotated[tuple[Name, ...], Field(max_length=10), Once] = ()
    profile: Literal["tiny", "small", "paper"]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=MOST_SEEDS), Once]
    set_: Parameters = Field(default_factory=dict, alias="set")
    metric: Annotated[str, Field(max_length=80)]
    value: float
    low: float
    high: float


class Form(Strict):
    """The whole of it."""

    schema_: Literal["molebench.submission/1"] = Field(alias="schema")
    kind: Literal["defense", "attack"]
    slug: Slug
    title: Line
    authors: Annotated[tuple[Line, ...], Field(min_length=1, max_length=50)]
    contact: Annotated[str, Field(pattern=r"^@?[A-Za-z0-9][A-Za-z0-9_.-]{0,38}$")] | None = None
    paper: Link | None = None
    code: Link | None = None
    licence: Annotated[str, _one_of(LICENCES)]
    supersedes: Slug | None = None
    package: Line | None = None
    card: FormCard
    params: Parameters
    disclosure: Disclosure
    claims: Annotated[tuple[Claim, ...], Field(min_length=1, max_length=20)]

    @field_validator("params")
    @classmethod
    def _names(cls, params: Mapping[str, Any]) -> Mapping[str, Any]:
        if wrong := [name for name in params if not (name.isidentifier() and name.isascii()) or taken(name)]:
            raise ValueError(
                f"{wrong[0]!r} is no name of a parameter; a word of Python's, a moment, card and what begins with _ "
                "are none"
            )
        return params

    @property
    def digest(self) -> str:
        """sha256 over all that it says."""
        return key(self.model_dump(mode="json", by_alias=True))

    @property
    def source(self) -> str:
        """The file that holds the code, where no package does."""
        return SOURCES[self.kind]


class Faulty(MolebenchError):
    """A submission that cannot be taken. faults: all that is wrong with it."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def content(folder: Path) -> dict[str, Any]:
    """What the file of a folder maps, as JSON has it; MolebenchError where it cannot be read."""
    found = load_mapping(folder / FILE, "submission", "schema, kind, slug, title, authors, licence")
    made: dict[str, Any] = json.loads(json.dumps(found, default=str))  # a date is a text
    return made


def validated(content: Mapping[str, Any]) -> Form:
    """The form that it is; pydantic's ValidationError where it is none."""
    return Form.model_validate_json(json.dumps(content))  # as JSON a list may be a tuple, and nothing else than it is


def neighbours(folder: Path, form: Form) -> dict[str, Form]:
    """The submitted defenses that a form's claims name, by slug: those whose folders are beside its own.
    Faulty where one of them does not hold."""
    named = {name for claim in form.claims for name in claim.defenses}
    there = (name for name in sorted(named) if (folder.absolute().parent / name / FILE).is_file())
    found = {name: beside(folder.absolute().parent / name) for name in there}
    return {name: each for name, each in found.items() if each.kind == "defense" and each.slug == name}


def read(folder: Path) -> Form:
    """The form of a submission's folder; Faulty with all that is wrong with it."""
    try:
        return validated(content(folder))
    except ValidationError as error:
        raise Faulty([f"{FILE}: {one}" for one in said(error, MODELS)]) from error
    except MolebenchError as error:
        raise Faulty([str(error)]) from error


def beside(folder: Path) -> Form:
    """The form of a submission that another one names; Faulty, where it has faults, with its name before each."""
    try:
        return read(folder)
    except Faulty as error:
        raise Faulty([f"{folder.name}, beside this one, does not hold: {fault}" for fault in error.faults]) from error


MODELS: Models = {"": Form, "card": FormCard, "disclosure": Disclosure, "claims": Claim}
