"""Sweeps of null plug-ins, run by the command as a user runs it, in processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PLUGINS = sorted((ROOT / "tests" / "null_plugins").glob("*.py"))
VARYING = ("started", "durations", "peak_memory_mib", "reused", "record_sha256")  # of one run to the next


def environment(home: Path, **more: str) -> dict[str, str]:
    """Folders of one's own, and the null plug-ins."""
    ours = {
        "MOLEBENCH_DATA": str(home / "data"),
        "MOLEBENCH_CACHE": str(home / "cache"),
        "MOLEBENCH_STORE": str(home / "store"),
        "MOLEBENCH_PLUGINS": os.pathsep.join(map(str, PLUGINS)),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    return {**os.environ, **ours, **more}


def begun(home: Path, *words: str, **more: str) -> subprocess.Popen[str]:
    """The command, begun."""
    command = [sys.executable, "-m", "molebench", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment(home, **more), text=True, stdout=pipe, stderr=pipe, cwd=home)


def molebench(home: Path, *words: str, **more: str) -> tuple[int, str, str]:
    """The command: exit code, standard output, standard error."""
    process = begun(home, *words, **more)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def sweep_file(home: Path, seeds: int, victim: Mapping[str, Any] | None = None, name: str = "null") -> Path:
    """A sweep of the null victim over so many seeds."""
    path = home / f"{name}.yaml"
    content = {"attack": "null_attack", "victim": {"null_victim": dict(victim or {})}, "seed": list(range(seeds))}
    path.write_text(json.dumps(content), "utf-8")
    return path


def record_texts(home: Path) -> dict[str, str]:
    """Each record's text without what varies from run to run, by key."""
    found = {}
    for path in sorted((home / "store" / "cells").glob("*/record.json")):
        content = json.loads(path.read_text("utf-8"))
        found[path.parent.name] = json.dumps({k: v for k, v in content.items() if k not in VARYING}, sort_keys=True)
    return found


def files(home: Path) -> list[str]:
    """Every file of the store but pictures."""
    store = home / "store"
    return sorted(path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file())
