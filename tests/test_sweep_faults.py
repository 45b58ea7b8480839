"""Whatever a cell does, the others end, the failure is named, the exit code says so. Null plug-ins, real processes."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.null_sweeps import begun, files, molebench, record_texts, sweep_file

FAULTS = {
    "raises": "the null victim was told to fail",
    "crashes": "the worker process was killed by SIGSEGV; it last said: about to read address 0",
    "exits": "the worker process ended with exit code 7",
    "hangs": "--timeout allows 8",
    "eats": "are allowed; try --memory",
    "full": "the disk is full",
}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str, str]:
    """A sweep of which one cell of two goes wrong, in every way that there is."""
    home = tmp_path_factory.mktemp("faulty")
    file = sweep_file(home, 2, {"behaves": list(FAULTS), "seeds": "1"})
    return home, *molebench(home, "sweep", str(file), "--workers", "2", "--timeout", "8", "--memory", "0.9")


def test_the_others_end_and_the_exit_code_is_three(faulty: tuple[Path, int, str, str]) -> None:
    home, code, out, err = faulty
    assert code == 3, err
    assert len(record_texts(home)) == len(FAULTS)
    assert f"{len(FAULTS)} of {2 * len(FAULTS)} cells have a record" in out


@pytest.mark.parametrize("fault", FAULTS)
def test_every_failure_is_named_at_the_end_and_noted(fault: str, faulty: tuple[Path, int, str, str]) -> None:
    home, _, _, err = faulty
    last = err.strip().splitlines()[-1]
    assert last.startswith(f"molebench: {len(FAULTS)} cells failed: ")
    assert FAULTS[fault] in last
    notes = [json.loads(path.read_text("utf-8")) for path in home.glob("store/cells/*/attempts/*.json")]
    (note,) = [n for n in notes if n["cell"]["victim"]["parameters"]["behaves"] == fault]
    assert FAULTS[fault] in note["message"]
    assert note["cell"]["seed"] == 1


def test_nothing_but_records_and_notes_is_left(faulty: tuple[Path, int, str, str]) -> None:
    home = faulty[0]
    strange = [name for name in files(home) if Path(name).parts[0] not in ("cells", "poisons", "store.json", "groups")]
    assert strange == []
    assert not [name for name in files(home) if Path(name).name.startswith(".") or name.endswith(".lock")]


def test_failed_runs_those_that_failed_and_retries_are_tries_more(tmp_path: Path) -> None:
    file = sweep_file(tmp_path, 3, {"behaves": "raises", "seeds": "1", "once": str(tmp_path)})
    code, _, err = molebench(tmp_path, "sweep", str(file), "--no-keep-going", "--workers", "1")
    assert (code, len(record_texts(tmp_path))) == (3, 1)
    assert "1 cells were not run" in err
    code, out, err = molebench(tmp_path, "sweep", str(file), "--failed")
    assert code == 0, err
    assert "2 of 3 cells have a record" in out
    (tmp_path / "tried-1").unlink()
    again = sweep_file(tmp_path, 2, {"behaves": "crashes", "seeds": "1", "once": str(tmp_path)}, "again")
    code, out, err = molebench(tmp_path, "sweep", str(again), "--retries", "1")
    assert (code, "2 of 2 cells have a record" in out) == (0, True), err


def test_a_store_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where the folder should be", "utf-8")
    code, _, err = molebench(tmp_path, "sweep", str(sweep_file(tmp_path, 2)))
    assert code in (2, 3)
    assert "a part of that path is a file" in err.splitlines()[-1]


def begun_with_a_cell(home: Path, file: Path) -> subprocess.Popen[str]:
    """A sweep that has just begun its first cell."""
    process = begun(home, "sweep", str(file), "--workers", "2", "--progress", "jsonl")
    for line in process.stderr or ():
        if '"started"' in line:
            break
    return process


def test_ctrl_c_lets_cells_in_flight_end_and_begins_no_other(tmp_path: Path) -> None:
    process = begun_with_a_cell(tmp_path, sweep_file(tmp_path, 8, {"seconds": 2.0}))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert len(record_texts(tmp_path)) in (1, 2)
    assert "are left; run the same command to go on" in err.splitlines()[-1]


def test_ctrl_c_twice_stops_at_once(tmp_path: Path) -> None:
    process = begun_with_a_cell(tmp_path, sweep_file(tmp_path, 2, {"seconds": 600.0}))
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert (process.returncode, record_texts(tmp_path)) == (130, {})


def test_workers_of_a_killed_sweep_end_with_it(tmp_path: Path) -> None:
    import psutil

    process = begun(tmp_path, "sweep", str(sweep_file(tmp_path, 2, {"seconds": 60.0})), "--progress", "jsonl")
    assert process.stderr
    for line in process.stderr:
        if '"progress"' in line:
            break
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
