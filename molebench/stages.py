"""The stage cache: what was computed once is found again by what it was computed from.

A stage's key is the sha256 of its name and inputs (parameters, code hash, fingerprints, library versions).
Its value is a set of arrays in one safetensors file, written beside its place and renamed into it: it is
whole or it is not there. A file that no longer matches its own checksum counts as not there.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from molebench.errors import listed
from molebench.locks import held
from molebench.progress import say
from molebench.types import Array, fingerprint
from molebench.workspace import writing


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, finite numbers only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def key(value: Any) -> str:
    """sha256 of the canonical JSON of a value."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


Arrays = dict[str, Array]
LOCK = ".lock"


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Lets one process at a time make `path`; its folder exists inside."""
    with held(path.with_suffix(LOCK)):
        yield


def save_arrays(path: Path, arrays: Mapping[str, Array], note: str = "", durable: bool = True) -> None:
    """Arrays and a note in one safetensors file with a checksum over them, whole or not at all.

    durable: on the disk when this returns; what can be made again need not be.
    """
    whole = {k: np.require(v, requirements="C") for k, v in sorted(arrays.items())}
    # one entry, for safetensors writes several in an order that differs between processes
    with writing(path, durable) as temporary:
        temporary.write_bytes(save(whole, {"molebench": canonical([checksum(whole, note), note])}))


def load_arrays(path: Path) -> tuple[Arrays, str] | None:
    """What save_arrays wrote, or None where the file is missing, cut short or changed."""
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
            digest, note = json.loads((file.metadata() or {})["molebench"])
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None
    return (arrays, note) if digest == checksum(arrays, note) else None


def checksum(arrays: Mapping[str, Array], note: str) -> str:
    """sha256 over names, arrays and note."""
    return key([list(arrays), fingerprint(*arrays.values()), note])


@dataclass(frozen=True)
class Stages:
    """The cache of one run. seconds and reused tell, by stage, what this run spent and what it found. explain: hears of
    each stage whether it was there, and if not, what is different from the nearest one that is."""

    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)
    explain: Callable[[str], object] | None = None

    def get(self, name: str, inputs: Mapping[str, Any], compute: Callable[[], Arrays], label: str = "") -> Arrays:
        """The arrays of a stage: from the cache where its inputs are known, otherwise computed and kept.

        Two processes that want one stage at the same moment compute it once.
        """
        path = self.folder / name / f"{key({'stage': name, **inputs})}.safetensors"
        label = label or name
        if (found := load_arrays(path)) is None:
            with exclusive(path):
                if (found := load_arrays(path)) is None:
                    if path.exists():
                        say(f"{label}: what the cache holds of it is damaged; computing it again")
                    elif self.explain:
                        self.explain(f"{label}: computed: {why(path.parent, inputs)}")
                    start = time.perf_counter()
                    arrays = compute()
                    save_arrays(path, arrays, note=canonical(inputs), durable=False)
                    self.seconds[label] = self.seconds.get(label, 0.0) + time.perf_counter() - start
                    return arrays
        self.reused.append(label)
        if self.explain:
            self.explain(f"{label}: reused")
        with suppress(OSError):  # a cache that may only be read
            os.utime(path)  # `molebench store gc --cache` removes what has not been used for long
        return found[0]


# Why a stage has to run

NEAREST = 500  # stages of one name that are compared, the latest


def why(folder: Path, inputs: Mapping[str, Any]) -> str:
    """What of a stage's inputs is different from those of the nearest stage of its name in the cache."""
    files = sorted(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)[-NEAREST:]
    now = leaves(json.loads(canonical(inputs)))
    found = [different(leaves(then), now) for path in files if (then := inputs_of(path)) is not None]
    if not found:
        return "the cache has none of its kind"
    nearest: list[str] = min(found, key=len)
    return f"of the nearest in the cache it differs in {listed(nearest)}"


def inputs_of(path: Path) -> Any:
    """What a stage in the cache was computed from; None where that cannot be read."""
    try:
        with safe_open(path, framework="numpy") as file:
            return json.loads(json.loads((file.metadata() or {})["molebench"])[1])
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None


def leaves(value: Any, name: str = "") -> dict[str, Any]:
    """The plain values in nested mappings and lists, by path: versions.torch."""
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {path: leaf for key, each in items for path, leaf in leaves(each, f"{name}.{key}".strip(".")).items()}
    return {name: value}


def different(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The leaves that are not the same, with both values."""
    names = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
    return [f"{name} ({brief(then.get(name))} then, {brief(now.get(name))} now)" for name in names]


def brief(value: Any) -> str:
    """A value, a digest by its beginning."""
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:12]}..."
