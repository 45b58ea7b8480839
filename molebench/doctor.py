"""`molebench doctor`: what works on this machine and what does not, each with the way to mend it."""

import importlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from molebench import provenance, registry
from molebench.errors import MolebenchError
from molebench.registry import Plugin
from molebench.store import Store
from molebench.workspace import Workspace


class Finding(NamedTuple):
    """One line of the doctor's: ok is None where it is only something to know."""

    what: str
    ok: bool | None
    says: str


def examine(workspace: Workspace) -> Iterator[Finding]:
    """Every check, in order; none of them downloads anything."""
    for library in ("torch", "torchvision", "timm", "open_clip", "soundfile"):
        yield _imports(library)
    yield Finding("threads", None, str(provenance.threads()))
    for name, folder in (("cache", workspace.cache), ("store", workspace.store)):
        yield _writes(name, folder)
        yield _room(name, folder)
    yield _data(workspace)
    for kind in ("extractors", "scorers"):
        for name in registry.files(kind):
            yield from _weights(registry.find(kind, name), workspace)
    npm = shutil.which("npm")
    yield Finding("npm", None, "on the PATH" if npm else "absent; a wheel that carries node is fetched when needed")
    yield Finding("network", None, "not used (offline)" if workspace.offline else "used for what is missing")


def _imports(library: str) -> Finding:
    try:
        module = importlib.import_module(library)
    except ImportError as error:
        return Finding(library, False, f"cannot be imported ({error}); install molebench again")
    return Finding(library, True, str(getattr(module, "__version__", "present")))


def _writes(name: str, folder: Path) -> Finding:
    try:
        Store(folder).check()
    except MolebenchError as error:
        return Finding(f"{name} folder", False, str(error))
    return Finding(f"{name} folder", True, str(folder))


def _room(name: str, folder: Path) -> Finding:
    there = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(there).free / 2**30
    return Finding(f"{name} room", free > 2, f"{free:.1f} GiB free; the paper profile wants about 2")


def _data(workspace: Workspace) -> Finding:
    if not workspace.data.is_dir():
        return Finding("MOLEBENCH_DATA", None, f"{workspace.data} is absent; embedded datasets work without it")
    there = ", ".join(sorted(f.name for f in workspace.data.iterdir())) or "empty"
    return Finding("MOLEBENCH_DATA", True, f"{workspace.data}: {there}")


def _weights(plugin: Plugin, workspace: Workspace) -> Iterator[Finding]:
    published = [str(p.default) for p in plugin.parameters.values() if p.is_path]
    kept = workspace.cache / "weights" / f"{'-'.join([plugin.name, *published])}.safetensors"
    if published and kept.is_file():
        yield Finding(f"{plugin.name} weights", True, "in the cache")
    elif published:
        get = f"fetched on first use, or by: molebench data fetch {plugin.name}"
        yield Finding(f"{plugin.name} weights", None, get)
