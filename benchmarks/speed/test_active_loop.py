"""The active loop at the paper's size: 500 single queries, a head trained from scratch each, a pool of 40 000 x 2048.

    make bench

Features are synthetic (rectified, ten classes that overlap), labels one to 520. At five stages of the loop all
players take turns at one query each (train on what is owned, score the pool, choose); what 500 queries take is the
mean over the stages times 500, for a query's cost grows along a line with the labels owned. Players: ours; the same
loop written plainly with PyTorch's modules, autograd and Adam (with its own dropout, or with the very draws of ours:
then it must ask for the same items); scikit-activeml's UncertaintySampling with scikit-learn's logistic regression.

Ratios are held with slack, seconds are shown: they are the machine's. Not reached: ten times the plain loop, where half
of what is left is two products of 2048 x 10 with a batch of 64, and Adam; and 40 s on one thread, where it is about
100. docs/performance.md says what was measured.
"""

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from tabulate import tabulate
from torch import Generator, Tensor, nn

from molebench import provenance
from molebench.heads import HeadSpec, entropy, initial, kept
from molebench.hooks import Pipeline
from molebench.rng import stream, torch_stream
from molebench.scenarios.query_loop import Budget, Items, Loop, Model, items
from molebench.types import Array, Samples

POOL, WIDE, CLASSES, TEST = 40_000, 2048, 10, 5_000
QUERIES, SEEDS = 500, 20
STAGES = (20, 145, 270, 395, 520)  # labels owned
ROUNDS = 3
FASTER_THAN_PLAIN, FASTER_THAN_SCIKIT_ACTIVEML = 3.0, 1.5  # with slack: 4 to 6 and 2 to 4 were measured
SAME = 0.99  # share of the queries
MANY, GIB = 100_000, 4.0


def features(n: int, name: str, wide: int = WIDE) -> Items:
    """Features as pooled rectified ones are: not negative, about 0.45 in the mean, classes that overlap."""
    rng = stream(0, "bench", name)
    y = rng.integers(0, CLASSES, n)
    centres = stream(0, "bench", "centres").normal(0.0, 0.08, (CLASSES, wide)).astype(np.float32)
    z = rng.standard_normal((n, wide), dtype=np.float32)
    z *= 0.5
    z += 0.35
    z += centres[y]
    np.maximum(z, 0.0, out=z)
    return items(Samples(np.zeros((n, 1, 1, 1), np.uint8), y), z)


@dataclass(frozen=True, eq=False)
class PlainModel:
    """A module, asked about everything at once."""

    network: nn.Module
    loop: Loop

    def beliefs(self, z: Tensor) -> Tensor:
        """softmax(g(z))."""
        with torch.no_grad():
            return self.network.eval()(z).softmax(dim=1)

    def on_pool(self, which: Array) -> Array:
        """P of pool items."""
        p: Array = self.beliefs(self.loop.pool.features).numpy()
        return p[which]

    def on_test(self) -> Array:
        """P of the test items."""
        p: Array = self.beliefs(self.loop.test.features).numpy()
        return p

    def doubts(self) -> Array:
        """The entropy of each pool item's P."""
        h: Array = entropy(self.beliefs(self.loop.pool.features)).numpy()
        return h


class DrawnDropout(nn.Module):
    """Dropout whose masks are drawn as ours are."""

    def __init__(self, share: float, order: Generator) -> None:
        super().__init__()
        self.share, self.order = share, order

    def forward(self, x: Tensor) -> Tensor:
        """Inverted dropout, in training."""
        return x * kept(x.shape, self.share, self.order) / (1 - self.share) if self.training else x


@dataclass
class PlainLoop(Loop):
    """The same loop as anyone would write it: a module, mini-batches, autograd, a sort of the whole pool."""

    same_draws: bool = True

    def plain(self, used: Array) -> Any:
        """A linear head after dropout."""
        spec, z = self.spec, self.pool.features[used]
        y = torch.from_numpy(self.pool.y[used])
        order = torch_stream(self.model_seed, "batch order", self.turn)
        weight, _ = initial(spec, z.shape[1], self.k, torch_stream(self.model_seed, "victim init", self.turn))
        dropout = DrawnDropout(spec.dropout, order) if self.same_draws else nn.Dropout(spec.dropout)
        linear = nn.Linear(*weight.shape)
        linear.weight.data, linear.bias.data = weight.T.contiguous(), torch.zeros(self.k)
        network = nn.Sequential(dropout, linear)
        adam = torch.optim.Adam(network.parameters(), lr=spec.lr)
        best, waited = float("inf"), 0
        for _ in range(spec.epochs):
            network.train()
            for batch in torch.split(torch.randperm(len(z), generator=order), spec.batch):
                adam.zero_grad()
                F.cross_entropy(network(z[batch]), y[batch]).backward()  # type: ignore[no-untyped-call]
                adam.step()
            with torch.no_grad():
                now = F.cross_entropy(network.eval()(z), y).item()
            best, waited = (now, 0) if now < best else (best, waited + 1)
            if waited >= spec.patience:
                break
        return PlainModel(network, self)

    def query(self, model: Model, order: Array) -> list[int]:
        """The unlabelled items of highest entropy."""
        taken = np.zeros(len(self.pool), dtype=bool)
        taken[self.owned + self.queried] = True
        free = order[~taken[order]]
        return [int(i) for i in free[np.argsort(-model.doubts()[free], kind="stable")][: self.wanted]]


def loop_of(kind: type[Loop], pool: Items, test: Items, queries: int = QUERIES, **more: Any) -> Loop:
    """A loop of the paper's head: one linear layer, one label at a time."""
    return kind(HeadSpec(), Budget(queries, 1, SEEDS), pool, test, CLASSES, 0, 0, Pipeline(), **more)


def asks(loop: Loop, owned: Array) -> None:
    """One query when so much is owned."""
    loop.owned = [int(i) for i in owned]
    loop.query(loop.train(None), np.arange(len(loop.pool)))


def scikit_activeml(pool: Items, owned: Array) -> None:
    """The same with scikit-activeml, as its guide shows it."""
    library = pytest.importorskip("skactiveml", reason="no scikit-activeml is installed")
    from skactiveml.classifier import SklearnClassifier
    from skactiveml.pool import UncertaintySampling
    from sklearn.linear_model import LogisticRegression

    y = np.full(len(pool), library.utils.MISSING_LABEL)
    y[owned] = pool.y[owned]
    head = SklearnClassifier(LogisticRegression(), classes=list(range(CLASSES)))
    UncertaintySampling(method="entropy", random_state=0).query(X=pool.z, y=y, clf=head)


def seconds(run: Callable[[], object]) -> float:
    """What one call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def taking_turns(players: dict[str, Callable[[Array], object]], pool: int) -> dict[str, list[float]]:
    """Seconds of one query at each stage: the median of all rounds, in which every player has its turn."""
    owned = stream(0, "bench", "owned").permutation(pool)
    found: dict[str, list[list[float]]] = {name: [] for name in players}
    for each in players.values():
        each(owned[: STAGES[0]])
    for stage in STAGES:
        turns = [{n: seconds(lambda: play(owned[:stage])) for n, play in players.items()} for _ in range(ROUNDS)]  # noqa: B023
        for name in players:
            found[name].append([turn[name] for turn in turns])
    return {name: [float(np.median(each)) for each in stages] for name, stages in found.items()}


@pytest.mark.benchmark(group="active loop (500 single queries, pool 40 000 x 2048), all players")
@pytest.mark.timeout(3600)
def test_a_query_beside_a_plain_loop_and_scikit_activeml(
    benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(provenance.threads())
    pool, test = features(POOL, "pool"), features(TEST, "test")
    ours, same, plain = (
        loop_of(Loop, pool, test),
        loop_of(PlainLoop, pool, test),
        loop_of(PlainLoop, pool, test, same_draws=False),
    )
    players: dict[str, Callable[[Array], object]] = {
        "ours": lambda owned: asks(ours, owned),
        "plain, PyTorch's dropout": lambda owned: asks(plain, owned),
        "plain, the same draws": lambda owned: asks(same, owned),
        "scikit-activeml": lambda owned: scikit_activeml(pool, owned),
    }
    found: dict[str, list[float]] = benchmark.pedantic(taking_turns, (players, POOL), rounds=1, iterations=1)  # type: ignore[no-untyped-call]
    whole = {name: QUERIES * float(np.mean(stages)) for name, stages in found.items()}
    benchmark.extra_info.update({"seconds_of_500_queries": whole, "stages": found, "threads": provenance.threads()})
    with capsys.disabled():
        rows = [(n, *(1000 * s for s in found[n]), whole[n], whole[n] / whole["ours"]) for n in players]
        headers = ("ms a query, labels owned:", *map(str, STAGES), "500 queries, s", "ratio")
        sys.stdout.write("\n" + tabulate(rows, headers, floatfmt=".1f") + "\n")
    assert whole["plain, PyTorch's dropout"] >= FASTER_THAN_PLAIN * whole["ours"]
    assert whole["scikit-activeml"] >= FASTER_THAN_SCIKIT_ACTIVEML * whole["ours"]


@pytest.mark.benchmark(group="active loop, a tenth of the pool, a fifth of the queries: the same as the plain loop's")
@pytest.mark.timeout(3600)
def test_ours_asks_for_what_the_plain_loop_asks_for(benchmark: BenchmarkFixture) -> None:
    torch.set_num_threads(provenance.threads())
    pool, test = features(POOL // 10, "pool"), features(TEST // 10, "test")
    slow = loop_of(PlainLoop, pool, test, QUERIES // 5).play(lambda n: None)
    fast = benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: loop_of(Loop, pool, test, QUERIES // 5).play(lambda n: None), rounds=1, iterations=1
    )
    shared = len(set(fast.queried.tolist()) & set(slow.queried.tolist())) / len(slow.queried)
    in_order = float((fast.queried == slow.queried).mean())
    benchmark.extra_info.update({"share of the same queries": shared, "at the same turn": in_order})
    assert shared >= SAME


@pytest.mark.benchmark(group="active loop, the whole of it")
@pytest.mark.timeout(3600)
def test_the_papers_500_queries(benchmark: BenchmarkFixture) -> None:
    torch.set_num_threads(provenance.threads())
    pool, test = features(POOL, "pool"), features(TEST, "test")
    loop = loop_of(Loop, pool, test)
    arm = benchmark.pedantic(lambda: loop.play(lambda n: None), rounds=1, iterations=1)  # type: ignore[no-untyped-call]
    assert len(arm.queried) == QUERIES


def peak(n: int, queries: int, pipe: Any) -> None:
    """GiB at most of a loop on n pool items, which are joined with poisons as the scenario joins them."""
    clean = features(n, "pool")
    z = np.concatenate([clean.z, clean.z[:500]])
    y = np.concatenate([clean.y, clean.y[:500]])
    pool = items(Samples(np.zeros((len(y), 1, 1, 1), np.uint8), y), z, 500)
    loop_of(Loop, pool, features(n // 8, "test"), queries).play(lambda n: None)
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


@pytest.mark.benchmark(group="active loop, memory of a pool of 100 000 x 2048")
@pytest.mark.timeout(600)
def test_a_pool_of_100_000_stays_below_four_gibibytes(benchmark: BenchmarkFixture) -> None:
    spawn = multiprocessing.get_context("spawn")

    def run() -> float:
        mine, theirs = spawn.Pipe()
        process = spawn.Process(target=peak, args=(MANY, 5, theirs))
        process.start()
        theirs.close()
        found: float = mine.recv()
        process.join()
        return found

    gib = benchmark.pedantic(run, rounds=1, iterations=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info["peak, GiB"] = round(gib, 2)
    assert gib <= GIB


@pytest.mark.benchmark(group="active loop, growth with the pool")
@pytest.mark.timeout(600)
def test_scoring_grows_along_a_line_with_the_pool(benchmark: BenchmarkFixture) -> None:
    torch.set_num_threads(provenance.threads())
    pool, sizes = features(POOL, "pool"), np.arange(1, 9) * POOL // 8
    head = loop_of(Loop, pool, pool).plain(np.arange(100)).head

    def run() -> list[float]:
        turns = [[seconds(lambda: head.doubts(pool.features[:n])) for n in sizes] for _ in range(7)]  # noqa: B023
        return [float(s) for s in np.median(turns, axis=0)]

    taken = benchmark.pedantic(run, rounds=1, iterations=1)  # type: ignore[no-untyped-call]
    slope, start = np.polyfit(sizes, taken, 1)
    fitted = 1 - np.var(taken - (slope * sizes + start)) / np.var(taken)
    found = {"pool": sizes.tolist(), "seconds": taken, "us an item": 1e6 * slope, "share explained by a line": fitted}
    benchmark.extra_info.update(found)
    assert fitted >= 0.95
