"""A store of 10 000 records: opening its index, against reading them all.

    make bench

pytest-benchmark prints the times. What must hold: once it is there, the index says the same at least 10 times faster;
what has to be read again is what changed, so that its own first time costs little more than one reading.
"""

import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.speed.figures import Figure, State
from molebench.index import Index
from molebench.store import Store
from tests.stored import fill

AREA = "store of 10 000 records"
RECORDS = 10_000
FASTER = 10  # it was 20 before sealed bytes were read directly, which made the other side more than twice as quick


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("speed") / "store")
    fill(store, range(RECORDS))
    return store


def test_opening_the_index_of_a_known_store(benchmark: BenchmarkFixture, state: State, store: Store) -> None:
    cache = store.folder.parent / "cache"
    Index.of(store, cache)
    start = time.perf_counter()
    records = {record.key: record.status for record in store.records()}
    reading = time.perf_counter() - start
    found: Index = benchmark.pedantic(Index.of, (store, cache), rounds=5, iterations=1, warmup_rounds=1)  # type: ignore[no-untyped-call]
    assert {key: entry.status for key, entry in found.entries.items()} == records
    assert benchmark.stats
    opening = benchmark.stats.stats.median
    state(Figure(AREA, "opening the index", opening, "s"))
    state(Figure(AREA, "reading all records / opening the index", reading / opening, "times", least=FASTER))
    assert FASTER * opening <= reading


def test_making_the_index(benchmark: BenchmarkFixture, state: State, store: Store, tmp_path: Path) -> None:
    found: Index = benchmark.pedantic(Index.of, (store, tmp_path), rounds=1, iterations=1)  # type: ignore[no-untyped-call]
    assert benchmark.stats
    state(Figure(AREA, "making the index", benchmark.stats.stats.median, "s"))
    assert len(found.entries) == RECORDS
