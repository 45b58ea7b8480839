"""Looking after a store: what verify finds, what gc takes, and what neither touches."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from molebench.errors import MolebenchError
from molebench.index import place
from molebench.locks import held
from molebench.record import Record
from molebench.stages import Stages, load_arrays, save_arrays
from molebench.store import Store
from molebench.upkeep import Garbage, cache_garbage, garbage, removable, removed, tidied
from molebench.verifying import verified
from molebench.workspace import Workspace, writing
from tests.commands import typed
from tests.stored import ARMS, FIRST, KEY, copied, fill, seeded

ROOT = Path(__file__).parents[1]
POISON = "cdf970771d1debcc0283132f2fb02ec4be2004c82581637a8b6de96645214395"
LONG = 10 * 86_400.0  # seconds


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return copied(tmp_path / "store")


@pytest.fixture
def cell(store: Store) -> Path:
    return store.cell(KEY)


@pytest.fixture
def home(store: Store, tmp_path: Path) -> Workspace:
    """That store, and a cache."""
    return Workspace(tmp_path / "data", tmp_path / "cache", store.folder, offline=True)


def aged(path: Path, seconds: float = LONG) -> Path:
    """The same path, last touched so long ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


# verify


def test_a_whole_store_is_whole_and_left_as_it_is(store: Store) -> None:
    (store.cell(KEY) / "summary.png").write_bytes(b"")
    store.failed(KEY, {"type": "CellFailed", "message": "once"})
    before = files(store.folder)
    assert list(verified(store)) == []
    assert files(store.folder) == before


def test_the_committed_records_are_whole_and_go_without_poisons() -> None:
    assert list(verified(Store(ROOT / "leaderboard" / "results"))) == []


def flip(path: Path) -> None:
    """Changes the last byte."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def resealed(cell: Path, change: Callable[[Record], Record]) -> None:
    """Changes a record as its maker could have."""
    path = cell / "record.json"
    path.write_text(change(Record.model_validate_json(path.read_bytes())).sealed().text(), "utf-8")


def miscounted(record: Record) -> Record:
    """A record that counts one more item as right."""
    arm = record.arms[ARMS[0]]
    better = arm.model_copy(update={"correct": [arm.correct[0] + 1, *arm.correct[1:]]})
    return record.model_copy(update={"arms": {**record.arms, ARMS[0]: better}})


def poison(cell: Path) -> Path:
    return cell.parents[1] / "poisons" / f"{POISON}.safetensors"


def other_poison(cell: Path) -> None:
    """Whole, but not the poison of that name."""
    found = load_arrays(poison(cell))
    assert found
    save_arrays(poison(cell), {**found[0], "y": found[0]["y"] + 1})


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "a record cut short": (lambda cell: flip(cell / "record.json"), "is damaged"),
    "a record of another cell": (
        lambda cell: (cell / "record.json").write_text(seeded(1).text(), "utf-8"),
        "its key is not that of its cell",
    ),
    "a key that is not its cell's": (
        lambda cell: resealed(cell, lambda r: r.model_copy(update={"cell": {**r.cell, "seed": 1}})),
        "its key is not that of its cell",
    ),
    "predictions missing": (
        lambda cell: (cell / f"{ARMS[0]}.safetensors").unlink(),
        "clean_undefended.safetensors is missing or changed",
    ),
    "predictions changed": (
        lambda cell: flip(cell / f"{ARMS[0]}.safetensors"),
        "clean_undefended.safetensors is missing or changed",
    ),
    "predictions of another arm": (
        lambda cell: save_arrays(cell / f"{ARMS[0]}.safetensors", {"y": np.zeros(20, np.int64)}),
        "clean_undefended.safetensors is missing or changed",
    ),
    "better counts": (
        lambda cell: resealed(cell, miscounted),
        "the counts of clean_undefended are not those of clean_undefended.safetensors",
    ),
    "no poison": (lambda cell: poison(cell).unlink(), "its poison cdf970771d1d is missing or damaged"),
    "a broken poison": (lambda cell: flip(poison(cell)), "its poison cdf970771d1d is missing or damaged"),
    "another poison": (other_poison, "its poison cdf970771d1d is missing or damaged"),
    "a broken illustration": (
        lambda cell: (cell / "illustration.safetensors").write_bytes(b""),
        "illustration.safetensors is damaged; remove it",
    ),
    "a file of nobody's": (
        lambda cell: (cell / "better.safetensors").write_bytes(b""),
        "better.safetensors: no record names it",
    ),
}


@pytest.mark.parametrize(("spoil", "said"), SPOILT.values(), ids=SPOILT)
def test_what_does_not_hold_is_one_line(spoil: Callable[[Path], object], said: str, store: Store, cell: Path) -> None:
    spoil(cell)
    (fault,) = verified(store)
    assert fault.where == KEY[:12]
    assert said in fault.says
    assert "\n" not in fault.says


# gc


def killed_run(store: Store) -> str:
    """What a killed run leaves: data without a record, a lock, files half-written; the cell's key."""
    key = seeded(1).key
    text = (
        "import os, sys; from pathlib import Path; from molebench.store import Store; "
        "from molebench.workspace import writing; import numpy as np\n"
        "store, key = Store(Path(sys.argv[1])), sys.argv[2]\n"
        "with store.locked(key):\n"
        "    store.save_predictions(key, 'arm', {'y': np.zeros(3, np.int64)})\n"
        "    with writing(store.folder / 'poisons' / 'p.safetensors'), writing(store.cell(key) / 'record.json'):\n"
        "        os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", text, str(store.folder), key], cwd=ROOT, check=False)
    left = {f"cells/{key}/arm.safetensors", f"cells/{key}/.record.json.tmp", "poisons/.p.safetensors.tmp"}
    assert files(store.folder).keys() - files(FIRST).keys() == {*left, f"locks/{key}.lock"}
    return key


def test_what_a_killed_run_left_goes_and_all_else_stays(store: Store) -> None:
    killed_run(store)
    found = list(garbage(store))
    assert {item.kind for item in found} == {"temporary", "lock", "unfinished"}
    assert all(removable(item) for item in found)
    assert files(store.folder).keys() > files(FIRST).keys()  # asking removes nothing
    assert all(removed(item) for item in found)
    assert files(store.folder) == files(FIRST)
    assert [f.name for f in (store.folder / "cells").iterdir()] == [KEY]
    assert list(garbage(store)) == []


def test_a_sweep_tidies_what_is_outside_of_cells(store: Store) -> None:
    key = killed_run(store)
    assert {path.name for path in tidied(store)} == {".p.safetensors.tmp", f"{key}.lock"}
    assert {name for name in files(store.folder) if not name.startswith("cells/")} == {f"poisons/{POISON}.safetensors"}
    assert tidied(store) == []


def test_what_somebody_holds_stays(store: Store) -> None:
    key = seeded(1).key
    with store.locked(key), writing(store.cell(key) / "arm.safetensors"), writing(store.folder / "poisons" / "p"):
        found = list(garbage(store))
        assert {item.kind for item in found} == {"temporary", "lock", "unfinished"}
        before = files(store.folder)
        assert not any(removable(item) for item in found)
        assert not any(removed(item) for item in found)
        assert tidied(store) == []
        assert files(store.folder) == before


def test_a_cell_that_has_got_its_record_meanwhile_stays(store: Store) -> None:
    key = killed_run(store)
    (item,) = (item for item in garbage(store) if item.kind == "unfinished")
    store.commit(seeded(1))
    assert not removable(item)
    assert not removed(item)
    assert store.get(key)


def test_attempts_stay_what_is_beside_them_goes(store: Store) -> None:
    key = seeded(1).key
    store.save_predictions(key, "arm", {"y": np.zeros(3, np.int64)})
    store.failed(key, {"type": "E", "message": "m"})
    assert [removed(item) for item in garbage(store)] == [True]
    assert [f.name for f in store.cell(key).iterdir()] == ["attempts"]
    assert len(store.attempts(key)) == 1
    assert list(garbage(store)) == []


def test_an_empty_cell_goes(store: Store) -> None:
    store.cell("e" * 64).mkdir()
    assert [removed(item) for item in garbage(store)] == [True]
    assert not store.cell("e" * 64).exists()


def test_a_poison_that_no_record_names_goes_once_it_is_old(store: Store) -> None:
    path = store.folder / "poisons" / f"{'a' * 64}.safetensors"
    save_arrays(path, {"x": np.zeros(1)})
    assert list(garbage(store)) == []  # a cell that runs now may be about to name it
    aged(path)
    aged(store.folder / "poisons" / f"{POISON}.safetensors")  # old, and named
    (item,) = garbage(store)
    assert (item.kind, item.path) == ("poison", path)
    store.save_poison("a" * 64, {"x": np.zeros(1)})  # a cell has just met it again
    assert not removed(item)
    aged(path)
    assert removed(item)
    assert [f.stem for f in (store.folder / "poisons").iterdir()] == [POISON]


def test_poisons_stay_that_what_was_set_aside_names_and_all_where_a_record_cannot_be_read(store: Store) -> None:
    path = aged(store.folder / "poisons" / f"{POISON}.safetensors")
    store.supersede(KEY)
    assert list(garbage(store)) == []
    (*_, aside) = (store.folder / "superseded").iterdir()
    (aside / "record.json").write_text("{", "utf-8")
    assert list(garbage(store)) == []
    (aside / "record.json").unlink()
    assert [item.path for item in garbage(store)] == [path]


def test_records_set_aside_are_kept_for_ever_or_for_the_days_that_are_given(store: Store) -> None:
    fill(store, range(1, 3))
    old, new = aged(store.supersede(KEY)), store.supersede(seeded(1).key)
    assert list(garbage(store)) == []
    found = list(garbage(store, keep_days=9.0))
    assert [item.path for item in found] == [old]
    assert found[0].size == sum(f.stat().st_size for f in old.iterdir())
    assert all(removed(item) for item in found)
    assert [f.name for f in (store.folder / "superseded").iterdir()] == [new.name]
    assert store.get(seeded(2).key)


# The cache


def stage(cache: Path, number: int) -> Path:
    """A stage's file."""
    stages = Stages(cache / "stages")
    stages.get("features", {"n": number}, lambda: {"x": np.full(100, number)})
    (path,) = (f for f in (cache / "stages" / "features").iterdir() if f.stat().st_mtime > time.time() - 60)
    return path


def test_damaged_stages_go_and_old_ones_where_days_are_given(tmp_path: Path) -> None:
    old, used, broken = (aged(stage(tmp_path, i)) for i in range(3))
    flip(aged(broken))
    aged(broken, 0)
    Stages(tmp_path / "stages").get("features", {"n": 1}, dict)  # used again, from the cache
    assert [item.path for item in cache_garbage(tmp_path)] == [broken]
    found = list(cache_garbage(tmp_path, older_than=9.0))
    assert {item.path for item in found} == {old, broken}
    with held(old.with_suffix(".lock")):  # somebody waits for it, or makes it
        assert not removable(next(item for item in found if item.path == old))
        assert not any(removed(item) for item in found if item.path == old)
    assert all(removed(item) for item in found)
    assert sorted(f.name for f in tmp_path.rglob("*") if f.is_file()) == [used.name]


def test_an_old_stage_that_is_used_meanwhile_stays(tmp_path: Path) -> None:
    path = aged(stage(tmp_path, 0))
    (item,) = cache_garbage(tmp_path, older_than=9.0)
    Stages(tmp_path / "stages").get("features", {"n": 0}, dict)
    assert not removed(item)
    assert path.exists()


def test_a_file_that_cannot_be_removed_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system")

    path = aged(stage(tmp_path, 0))
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(MolebenchError, match="the file system is read-only"):
        removed(Garbage("stage", path, "old", 0))


# The commands


def test_verify_says_what_does_not_hold_and_ends_with_4(home: Workspace, cell: Path) -> None:
    done = typed(home, "store", "verify")
    assert (done.returncode, done.stderr.splitlines()[-1][:16]) == (0, "verifying 1/1, t")
    assert done.stdout == f"all that the records below {home.store} name is there, whole and unchanged\n"
    flip(cell / f"{ARMS[1]}.safetensors")
    done = typed(home, "store", "verify")
    assert done.returncode == 4
    assert done.stdout == f"{KEY[:12]}: {ARMS[1]}.safetensors is missing or changed\n"
    assert done.stderr.splitlines()[-1].startswith("molebench: 1 fault; ")


def test_verify_of_a_store_that_is_not_there_says_so(home: Workspace, tmp_path: Path) -> None:
    done = typed(home, "store", "verify", "--store", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no store" in done.stderr


def test_gc_says_what_goes_and_how_much_and_with_dry_run_takes_nothing(home: Workspace, store: Store) -> None:
    key = killed_run(store)
    (store.cell(key) / "big.safetensors").write_bytes(bytes(3 * 2**20))
    before = files(store.folder)
    done = typed(home, "store", "gc", "--dry-run")
    lines = done.stdout.splitlines()
    assert f"    3.00 MiB  cells/{key}: left by a run that never finished" in lines
    assert lines[-1] == f"4 would go below {home.store}, 3.00 MiB"
    assert files(store.folder) == before
    done = typed(home, "store", "gc")
    assert done.stdout.splitlines()[-1] == f"4 removed below {home.store}, 3.00 MiB"
    assert files(store.folder) == files(FIRST)
    assert typed(home, "store", "gc").stdout == f"0 removed below {home.store}, 0.00 MiB\n"


def test_gc_of_the_cache_leaves_the_store_alone(home: Workspace, store: Store) -> None:
    killed_run(store)
    before, path = files(store.folder), aged(stage(home.cache, 0))
    done = typed(home, "store", "gc", "--cache", "--older-than", "9")
    assert f"stages/features/{path.name}: not used for 9 days" in done.stdout
    assert not path.exists()
    assert files(store.folder) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--older-than", "9"), "--older-than is about stages: give --cache too"),
        (("--cache", "--keep-days", "9"), "--keep-days is about records set aside"),
        (("--keep-days", "-1"), "-1"),
    ],
)
def test_gc_refuses_what_makes_no_sense(words: tuple[str, ...], said: str, home: Workspace) -> None:
    done = typed(home, "store", "gc", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_index_counts_and_is_made_again_at_will(home: Workspace, store: Store) -> None:
    store.failed("f" * 64, {"type": "E", "message": "m"})
    fill(store, range(1, 2))
    (store.cell(seeded(1).key) / "record.json").write_text("{}", "utf-8")
    for words in ((), ("--rebuild",)):
        done = typed(home, "store", "index", *words)
        assert done.stdout == "1 records, 1 damaged; 1 cells without\n"
        assert f"record {seeded(1).key[:12]}/record.json is damaged" in done.stderr
        assert place(store, home.cache).is_file()
    assert json.loads((store.cell(KEY) / "record.json").read_text("utf-8"))["key"] == KEY
