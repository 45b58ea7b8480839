"""The code behind a component: the file of a module, what it imports, and one sha256 over all of it.

What a component's results may depend on: editing a helper makes them stale, editing a comment or a docstring
does not. Nothing is imported to find out, and the digest is the same in every version of Python.
"""

import ast
import functools
import hashlib
import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import molebench

FILES = "molebench.plugins"  # modules of plug-in files are named below it; there is no such folder


def code_sha256(module: str) -> str:
    """sha256 over the code of a module and of every molebench module, or sibling of its own package, it imports."""
    return _sha256(module, module_file(module))


@functools.cache
def _sha256(module: str, file: Path | None) -> str:
    del file  # two plug-in files may have had one name in this process
    seen: dict[str, str] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in seen and (path := module_file(name)):
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            seen[name], further = _read(path, path.stat().st_mtime_ns, package)
            todo += further
    return hashlib.sha256("\n".join(f"{n}\n{seen[n]}" for n in sorted(seen)).encode()).hexdigest()


@functools.lru_cache(maxsize=1024)  # components share most of what they import
def _read(path: Path, changed: int, package: str) -> tuple[str, tuple[str, ...]]:
    """The code of a file as text, and the modules that it imports; read again only when the file has changed."""
    del changed
    tree = _bare(ast.parse(path.read_text("utf-8")))
    return canonical(tree), tuple(imports(tree, package))


def module_file(name: str) -> Path | None:
    """The file of a module, without importing it or any package around it; None where there is none."""
    top, *rest = name.split(".")
    if name.startswith(f"{FILES}."):
        loaded = getattr(sys.modules.get(name), "__file__", None)
        return Path(loaded) if loaded else None
    if top == "molebench":
        return next((f for root in molebench.__path__ if rest and (f := _file(Path(root).joinpath(*rest)))), None)
    spec = importlib.util.find_spec(top)
    for i in range(len(rest)):
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(".".join([top, *rest[: i + 1]]), list(spec.submodule_search_locations))
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _file(path: Path) -> Path | None:
    return next((f for f in (path.with_suffix(".py"), path / "__init__.py") if f.is_file()), None)


def imports(tree: ast.Module, package: str = "") -> list[str]:
    """The modules of molebench, and of the package's own family, that a module imports, inside a function too."""
    family = {"molebench", package.partition(".")[0]}
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            around = package.split(".")
            base = around[: len(around) + 1 - node.level] if node.level else []  # `from . import x`
            source = ".".join([*base, *([node.module] if node.module else [])])
            found += [source, *(f"{source}.{a.name}" for a in node.names)]
        elif isinstance(node, ast.Import):
            found += [a.name for a in node.names]
    return [name for name in found if name.partition(".")[0] in family]


def canonical(node: object) -> str:
    """A tree as text; fields that are empty are left out, since each version of Python adds some."""
    if isinstance(node, ast.AST):
        inside = [f"{name}={canonical(value)}" for name, value in ast.iter_fields(node) if value not in (None, [])]
        return f"{type(node).__name__}({', '.join(inside)})"
    if isinstance(node, list):
        return f"[{', '.join(canonical(part) for part in node)}]"
    return repr(node)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


def _bare(tree: ast.Module) -> ast.Module:
    """The tree without docstrings (comments are not in it)."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            body.pop(0)
    return tree
