"""The stage cache: what was computed once is found again by what it was computed from.

A stage's key is the sha256 of its name and inputs (parameters, code hash, fingerprints, library versions).
Its value is a set of arrays in one safetensors file, written beside its place and renamed into it: it is
whole or it is not there. A file that no longer matches its own checksum counts as not there.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from molebench.errors import cannot_write
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


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Lets one process at a time make `path`; its folder exists inside."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_suffix(".lock"))
        lock.acquire()
    except OSError as error:
        raise cannot_write(str(path.parent), error) from error
    try:
        yield
    finally:
        lock.release()


def save_arrays(path: Path, arrays: Mapping[str, Array], note: str = "") -> None:
    """Arrays and a note in one safetensors file with a checksum over them, whole or not at all."""
    whole = {k: np.require(v, requirements="C") for k, v in sorted(arrays.items())}
    # one entry, for safetensors writes several in an order that differs between processes
    with writing(path) as temporary:
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
    """The cache of one run. seconds and reused tell, by stage, what this run spent and what it found."""

    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)

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
                    start = time.perf_counter()
                    arrays = compute()
                    save_arrays(path, arrays, note=canonical(inputs))
                    self.seconds[label] = self.seconds.get(label, 0.0) + time.perf_counter() - start
                    return arrays
        self.reused.append(label)
        return found[0]
