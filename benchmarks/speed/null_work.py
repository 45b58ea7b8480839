"""A sweep of null cells, from nothing, as a user runs it."""

import json
import time
from pathlib import Path
from typing import Any

from tests.null_sweeps import molebench


def swept(home: Path, seeds: int, workers: int, victim: dict[str, Any] | None = None) -> float:
    """Seconds of a sweep from nothing."""
    home.mkdir(parents=True)
    file = home / "sweep.yaml"
    content = {"attack": "null_attack", "victim": {"null_victim": victim or {}}, "seed": list(range(seeds))}
    file.write_text(json.dumps(content), "utf-8")
    start = time.perf_counter()
    words = ("sweep", str(file), "--workers", str(workers), "--no-plots", "--progress", "none")
    code, _, err = molebench(home, *words)
    assert code == 0, err
    return time.perf_counter() - start
