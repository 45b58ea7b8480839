"""A store that several processes share, that breaks, fills up, or that another version of molebench wrote."""

import errno
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from molebench.errors import MolebenchError
from molebench.index import Index
from molebench.store import Attempt, Store, load_records, read_record
from molebench.upkeep import garbage
from molebench.verifying import verified
from molebench.workspace import settled, writing
from tests.null_sweeps import begun, files, molebench
from tests.stored import ARMS, FIRST, KEY, copied, fill, seeded

ROOT = Path(__file__).parents[1]
RUN = ("run", "--attack", "null_attack", "--victim", "null_victim", "--no-plots")


def only(home: Path) -> Path:
    """The one record there is."""
    (path,) = home.glob("store/cells/*/record.json")
    return path


# Two processes, one cell


def test_two_runs_of_one_cell_at_once_compute_it_once(tmp_path: Path) -> None:
    words = (*RUN, "--set", "victim.seconds=1", "--json")
    both = [process.communicate(timeout=60) for process in [begun(tmp_path, *words) for _ in range(2)]]
    (one,), (other,) = (json.loads(out) for out, _ in both)
    assert one == other  # its durations and its seal too
    waited = f"another process is at cell {one['key'][:12]}; waiting for it"
    assert sum(waited in err for _, err in both) == 1
    assert [f for f in files(tmp_path) if not f.startswith("cells/")] == [
        f"poisons/{one['poison']['sha256']}.safetensors",
        "store.json",
    ]


def test_who_does_not_wait_is_told_that_the_cell_is_busy(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.locked(KEY), store.locked(KEY, wait=False) as ours:
        assert not ours
    with store.locked(KEY, wait=False) as ours:
        assert ours
    assert list((tmp_path / "locks").iterdir()) == []


def test_failures_noted_at_one_moment_each_have_a_number(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: store.failed(KEY, {"type": "E", "message": str(i)}), range(24)))
    found = store.attempts(KEY)
    assert [attempt.number for attempt in found] == list(range(1, 25))
    assert sorted(int(attempt.message) for attempt in found) == list(range(24))
    assert list((tmp_path / "locks").iterdir()) == []


def test_attempts_say_when_and_how_long_and_old_or_broken_ones_are_read_too(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.failed(KEY, {"type": "CellFailed", "message": "old"})
    store.failed(KEY, {"type": "CellFailed", "message": "new", "started": "2026-01-02T03:04:05+00:00", "seconds": 1.5})
    store.failed(KEY, {})
    assert store.attempts(KEY) == [
        Attempt(1, "CellFailed", "old"),
        Attempt(2, "CellFailed", "new", "2026-01-02T03:04:05+00:00", 1.5),
        Attempt(3, "unreadable", "03.json cannot be read"),
    ]
    assert store.attempts("0" * 64) == []


def test_a_cell_that_fails_keeps_its_attempt_when_it_has_a_record(tmp_path: Path) -> None:
    once = ("--set", "victim.behaves=raises", "--set", "victim.seeds=0", "--set", f"victim.once={tmp_path}")
    assert molebench(tmp_path, *RUN, *once)[0] == 3
    assert molebench(tmp_path, *RUN, *once)[0] == 0
    (attempt,) = Store(tmp_path / "store").attempts(only(tmp_path).parent.name)
    assert attempt.type == "CellFailed"
    assert attempt.started
    assert attempt.seconds is not None
    assert len(load_records(tmp_path / "store")) == 1


# Damage


def test_a_damaged_record_is_named_set_aside_and_its_cell_run_again(tmp_path: Path) -> None:
    assert molebench(tmp_path, *RUN)[0] == 0
    path = only(tmp_path)
    text = path.read_text("utf-8")
    damaged = {"is damaged": text[:-20], "was changed after it": text.replace('"threads":', '"threadz":')}
    for number, (said, broken) in enumerate(damaged.items(), start=1):
        path.write_text(broken, "utf-8")
        there = {f.name: f.read_bytes() for f in path.parent.iterdir()}
        code, _, err = molebench(tmp_path, *RUN)
        assert code == 0
        (line,) = [line for line in err.splitlines() if said in line]
        assert line.startswith(f"record {path.parent.name[:12]}/record.json {said}")
        assert line.endswith(f"-{number:02d}-damaged")
        aside = tmp_path / "store" / "superseded" / f"{path.parent.name}-{number:02d}-damaged"
        assert {f.name: f.read_bytes() for f in aside.iterdir()} == there
        assert read_record(path).key == path.parent.name


def test_a_whole_store_is_not_read_past_a_damaged_record(tmp_path: Path) -> None:
    store = copied(tmp_path / "store")
    (key,) = fill(store, range(1, 2))
    (store.cell(KEY) / "record.json").write_text("{", "utf-8")
    with pytest.raises(MolebenchError, match=rf"record {KEY[:12]}/record\.json is damaged .* run its cell again"):
        load_records(store.folder)  # a table or a board without it would look whole
    assert store.get(key)


# Other versions


def test_a_store_that_a_newer_version_wrote_is_refused_and_left_untouched(tmp_path: Path) -> None:
    assert molebench(tmp_path, *RUN)[0] == 0
    assert json.loads((tmp_path / "store" / "store.json").read_text("utf-8")) == {"schema": "molebench.store/1"}
    (tmp_path / "store" / "store.json").write_text('{"schema": "molebench.store/2", "shards": 16}', "utf-8")
    before = {f: (tmp_path / "store" / f).read_bytes() for f in files(tmp_path)}
    refused = r"was written by a newer molebench \(schema molebench\.store/2; this one knows up to molebench\.store/1\)"
    code, out, err = molebench(tmp_path, *RUN)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert re.search(refused, err)
    store = Store(tmp_path / "store")
    actions: dict[str, Callable[[], object]] = {
        "report": lambda: load_records(store.folder),
        "sweep": lambda: Index.of(store, tmp_path / "cache"),
        "gc": lambda: list(garbage(store)),
        "verify": lambda: list(verified(store)),
        "commit": lambda: store.commit(seeded(1)),
        "failed": lambda: store.failed(KEY, {}),
        "doctor": store.check,
    }
    for action in actions.values():
        with pytest.raises(MolebenchError, match=refused):
            action()
    assert {f: (tmp_path / "store" / f).read_bytes() for f in files(tmp_path)} == before


def test_a_record_that_a_newer_version_wrote_is_refused_and_never_set_aside(tmp_path: Path) -> None:
    assert molebench(tmp_path, *RUN)[0] == 0
    path = only(tmp_path)
    path.write_text(path.read_text("utf-8").replace("molebench.result/1", "molebench.result/2"), "utf-8")
    before = path.read_bytes()
    code, _, err = molebench(tmp_path, *RUN)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "was written by a newer molebench (schema molebench.result/2" in err
    assert path.read_bytes() == before
    assert not (tmp_path / "store" / "superseded").exists()


def test_a_store_whose_schema_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for text in ("", "[]", '{"schema": 1}', '{"schema": "x/1"}', "\xff"):
        (tmp_path / "store.json").write_text(text, "latin-1")
        with pytest.raises(MolebenchError, match=r"store\.json is damaged .*remove that file"):
            Store(tmp_path).get(KEY)


def test_a_store_of_the_first_version_says_nothing_and_is_read(tmp_path: Path) -> None:
    store = copied(tmp_path / "store")
    assert not (store.folder / "store.json").exists()
    store.commit(seeded(1))
    assert json.loads((store.folder / "store.json").read_text("utf-8")) == {"schema": "molebench.store/1"}
    assert {record.seeds["cell"] for record in store.records()} == {0, 1}


# What comes from elsewhere


def travelled(store: Store) -> dict[str, bytes]:
    """A store as it travels."""
    return {f.relative_to(store.folder).as_posix(): f.read_bytes() for f in store.folder.rglob("*") if f.is_file()}


def test_a_cell_run_elsewhere_is_taken_over_once(tmp_path: Path) -> None:
    sent, store = travelled(Store(FIRST)), Store(tmp_path)
    assert store.adopt(KEY, sent | {"store.json": b"{}", f"cells/{KEY}/../../x": b"", "cells/other/y": b""})
    assert travelled(store) == sent | {"store.json": b'{"schema":"molebench.store/1"}\n'}
    assert not store.adopt(KEY, sent)
    assert not store.adopt(KEY, {})


def test_a_cell_that_came_back_damaged_leaves_nothing(tmp_path: Path) -> None:
    sent = travelled(Store(FIRST))
    record = f"cells/{KEY}/record.json"
    with pytest.raises(MolebenchError, match="is damaged"):
        Store(tmp_path).adopt(KEY, sent | {record: sent[record][:-9]})
    assert list(tmp_path.iterdir()) == []


# What is written


DIES = """
import os, sys
from pathlib import Path
from molebench.workspace import writing
with writing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half, " * 99)
    os.kill(os.getpid(), 9)
"""


def test_what_a_dead_writer_left_is_taken_over_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    done = subprocess.run([sys.executable, "-c", DIES, str(path)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [f.name for f in tmp_path.iterdir()] == [".a.txt.tmp"]
    with writing(path) as temporary:
        assert temporary.read_bytes() == b""
        with writing(path) as other:  # somebody else at the same moment has a file of his own
            assert other != temporary
            other.write_text("other", "utf-8")
        assert path.read_text("utf-8") == "other"
        temporary.write_text("whole", "utf-8")
    assert {f.name: f.read_text("utf-8") for f in tmp_path.iterdir()} == {"a.txt": "whole"}


def test_a_record_has_its_name_only_once_all_else_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, record, seen = Store(tmp_path), seeded(1), list[tuple[str, bool]]()
    path = store.cell(record.key) / "record.json"

    def noted(handle: int) -> None:
        place = Path(f"/proc/self/fd/{handle}").readlink()
        seen.append((place.name, path.exists()))

    monkeypatch.setattr(os, "fsync", noted)
    store.save_predictions(record.key, ARMS[0], {"y": np.zeros(3, np.int64)})
    store.commit(record)
    key = record.key
    assert seen == [
        (f".{ARMS[0]}.safetensors.tmp", False),
        (".store.json.tmp", False),
        (key, False),  # the names of the data
        (".record.json.tmp", False),
        (key, True),
    ]


def test_a_folder_of_a_file_system_that_cannot_sync_folders_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    (tmp_path / "a").write_text("")
    monkeypatch.setattr(os, "fsync", refuse)
    settled(tmp_path)
    with pytest.raises(OSError, match="Invalid"):
        settled(tmp_path / "a")


# Full, or read-only


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fills_up_or_turns_read_only_leaves_nothing_that_counts(
    number: int, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    store, record = Store(tmp_path), seeded(1)
    store.stamp()
    monkeypatch.setattr(os, call, refuse)
    monkeypatch.setattr(Path, "replace", lambda *_: refuse()) if call == "replace" else None
    with pytest.raises(MolebenchError, match=r"cannot write below .*; nothing half-written was left; free some"):
        store.commit(record)
    assert [f.name for f in tmp_path.rglob("*") if f.is_file()] == ["store.json"]
    assert store.get(record.key) is None


def test_a_run_whose_files_may_not_grow_is_one_line_and_leaves_no_record(tmp_path: Path) -> None:
    tiny = (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, tiny)
    try:
        process = begun(tmp_path, *RUN, "--offline")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert err.splitlines()[-1].startswith("molebench: cannot write below ")
    assert "Traceback" not in err
    assert list(tmp_path.rglob("record.json")) == []
    assert list(tmp_path.rglob("*.tmp")) == []


def test_a_failure_that_cannot_be_noted_is_said_and_still_the_failure(tmp_path: Path) -> None:
    once = ("--set", "victim.behaves=raises", "--set", "victim.seeds=0")
    code, _, err = molebench(tmp_path, *RUN, *once)
    assert code == 3
    (attempts,) = tmp_path.glob("store/cells/*/attempts")
    for file in attempts.iterdir():
        file.unlink()
    attempts.rmdir()
    attempts.write_text("", "utf-8")  # where notes should go, there is no folder
    code, _, again = molebench(tmp_path, *RUN, *once)
    assert code == 3
    assert "the failure could not be noted: cannot write below" in again
    assert again.splitlines()[-1] == err.splitlines()[-1]
