"""Locks between processes: one holder at a time, nobody waits for the dead, and no file stays."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from molebench import locks
from molebench.errors import MolebenchError
from molebench.locks import busy, free, grasped, held, unlocked

ROOT = Path(__file__).parents[1]
TIMES, PROCESSES = 200, 4

HOLDS = """
import sys, time
from pathlib import Path
from molebench.locks import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def holder(path: Path, text: str = HOLDS) -> "subprocess.Popen[str]":
    """A process that holds a lock until it is killed."""
    words = [sys.executable, "-c", text, str(path)]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def kill(process: "subprocess.Popen[str]") -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


# adds one so many times, in a way that loses count where two do it at once
COUNTS = f"""
import sys
from pathlib import Path
from molebench.locks import held
lock = Path(sys.argv[1])
count = lock.with_name("count")
for _ in range({TIMES}):
    with held(lock):
        before = int(count.read_text())
        count.write_text(str(before + 1))
"""


def test_of_processes_that_hammer_one_lock_one_holds_it_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0", "utf-8")
    words = [sys.executable, "-c", COUNTS, str(tmp_path / "a.lock")]
    processes = [subprocess.Popen(words, cwd=ROOT) for _ in range(PROCESSES)]
    assert [process.wait(60) for process in processes] == [0] * PROCESSES
    assert (tmp_path / "count").read_text("utf-8") == str(PROCESSES * TIMES)
    assert [f.name for f in tmp_path.iterdir()] == ["count"]  # the lock's file is there only while it is held


def test_who_does_not_wait_is_told_and_who_waits_says_so_once(tmp_path: Path) -> None:
    path, said = tmp_path / "sub" / "a.lock", list[str]()
    process = holder(path)
    with held(path, wait=False) as ours:
        assert not ours
    assert busy(path)
    assert not free(path)
    begun = time.monotonic()

    def waiting() -> None:
        said.append("waiting")
        kill(process)

    with held(path, waiting=waiting) as ours:
        assert ours
        assert path.exists()
        with held(path, wait=False) as again:  # this process again, by another descriptor
            assert not again
    assert said == ["waiting"]
    assert time.monotonic() - begun < 10
    assert not path.exists()
    assert not busy(path)


def test_the_lock_of_a_killed_process_is_free_and_the_next_holder_removes_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    kill(holder(path))
    assert path.exists()
    assert not busy(path)
    with held(path, wait=False) as ours:
        assert ours
    assert list(tmp_path.iterdir()) == []
    kill(holder(path))
    assert free(path)
    assert list(tmp_path.iterdir()) == []


def test_a_block_that_fails_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), held(tmp_path / "a.lock"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_file_removed_before_its_lock_was_had_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real, opened = tmp_path / "a.lock", locks.locked, list[int]()

    def slow(handle: int, wait: bool) -> bool:
        opened.append(handle)
        if len(opened) == 1:
            path.unlink()  # as its holder does between our opening and our locking it
        return real(handle, wait)

    monkeypatch.setattr(locks, "locked", slow)
    handle = grasped(path)
    assert handle is not None
    assert len(opened) == 2
    assert os.path.samestat(os.fstat(handle), path.stat())
    unlocked(handle)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MolebenchError, match=r"cannot write below .*file"), held(tmp_path / "file" / "a.lock"):
        pass


# Where the file system has no flock


def refuse(handle: int, operation: int) -> None:
    raise OSError(errno.ENOSYS, "no flock here")


MARKS = f"""
import fcntl
def refuse(handle, operation):
    raise OSError({errno.ENOSYS}, "no flock here")
fcntl.flock = refuse
{HOLDS}"""


def test_without_flock_a_marker_takes_its_place_and_one_of_a_dead_process_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / "a.lock"
    process = holder(path, MARKS)
    assert [f.name for f in tmp_path.iterdir()] == ["a.lock.soft"]
    assert busy(path)
    with held(path, wait=False) as ours:
        assert not ours
    kill(process)
    assert [f.name for f in tmp_path.iterdir()] == ["a.lock.soft"]
    with held(path) as ours:
        assert ours
        with held(path, wait=False) as again:
            assert not again
    assert list(tmp_path.iterdir()) == []
