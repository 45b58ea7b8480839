"""What is at hand: getting the datasets and weights that a run will need, and checking what was got before.

Checking reads only. It goes through the published files that datasets know (in MOLEBENCH_DATA, where a system keeps
them, among the downloads) and through everything that was converted into the cache, which carries its own checksum.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from molebench import registry
from molebench.errors import unknown
from molebench.grid import resolve
from molebench.originals import Original
from molebench.places import plain
from molebench.registry import Plugin
from molebench.stages import load_arrays
from molebench.sweep_file import load_sweep
from molebench.workspace import Workspace

KINDS = {"datasets": "data", "extractors": "weights", "scorers": "weights"}  # kind to its folder in the cache


@dataclass(frozen=True)
class Wanted:
    """A dataset, an extractor or a scorer to get, with every parameter."""

    plugin: Plugin
    values: dict[str, Any]

    def get(self, workspace: Workspace) -> str:
        """Gets it, so that later runs need no connection, and says what it is."""
        loaded = self.plugin.build(self.values).load(workspace)
        if self.plugin.kind != "dataset":
            weights = f"weights from {w.source}, sha256 {w.sha256}" if (w := loaded[1]) else "has no weights to get"
            return f"{self.plugin.name}: {weights}"
        sizes = ", ".join(f"{split} {len(samples)}" for split, samples in loaded.splits.items())
        return f"{self.plugin.name}: {sizes}, {len(loaded.classes)} classes"


def named(names: Iterable[str]) -> list[Wanted]:
    """The datasets, extractors and scorers of these names, with their defaults."""
    plugins = [registry.find(_kind(name), name) for name in names]
    return [Wanted(plugin, plugin.resolve({}, "small")) for plugin in plugins]


def needed(sweep: Path) -> list[Wanted]:
    """Every dataset, extractor and scorer of a sweep's cells, each once."""
    found: dict[str, Wanted] = {}
    for cell in load_sweep(sweep).cells():
        for part in resolve(cell).parts.values():
            if f"{part.plugin.kind}s" in KINDS:
                found.setdefault(f"{part.name} {part.values}", Wanted(part.plugin, part.values))
    return list(found.values())


class Checked(NamedTuple):
    """One thing that was looked at. says: where it is, or what to do about it."""

    what: str
    state: Literal["ok", "absent", "DAMAGED", "note"]
    says: str


def examined(names: Sequence[str], workspace: Workspace) -> Iterator[Checked]:
    """Every published file and converted one of these datasets, extractors and scorers; of all where none is named."""
    there = _there()
    wanted = [plain(_kind(name), name) for name in names]
    for name in dict.fromkeys(wanted) or there:
        kept = [f for f in _kept(there[name], workspace) if _owner(f, there) == name]
        yield from (_converted(file, name) for file in kept)
        known = _originals(name) if there[name] == "datasets" else _weighted(there[name], name)
        if names and not kept and not known:
            yield Checked(name, "note", "nothing to check: no published checksum is known, and nothing is converted")
        if there[name] == "datasets":
            yield from (c for original in _originals(name) for c in _original(original, bool(kept), workspace))
        elif known and not kept:
            yield Checked(f"{name} weights", "absent", f"molebench data fetch {name}")
    if not names:
        folders = {folder: kind for kind, folder in KINDS.items()}  # of the kinds that share one, one
        strays = [f for kind in folders.values() for f in _kept(kind, workspace) if _owner(f, there) not in there]
        yield from (_converted(file, "") for file in strays)


def _originals(dataset: str) -> Sequence[Original]:
    """The published files that a dataset knows; most know none."""
    found: Sequence[Original] = getattr(registry.find("datasets", dataset).make, "originals", tuple)()
    return found


def _weighted(kind: str, name: str) -> bool:
    """Whether a plug-in has weights of its own: a parameter that may be the path of some."""
    return any(parameter.is_path for parameter in registry.find(kind, name).parameters.values())


def _kind(name: str) -> str:
    """Whether this is a dataset, an extractor or a scorer; refused where it is none of them."""
    if not (kinds := [kind for kind in KINDS if registry.has(kind, name)]):
        raise unknown("dataset, extractor or scorer", name, [n for kind in KINDS for n in registry.alike(kind, name)])
    return kinds[-1]


def _there() -> dict[str, str]:
    """Every dataset, extractor and scorer, to its kind."""
    return {name: kind for kind in KINDS for name in registry.files(kind)}


def _kept(kind: str, workspace: Workspace) -> list[Path]:
    """The converted files of one kind."""
    folder = workspace.cache / KINDS[kind]
    return sorted(f for f in folder.glob("*.safetensors") if not f.name.startswith("."))


def _owner(file: Path, there: Iterable[str]) -> str:
    """Whose a converted file is: NAME-something.safetensors."""
    return next((name for name in there if file.name.startswith(f"{name}-")), "")


def _converted(file: Path, name: str) -> Checked:
    what = f"{name or file.parent.name} converted {file.name}"
    if load_arrays(file):
        return Checked(what, "ok", "as it was written")
    again = f", then run: molebench data fetch {name}" if name else ""
    return Checked(what, "DAMAGED", f"its content is not what was written; remove {file}{again}")


def _original(original: Original, converted: bool, workspace: Workspace) -> Iterator[Checked]:
    what = f"{original.dataset} file {original.name}"
    for path in (places := list(original.places(workspace))):
        fault = original.fault(path)
        says = f"{path} {fault}; {original.remedy(path, workspace)}" if fault else f"as published: {path}"
        yield Checked(what, "DAMAGED" if fault else "ok", says)
    if not places:
        get = "not needed: it is converted already" if converted else f"molebench data fetch {original.dataset}"
        kept = sum(f.stat().st_size for f in original.partials(workspace))
        yield Checked(what, "absent", f"{get}{f' (goes on after {kept} bytes)' if kept else ''}")
