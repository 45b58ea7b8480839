"""A sweep that is killed, at any moment and again and again, ends as one that was not."""

import os
import random
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.null_sweeps import begun, files, molebench, record_texts, sweep_file

CELLS = 40
VICTIM = {"seconds": 0.04}
FIRST, LAST = 0.5, 3.0  # seconds after its beginning at which a sweep is killed


def whole(home: Path) -> tuple[dict[str, str], list[str]]:
    """A sweep that nobody kills: its records, and the names of its files."""
    home.mkdir()
    code, _, err = molebench(home, "sweep", str(sweep_file(home, CELLS, VICTIM)), "--workers", "2", "--no-plots")
    assert code == 0, err
    return record_texts(home), files(home)


def killed(home: Path, rng: random.Random) -> None:
    """Begins the sweep and kills it at a random moment: alone, or with all its workers at once, as a power cut does."""
    process = begun(home, "sweep", str(sweep_file(home, CELLS, VICTIM)), "--workers", "2", "--progress", "none")
    time.sleep(rng.uniform(FIRST, LAST))
    family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    for pid in family if rng.random() < 0.5 else family[:1]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.communicate(timeout=20)


def raw(home: Path) -> dict[str, bytes]:
    """The bytes of every record."""
    return {path.parent.name: path.read_bytes() for path in home.glob("store/cells/*/record.json")}


def survives(home: Path, kills: int, seed: int) -> None:
    """Kills a sweep so often, from the beginning again where it is done, and compares what it ends with."""
    rng, (records, names) = random.Random(seed), whole(home / "whole")
    left = kills
    while left:
        broken = home / f"broken-{left}"
        broken.mkdir()
        before: dict[str, bytes] = {}
        while left and len(before) < CELLS:
            killed(broken, rng)
            left -= 1
            after = raw(broken)
            assert {key: after[key] for key in before} == before, "a cell ran again that had a record"
            before = after
        code, _, err = molebench(broken, "sweep", str(sweep_file(broken, CELLS, VICTIM)), "--no-plots")
        assert code == 0, err
        assert {key: raw(broken)[key] for key in before} == before
        assert record_texts(broken) == records
        assert files(broken) == names


def test_a_sweep_that_is_killed_again_and_again_ends_as_one_that_was_not(tmp_path: Path) -> None:
    survives(tmp_path, kills=6, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_fifty_kills_lose_the_cells_in_flight_and_nothing_else(tmp_path: Path) -> None:
    survives(tmp_path, kills=50, seed=1)
