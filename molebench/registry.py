"""Names to plug-ins: a file's name is what a user types, its docstring's first line is what `list` says.

Listing reads the files' text with `ast` and imports none of them. Building a plug-in imports its module,
finds the one object with a card, and checks every parameter against the annotation of its field.
"""

import ast
import functools
import hashlib
import importlib
import re
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import molebench
from molebench.errors import MolebenchError, unknown

if typing.TYPE_CHECKING:
    from molebench.cards import Card, UserPath

KINDS = ("attacks", "victims", "defenses", "datasets", "scorers", "extractors")


def folders(kind: str) -> list[Path]:
    """Where files of this kind stand: in the package, and beside it in a checkout."""
    return [folder for root in molebench.__path__ if (folder := Path(root) / kind).is_dir()]


def files(kind: str) -> dict[str, Path]:
    """Every plug-in file of this kind by name, sorted."""
    found = {f.stem: f for folder in folders(kind) for f in folder.glob("*.py") if not f.stem.startswith("_")}
    return dict(sorted(found.items()))


def source(kind: str, name: str) -> Path:
    """The file of a plug-in, or an error that names the nearest one."""
    there = files(kind)
    if name not in there:
        raise unknown(kind.rstrip("s"), name, there)
    return there[name]


def docstring(path: Path) -> str:
    """The docstring of a file, from its text."""
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


def summaries(kind: str) -> dict[str, str]:
    """Name to the first line of each file's docstring; imports nothing."""
    return {name: docstring(path).split("\n", 1)[0] for name, path in files(kind).items()}


def bibtex(kind: str, name: str) -> str:
    """The string constant BIBTEX of a plug-in's file, or ''."""
    for node in ast.parse(source(kind, name).read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "BIBTEX" for t in node.targets):
            return str(ast.literal_eval(node.value)).strip()
    return ""


def kinds_of(name: str) -> list[str]:
    """The kinds that have a plug-in of this name (a name may be taken once in each)."""
    return [kind for kind in KINDS if name in files(kind)]


@dataclass(frozen=True)
class Parameter:
    """One field of a plug-in: its annotation, its default and the line that its docstring says of it."""

    name: str
    annotation: Any
    default: Any
    meaning: str

    @property
    def allowed(self) -> str:
        """Type and range in words, such as 'int >= 1' or 'nn1 | nn2'."""
        return _words(self.annotation)

    @property
    def is_path(self) -> bool:
        """Whether it may name a user's file or folder."""
        return bool(self._path_marks)

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

    @property
    def card(self) -> "Card":
        """What its decorator attached."""
        return typing.cast("Card", self.make.card)

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The fields of the dataclass that a user may set, in order."""
        fixed = self.make.keywords if isinstance(self.make, functools.partial) else {}
        made = self.make.func if fixed else self.make
        hints = typing.get_type_hints(made, include_extras=True)
        return {
            f.name: Parameter(f.name, hints[f.name], f.default, _meaning(made.__doc__ or "", f.name))
            for f in fields(made)
            if f.name not in fixed
        }

    def resolve(self, given: Mapping[str, Any], profile: str) -> dict[str, Any]:
        """Every parameter's value: the field's default, then the profile's size, then what was given."""
        there = self.parameters
        for key in given:
            if key not in there:
                raise unknown(f"parameter of {self.kind} {self.name}", key, there)
        sizes = self.card.profiles.get(profile, {})
        if wrong := [key for key in sizes if key not in there]:
            raise unknown(f"parameter of {self.kind} {self.name} (its card's profile {profile})", wrong[0], there)
        values = {p.name: p.default for p in there.values() if p.default is not MISSING} | dict(sizes) | dict(given)
        part = self.name if self.kind == "defense" else self.kind
        if missing := [key for key in there if key not in values]:
            raise MolebenchError(f"{self.kind} {self.name} needs --set {part}.{missing[0]}=...")
        return {key: checked(f"{self.kind} {self.name}", there[key], values[key]) for key in there}

    def build(self, values: Mapping[str, Any]) -> Any:
        """The component, from checked values of every parameter."""
        return self.make(**values)


def find(kind: str, name: str) -> Plugin:
    """Imports the file of a plug-in and returns the one object in it that carries a card of this kind."""
    source(kind, name)
    module = importlib.import_module(f"molebench.{kind}.{name}")
    singular = kind.rstrip("s")
    made = [v for v in vars(module).values() if getattr(getattr(v, "card", None), "kind", None) == singular]
    if len(made) != 1:
        raise MolebenchError(
            f"{kind}/{name}.py defines {len(made)} objects marked @{singular}; a plug-in file defines exactly one"
        )
    return Plugin(singular, name, made[0], module)


def checked(who: str, parameter: Parameter, value: Any) -> Any:
    """The value in the type of its field, or an error that says what is allowed."""
    from pydantic import ValidationError

    if value == "none" and type(None) in typing.get_args(parameter.annotation):
        return None
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


@functools.cache
def code_sha256(module: str) -> str:
    """sha256 over the code of a module and of every molebench module that it imports, comments left out.

    What a component's results may depend on: editing a helper makes them stale, editing a docstring does not.
    """
    seen: dict[str, str] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in seen and (path := module_file(name)):
            tree = _bare(ast.parse(path.read_text("utf-8")))
            seen[name] = ast.dump(tree)
            todo += imports(tree)
    return hashlib.sha256("\n".join(f"{n}\n{seen[n]}" for n in sorted(seen)).encode()).hexdigest()


def module_file(name: str) -> Path | None:
    """The file of a molebench module, without importing it."""
    parts = name.split(".")
    if parts[0] != "molebench":
        return None
    for root in molebench.__path__:
        path = Path(root).joinpath(*parts[1:])
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file() and len(parts) > 1:
                return candidate
    return None


def imports(tree: ast.Module) -> list[str]:
    """The molebench modules that a module imports, at its top or inside a function."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("molebench"):
            found += [str(node.module), *(f"{node.module}.{a.name}" for a in node.names)]
        elif isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.startswith("molebench")]
    return found


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


def _bare(tree: ast.Module) -> ast.Module:
    """The tree without docstrings (comments are not in it)."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            body.pop(0)
    return tree


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
    match = re.search(rf"(?:^|[\s.;]){name}: (.+?)(?=(?:[.;]\s+\w+(?:, \w+)*: )|\Z)", doc, re.DOTALL)
    return re.sub(r"\s+", " ", match.group(1)).rstrip(".") if match else ""
