"""Where plug-ins are: in our folders, in other distributions' entry points, in files given with --plugin.

Everything is read from names and text: a plug-in is not imported before it is used, so `molebench list` stays
quick. A name is taken once in each kind. Files come by MOLEBENCH_PLUGINS (paths as in PATH), which `--plugin`
extends for this process and the processes that it starts.
"""

import ast
import functools
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import molebench
from molebench.codehash import FILES, module_file
from molebench.errors import MolebenchError

KINDS = ("attacks", "victims", "defenses", "datasets", "scorers", "extractors")
VARIABLE = "MOLEBENCH_PLUGINS"
SPLIT = "split:"  # before a dataset's name: the same plug-in, its classes come in tasks
GROUP = "molebench."  # entry points: molebench.attacks, molebench.victims, ...


@dataclass(frozen=True)
class Place:
    """One plug-in, found but not imported. attribute: the object in the module, where an entry point names one."""

    kind: str
    name: str
    path: Path
    module: str
    attribute: str = ""
    origin: str = "molebench"
    version: str = molebench.__version__

    @property
    def shown(self) -> str:
        """The file for a message, with no path of this machine: its folder and name, and whose it is."""
        return f"{short(self.path)} ({self.origin})"

    @property
    def docstring(self) -> str:
        """What the file says of itself; refused where it says nothing."""
        if text := ast.get_docstring(parsed(self.path)):
            return text
        raise MolebenchError(
            f"{self.kind.rstrip('s')} {self.name}: {self.shown} has no docstring; its first line is what "
            "molebench list shows: open the file with one short sentence"
        )


def places(kind: str) -> dict[str, Place]:
    """Every plug-in of this kind by name, sorted."""
    found: dict[str, Place] = {}
    for place in (*ours(kind), *installed(kind), *given(kind)):
        there = found.setdefault(place.name, place)
        if there is not place and there.path.resolve() != place.path.resolve():
            raise MolebenchError(
                f"{kind.rstrip('s')} {place.name} of {place.shown} has a taken name: it is {there.shown}; "
                "rename one of them"
            )
    return dict(sorted(found.items()))


def plain(kind: str, name: str) -> str:
    """The name of the file behind a name: a dataset's is the same with and without `split:`."""
    return name.removeprefix(SPLIT) if kind == "datasets" else name


def folders(kind: str) -> list[Path]:
    """Where our files of this kind stand: in the package, and beside it in a checkout."""
    return [folder for root in molebench.__path__ if (folder := Path(root) / kind).is_dir()]


def ours(kind: str) -> Iterator[Place]:
    """The files in our folders."""
    for folder in folders(kind):
        for file in sorted(folder.glob("*.py")):
            if not file.stem.startswith("_"):
                yield Place(kind, file.stem, file, f"molebench.{kind}.{file.stem}")


def installed(kind: str) -> Iterator[Place]:
    """The plug-ins that other distributions declare in the entry point group `molebench.<kind>`."""
    for group, name, value, origin, version in declared(tuple(sys.path)):
        if group == GROUP + kind:
            module, _, attribute = value.partition(":")
            who = f"{kind.rstrip('s')} {name} of distribution {origin}"
            path = module_file(module)
            if path is None or module.split(".")[0] == "molebench":
                raise MolebenchError(
                    f"{who}: its entry point names {value!r}, which is no module of its own; expected package.module"
                )
            yield Place(kind, _named(who, name), path, module, attribute, origin, version)


@functools.cache
def declared(path: tuple[str, ...]) -> tuple[tuple[str, str, str, str, str], ...]:
    """Group, name, value, distribution and version of every entry point of ours on sys.path."""
    files = (f for p in path for pattern in ("dist", "egg") for f in Path(p).glob(f"*.{pattern}-info/entry_points.txt"))
    if not any(f"[{GROUP}".encode() in f.read_bytes() for f in files):
        return ()  # importlib.metadata takes longer to import than all the rest of `molebench list`
    from importlib.metadata import entry_points

    found = [e for kind in KINDS for e in entry_points(group=GROUP + kind)]
    return tuple((e.group, e.name, e.value, e.dist.name, e.dist.version) for e in found if e.dist)


def given(kind: str) -> Iterator[Place]:
    """The plug-in files of this kind that --plugin or the environment names."""
    for path in files():
        name = _named(f"plug-in file {path.name}", path.stem)
        if kind_of(path) == kind:
            yield Place(kind, name, path, f"{FILES}.{name}", origin="plugin file", version="")


def files() -> list[Path]:
    """The plug-in files that the environment names, as absolute paths; two of one name are refused."""
    found: dict[str, Path] = {}
    for word in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        path = Path(word).expanduser().absolute()
        there = found.setdefault(path.stem, path)
        try:
            same = there.resolve() == path.resolve()
        except (OSError, RuntimeError) as error:
            raise MolebenchError(f"plug-in file {path} cannot be found: {error}") from error
        if not same:
            raise MolebenchError(f"two plug-in files are named {path.name}: {there} and {path}; rename one of them")
    return list(found.values())


def use(paths: Iterable[Path]) -> None:
    """Adds plug-in files for this process and the processes that it starts."""
    added = [str(path.expanduser().absolute()) for path in paths]
    if wrong := [path for path in added if os.pathsep in path]:
        raise MolebenchError(f"plug-in file {wrong[0]}: a path with {os.pathsep!r} cannot be handed on; move the file")
    os.environ[VARIABLE] = os.pathsep.join([*filter(None, [os.environ.get(VARIABLE)]), *added])


def kind_of(path: Path) -> str:
    """The kind of a plug-in file, from the one decorator of molebench.cards in it."""
    if len(marks := list(marked(parsed(path)))) != 1:
        kinds = ", ".join(f"@{kind.rstrip('s')}" for kind in KINDS)
        raise MolebenchError(
            f"plug-in file {short(path)} defines {len(marks)} objects marked by molebench.cards; expected exactly "
            f"one of {kinds}"
        )
    return marks[0]


def marked(tree: ast.Module) -> Iterator[str]:
    """The kind of each object at a file's top level that a decorator of molebench.cards marks."""
    names = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "molebench.cards"
        for alias in node.names
    }
    for node in tree.body:
        calls = node.decorator_list if isinstance(node, ast.ClassDef | ast.FunctionDef) else _applied(node)
        for call in calls:
            mark = call.func if isinstance(call, ast.Call) else call
            name = mark.attr if isinstance(mark, ast.Attribute) else names.get(getattr(mark, "id", ""), "")
            if f"{name}s" in KINDS:
                yield f"{name}s"


def _applied(node: ast.stmt) -> list[ast.expr]:
    """The decorator of `name = victim(...)(made)`."""
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    return [value.func] if isinstance(value, ast.Call) and isinstance(value.func, ast.Call) else []


def parsed(path: Path) -> ast.Module:
    """A file's tree, or why it cannot be read in one line; parsed again only when the file has changed."""
    try:
        return _tree(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise MolebenchError(f"plug-in file {path} cannot be read: {error.strerror}") from error
    except (SyntaxError, ValueError) as error:
        why = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else str(error)
        raise MolebenchError(f"plug-in file {short(path)} is not Python: {why}") from error


@functools.lru_cache(maxsize=256)
def _tree(path: Path, changed: int) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def short(path: Path) -> str:
    """A file by its folder and name."""
    return f"{path.parent.name}/{path.name}"


def _named(who: str, name: str) -> str:
    if name.isidentifier() and not name.startswith("_"):
        return name
    raise MolebenchError(
        f"{who}: {name!r} cannot be a plug-in's name; expected letters, digits and _, beginning with a letter"
    )
