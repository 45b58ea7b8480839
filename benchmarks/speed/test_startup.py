"""What a user waits for before anything happens: help, a list, and a cell that is there already.

    make bench

Whole processes. What must hold on two cores: help and list within 0.3 s, `run` on a cached cell within 2 s; the last is
found without importing PyTorch (molebench.recalling), which alone takes longer than all that is done.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.speed.figures import Figure, State
from molebench.workspace import Workspace
from tests.commands import SMALL, folders
from tests.conftest import ROOT, molebench

RUN = ("run", "--attack", "noise", *SMALL)
ROUNDS = 7


@pytest.mark.parametrize(
    ("words", "most"), [(("--help",), 0.3), (("list",), 0.3), (RUN, 2.0)], ids=["help", "list", "cached run"]
)
def test_a_command_answers_at_once(
    benchmark: BenchmarkFixture, state: State, words: tuple[str, ...], most: float, tmp_path: Path
) -> None:
    home = folders(Workspace.from_environment(store=tmp_path / "store"))
    molebench(*words, env=home)  # the cell is run, files are read from the disk, bytecode is compiled
    seconds: list[float] = []

    def once() -> None:
        start = time.perf_counter()
        assert molebench(*words, env=home).returncode == 0
        seconds.append(time.perf_counter() - start)

    benchmark.pedantic(once, rounds=ROUNDS, iterations=1)  # type: ignore[no-untyped-call]
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], cwd=ROOT, check=True)
    benchmark.extra_info["import torch, s"] = round(time.perf_counter() - start, 2)
    name, taken = f"molebench {words[0]}" + ", cell cached" * (words == RUN), statistics.median(seconds)
    state(Figure("start-up", name, taken, "s", most=most))
    assert taken <= most
