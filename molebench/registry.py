"""Names to plug-ins: a file's name is what a user types, its docstring's first line is what `list` says.

Listing reads the files' text with `ast` and imports none of them. Building a plug-in imports its module,
finds the one object with a card, and checks every parameter against the annotation of its field.
"""

import ast
import contextlib
import functools
import importlib
import importlib.util
import re
import sys
import traceback
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from molebench import places
from molebench.codehash import FILES
from molebench.codehash import code_sha256 as code_sha256  # what calls itself by a name asks here
from molebench.errors import MolebenchError, unknown
from molebench.places import Place

if typing.TYPE_CHECKING:
    from molebench.cards import Card, UserPath

KINDS = places.KINDS
IN_TASKS = """Split: its classes come in tasks, which a continual victim learns one after another; into how many they
are split is a parameter of the victim, victim.tasks."""


def files(kind: str) -> dict[str, Path]:
    """Every plug-in file of this kind by name, sorted."""
    return {name: place.path for name, place in places.places(kind).items()}


def has(kind: str, name: str) -> bool:
    """Whether there is a plug-in of this name; a dataset may be named with `split:` too."""
    return places.plain(kind, name) in places.places(kind)


def place(kind: str, name: str) -> Place:
    """Where a plug-in is, or an error that names the nearest one."""
    there, own_name = places.places(kind), places.plain(kind, name)
    if own_name not in there:
        raise unknown(kind.rstrip("s"), name, alike(kind, name))
    return there[own_name]


def alike(kind: str, name: str) -> list[str]:
    """Every name of this kind, spelt as this one: with `split:` where it has that."""
    before = name.removesuffix(places.plain(kind, name))
    return [f"{before}{each}" for each in files(kind)]


def summaries(kind: str) -> dict[str, str]:
    """Name to the first line of each file's docstring; imports nothing."""
    return {name: place.docstring.split("\n", 1)[0] for name, place in places.places(kind).items()}


def bibtex(kind: str, name: str) -> str:
    """The string constant BIBTEX of a plug-in's file, or ''."""
    for node in places.parsed(place(kind, name).path).body:
        if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "BIBTEX" for t in node.targets):
            return str(node.value.value).strip() if isinstance(node.value, ast.Constant) else ""
    return ""


def kinds_of(name: str) -> list[str]:
    """The kinds that have a plug-in of this name (a name may be taken once in each)."""
    return [kind for kind in KINDS if has(kind, name)]


def provenance(kind: str, name: str) -> tuple[str, str]:
    """Whose code a component is, and of which version; a plug-in file's version is the digest of its code."""
    if kind not in (k.rstrip("s") for k in KINDS):
        return Place.origin, Place.version  # a scenario
    return from_whom(place(f"{kind}s", name))


def from_whom(where: Place) -> tuple[str, str]:
    """The same of one that was found."""
    return where.origin, where.version or f"sha256:{code_sha256(where.module)[:12]}"


@dataclass(frozen=True)
class Parameter:
    """One field of a plug-in: its annotation, its default and the line that its docstring says of it."""

    name: str
    annotation: Any
    default: Any
    meaning: str

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is MISSING

    @property
    def allowed(self) -> str:
        """Type and range in words, such as 'int >= 1' or 'nn1 | nn2'."""
        return _words(self.annotation)

    @property
    def is_path(self) -> bool:
        """Whether it may name a user's file or folder."""
        return bool(self._path_marks)

    @property
    def names(self) -> str:
        """The kind of plug-in that it names; '' where it names none."""
        from molebench.cards import NamesPlugin

        marks = getattr(self.annotation, "__metadata__", ())
        return next((m.kind for m in marks if isinstance(m, NamesPlugin)), "")

    @property
    def words(self) -> tuple[str, ...]:
        """What a path parameter may say instead of a path."""
        return self._path_marks[0].words if self._path_marks else ()

    @property
    def _path_marks(self) -> list["UserPath"]:
        from molebench.cards import UserPath

        return [m for m in getattr(self.annotation, "__metadata__", ()) if isinstance(m, UserPath)]


@dataclass(frozen=True)
class Plugin:
    """A plug-in that was found: its card, its parameters, and what makes it from them."""

    kind: str
    name: str
    make: Any
    module: ModuleType
    place: Place
    doc: str

    @property
    def card(self) -> "Card":
        """What its decorator attached."""
        return typing.cast("Card", self.make.card)

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The fields of the dataclass that a user may set, in order; a field that is a dataclass gives its own."""
        found: dict[str, Parameter] = {}
        for f, hint in self.fields:
            doc = str(self.made.__doc__)
            mine = settable(hint, f.default) if is_dataclass(hint) else [(f.name, hint, f.default, doc)]
            found |= {name: Parameter(name, kind, value, _meaning(text, name)) for name, kind, value, text in mine}
        return found

    @property
    def made(self) -> Any:
        """The dataclass behind a partial of it."""
        return self.make.func if isinstance(self.make, functools.partial) else self.make

    @property
    def fields(self) -> list[tuple[Any, Any]]:
        """Every field that its maker leaves open, with its annotation."""
        fixed = self.make.keywords if isinstance(self.make, functools.partial) else {}
        try:
            hints, there = typing.get_type_hints(self.made, include_extras=True), fields(self.made)
        except (NameError, TypeError, AttributeError) as error:
            raise MolebenchError(
                f"{self.place.shown}: {getattr(self.made, '__name__', self.made)} must be a dataclass whose "
                f"annotations can be read ({error}); write @dataclass(frozen=True) and import what its fields name"
            ) from error
        return [(f, hints[f.name]) for f in there if f.name not in fixed]

    def resolve(self, given: Mapping[str, Any], profile: str, modality: str = "image") -> dict[str, Any]:
        """Every parameter's value: the default, the modality's, then the profile's size, then what was given."""
        there = self.parameters
        for key in given:
            if key not in there:
                raise unknown(f"parameter of {self.kind} {self.name}", key, there)
        sizes = {**self.card.by_modality.get(modality, {}), **self.card.profiles.get(profile, {})}
        if wrong := [key for key in sizes if key not in there]:
            raise unknown(f"parameter of {self.kind} {self.name} (its card's {profile} or {modality})", wrong[0], there)
        values = {p.name: p.default for p in there.values() if p.default is not MISSING} | dict(sizes) | dict(given)
        part = self.name if self.kind == "defense" else self.kind
        if missing := [key for key in there if key not in values]:
            raise MolebenchError(f"{self.kind} {self.name} needs --set {part}.{missing[0]}=...")
        return {key: checked(f"{self.kind} {self.name}", there[key], values[key]) for key in there}

    def build(self, values: Mapping[str, Any]) -> Any:
        """The component, from checked values of every parameter."""
        own, made = dict(values), {}
        for f, hint in self.fields:
            if is_dataclass(hint):
                part: Any = hint
                made[f.name] = part(**{inner.name: own.pop(inner.name) for inner in fields(part)})
        return self.make(**own, **made)


def settable(part: Any, default: Any) -> list[tuple[str, Any, Any, str]]:
    """Name, annotation, default and documentation of each field of a part; the default part says the defaults."""
    hints = typing.get_type_hints(part, include_extras=True)
    usual = {f.name: f.default if default is MISSING else getattr(default, f.name) for f in fields(part)}
    return [(name, hints[name], value, str(part.__doc__)) for name, value in usual.items()]


def find(kind: str, name: str) -> Plugin:
    """Imports the file of a plug-in and returns the one object in it that carries a card of this kind."""
    where = place(kind, name)
    doc = where.docstring if name == where.name else f"{where.docstring}\n\n{IN_TASKS}"
    module = loaded(where)
    singular = kind.rstrip("s")
    made = [getattr(module, where.attribute, None)] if where.attribute else list(own(module))
    carded = [v for v in made if getattr(getattr(v, "card", None), "kind", None) == singular]
    if len(carded) != 1:
        raise MolebenchError(
            f"{where.shown} defines {len(carded)} objects marked @{singular}; a plug-in file defines exactly one"
        )
    return Plugin(singular, name, carded[0], module, where, doc)


def own(module: ModuleType) -> Iterator[Any]:
    """The objects of a module that carry a card, those that it imports from elsewhere left out."""
    borrowed = imported(places.parsed(Path(str(module.__file__))))
    for name, value in vars(module).items():
        if name not in borrowed and "card" in getattr(value, "__dict__", {}):
            yield value


@functools.lru_cache(maxsize=256)
def imported(tree: ast.Module) -> frozenset[str]:
    """The names that a file takes from others."""
    return frozenset(a.asname or a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names)


def loaded(where: Place) -> ModuleType:
    """The module of a plug-in; whatever goes wrong in it is one line that names the file."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what it prints must not mix with a command's own output
            module = (
                _from_file(where) if where.module.startswith(f"{FILES}.") else importlib.import_module(where.module)
            )
    except (Exception, SystemExit) as error:
        sys.modules.pop(where.module, None)  # half a module
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == where.path]
        at = f" (line {lines[-1]})" if lines else ""
        raise MolebenchError(
            f"{where.kind.rstrip('s')} {where.name}: {where.shown} cannot be imported: "
            f"{type(error).__name__}: {error}{at}"
        ) from error
    if Path(str(module.__file__)).resolve() != where.path.resolve():
        raise MolebenchError(
            f"{where.shown}: module {where.module} was loaded from {places.short(Path(str(module.__file__)))}; "
            "a plug-in has a module name of its own: rename it"
        )
    return module


def _from_file(where: Place) -> ModuleType:
    there = sys.modules.get(where.module)
    if there and there.__file__ == str(where.path):
        return there
    spec = importlib.util.spec_from_file_location(where.module, where.path)
    if spec is None or spec.loader is None:
        raise ImportError("no loader for this file")
    module = sys.modules[where.module] = importlib.util.module_from_spec(spec)  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def checked(who: str, parameter: Parameter, value: Any) -> Any:
    """The value in the type of its field, or an error that says what is allowed."""
    from pydantic import ValidationError

    if value == "none" and type(None) in typing.get_args(parameter.annotation):
        return None
    if type(value) is int and parameter.annotation is str:
        value = str(value)  # a class named 3, as YAML reads it
    try:
        return _adapter(parameter.annotation).validate_python(value)
    except ValidationError as error:
        raise MolebenchError(
            f"{who}: {parameter.name} = {value!r}; expected {parameter.allowed} (default {parameter.default!r})"
        ) from error


@functools.cache
def _adapter(annotation: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(annotation, config=ConfigDict(allow_inf_nan=False))


SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def _words(annotation: Any) -> str:
    """An annotation in words."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        marks = [f"{SIGNS[k]} {getattr(m, k):g}" for m in args[1:] for k in SIGNS if hasattr(m, k)]
        return f"{_words(args[0])} {' and '.join(marks)}".strip()
    if origin is typing.Literal:
        return " | ".join(str(a) for a in args)
    if args:
        return " or ".join(_words(a) for a in args)
    return "nothing" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))


def _meaning(doc: str, name: str) -> str:
    """What a class docstring says of one field: the sentence behind 'name: '."""
    match = re.search(rf"(?:^|[\s.;]){name}:\s+(.+?)(?=(?:[.;]\s+\w+(?:,\s+\w+)*:\s)|\Z)", doc, re.DOTALL)
    return re.sub(r"\s+", " ", match.group(1)).strip().rstrip(".") if match else ""
