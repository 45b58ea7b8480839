"""How benchmarks take time: players in turns, so that what else the machine does meets all alike; medians of rounds."""

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter, sleep
from typing import Any, TypeVar

from pytest_benchmark.fixture import BenchmarkFixture

from molebench import provenance

Player = TypeVar("Player")

REST = 0.25  # seconds: threads of OpenBLAS spin for a tenth after their work, at the expense of who comes next


def seconds(run: Callable[[], object]) -> float:
    """What one call takes, after a rest in which what ran before comes to an end."""
    sleep(REST)
    start = perf_counter()
    run()
    return perf_counter() - start


def taking_turns(
    players: Mapping[Player, Callable[[], object]], rounds: int = 3, first: bool = True
) -> dict[Player, float]:
    """Median seconds of each player, a round of one and then the same of the next; first: one round is not counted."""
    if first:
        taking_turns(players, 1, first=False)
    turns = [{name: seconds(play) for name, play in players.items()} for _ in range(rounds)]
    return {name: median(turn[name] for turn in turns) for name in players}


def once(benchmark: BenchmarkFixture, run: Callable[[], Any]) -> Any:
    """What it gives; it times itself."""
    found = benchmark.pedantic(run, rounds=1, iterations=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info["threads"] = provenance.threads()
    return found
