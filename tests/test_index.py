"""The index says what reading every record would, whatever became of its file."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from molebench import index
from molebench.index import Entry, Index, place
from molebench.record import Record
from molebench.store import Store, read_record
from tests.stored import FIRST, KEY, content, fill, seeded

ROOT = Path(__file__).parents[1]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three records, and a cell that failed twice."""
    store = Store(tmp_path / "store")
    fill(store, range(3))
    for message in ("one", "two"):
        store.failed("f" * 64, {"type": "CellFailed", "message": message})
    return store


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def read(store: Store) -> dict[str, Entry]:
    """What reading every record says."""
    return {record.key: entry(record) for record in store.records()}


def entry(record: Record) -> Entry:
    cell = record.cell
    return Entry(
        key=record.key,
        group=record.group,
        status=record.status,
        scenario=record.scenario,
        attack=cell["attack"]["name"],
        victim=cell["victim"]["name"],
        dataset=cell["dataset"]["name"],
        defenses=tuple(defense["name"] for defense in cell["defenses"]),
        profile=cell["profile"],
        seed=cell["seed"],
        started=record.started,
        seconds=float(sum(record.durations.values())),
        code={f"{c.kind} {c.name}": c.code_sha256 for c in record.components},
    )


class Reads(list[str]):
    """The cells whose records were read."""


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Notes which records are read."""
    noted, real = Reads(), read_record

    def reading(path: Path) -> Record:
        noted.append(path.parent.name)
        return real(path)

    monkeypatch.setattr(index, "read_record", reading)
    return noted


def test_it_says_what_reading_every_record_says(store: Store, cache: Path) -> None:
    found = Index.of(store, cache)
    assert found.entries == read(store)
    assert found.damaged == {}
    assert found.without_record == found.failed == {"f" * 64}
    assert (found.attempts("f" * 64), found.attempts(next(iter(found.entries)))) == (2, 0)
    assert Index.of(store, cache) == found
    assert found.entries[seeded(2).key].defenses == ()


def test_it_says_so_of_committed_records_of_every_kind(cache: Path) -> None:
    for folder in (FIRST, ROOT / "leaderboard" / "results"):
        assert Index.of(Store(folder), cache).entries == read(Store(folder))


def test_a_store_that_is_not_there_has_no_records(tmp_path: Path, cache: Path) -> None:
    found = Index.of(Store(tmp_path / "none"), cache)
    assert (found.entries, found.damaged, found.without_record) == ({}, {}, frozenset())
    assert not (tmp_path / "none").exists()


def test_only_what_is_new_or_changed_is_read(store: Store, cache: Path, reads: Reads) -> None:
    Index.of(store, cache)
    assert len(reads) == 3
    del reads[:]
    Index.of(store, cache)
    assert reads == []
    (new,) = fill(store, range(3, 4))
    changed = seeded(0, status="ok")
    store.commit(changed)
    found = Index.of(store, cache)
    assert sorted(reads) == sorted([new, changed.key])
    assert found.entries == read(store)
    assert found.entries[changed.key].status == "ok"


def test_a_removed_record_is_gone(store: Store, cache: Path) -> None:
    Index.of(store, cache)
    store.supersede(seeded(1).key)
    assert Index.of(store, cache).entries.keys() == {seeded(0).key, seeded(2).key}
    fill(store, range(1, 2))
    assert len(Index.of(store, cache).entries) == 3


DAMAGE: dict[str, tuple[Callable[[str], str], str]] = {
    "cut short": (lambda text: text[:-9], "is damaged ("),
    "changed": (lambda text: text.replace('"seed":1', '"seed":8'), "was changed after it was written"),
    "newer": (lambda text: text.replace("molebench.result/1", "molebench.result/2"), "written by a newer molebench"),
    "of another cell": (lambda text: seeded(7).text(), "is that of cell "),
    "nameless": (lambda text: seeded(1, cell={"seed": 1}).text(), "its cell lacks 'attack'"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_record_is_no_entry_and_has_a_line_until_it_is_mended(
    damage: Callable[[str], str], said: str, store: Store, cache: Path
) -> None:
    Index.of(store, cache)
    path = store.cell(seeded(1).key) / "record.json"
    whole = path.read_text("utf-8")
    path.write_text(damage(whole), "utf-8")
    for _ in range(2):
        found = Index.of(store, cache)
        assert found.entries.keys() == {seeded(0).key, seeded(2).key}
        assert found.damaged.keys() == {path.parent.name}
        line = found.damaged[path.parent.name]
        assert line.startswith(f"record {path.parent.name[:12]}/record.json")
        assert said in line
        assert "\n" not in line
    path.write_text(whole, "utf-8")
    assert Index.of(store, cache).damaged == {}


# Its file


SPOILT: dict[str, Callable[[Path], object]] = {
    "deleted": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "no database": lambda file: file.write_bytes(b"garbage" * 1000),
    "cut short": lambda file: file.write_bytes(file.read_bytes()[:5000]),
    "overwritten in the middle": lambda file: file.write_bytes(
        file.read_bytes()[:4096] + b"x" * 4096 + file.read_bytes()[8192:]
    ),
    "of another version": lambda file: sql(file, "PRAGMA user_version = 99; DELETE FROM records"),
    "of another shape": lambda file: sql(file, "PRAGMA user_version = 0; DROP TABLE records; CREATE TABLE records (x)"),
}


def sql(file: Path, text: str) -> None:
    connection = sqlite3.connect(file)
    connection.executescript(text)
    connection.close()


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_file_is_made_again(spoil: Callable[[Path], object], store: Store, cache: Path, reads: Reads) -> None:
    before = Index.of(store, cache)
    spoil(place(store, cache))
    assert Index.of(store, cache) == before
    del reads[:]
    assert Index.of(store, cache) == before
    assert reads == []  # it is kept again


def test_it_can_be_made_again_at_will(store: Store, cache: Path, reads: Reads) -> None:
    before = Index.of(store, cache)
    assert Index.of(store, cache, rebuild=True) == before
    assert len(reads) == 6


def test_where_the_cache_cannot_be_written_it_lives_in_memory(store: Store, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "file").write_text("")
    assert Index.of(store, tmp_path / "file").entries == read(store)
    assert Index.of(store, tmp_path / "file", rebuild=True).entries == read(store)
    place(store, cache).mkdir(parents=True)  # a folder where the file should be
    assert Index.of(store, cache).entries == read(store)


def test_somebody_who_writes_for_long_is_not_waited_for(
    store: Store, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Index.of(store, cache)
    fill(store, range(3, 4))
    monkeypatch.setattr(index, "PATIENCE", 0.05)
    other = sqlite3.connect(place(store, cache), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert Index.of(store, cache).entries == read(store)
    other.execute("ROLLBACK")
    other.close()
    assert place(store, cache).exists()
    assert Index.of(store, cache).entries == read(store)


def test_two_stores_have_a_file_each_and_one_store_one_whatever_it_is_called(store: Store, cache: Path) -> None:
    (store.folder.parent / "link").symlink_to(store.folder)
    assert place(Store(store.folder.parent / "link"), cache) == place(store, cache)
    assert place(Store(FIRST), cache) != place(store, cache)


REFRESHES = """
import sys
from pathlib import Path
from molebench.index import Index
from molebench.store import Store
for _ in range(3):
    found = Index.of(Store(Path(sys.argv[1])), Path(sys.argv[2]))
print(len(found.entries), len(found.damaged))
"""


def test_processes_that_refresh_it_at_once_all_see_the_whole_store(store: Store, cache: Path) -> None:
    fill(store, range(3, 300))
    words = [sys.executable, "-c", REFRESHES, str(store.folder), str(cache)]
    processes = [subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in processes] == ["300 0\n"] * 3


def test_it_needs_neither_torch_nor_pandas() -> None:
    text = "import sys, molebench.index, molebench.upkeep; print('torch' in sys.modules, 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_the_records_made_for_these_tests_are_whole(store: Store) -> None:
    assert {record.seeds["cell"] for record in store.records()} == {0, 1, 2}
    assert seeded(0).text() == json.dumps(content(), sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    assert seeded(0).key == KEY
