"""On a graphics processor: what it can do, and how much of that each hot path makes of it.

    make bench          on a machine with a card that PyTorch finds; elsewhere all of this is skipped

The matrix product of each arithmetic is measured first; a sample-step's share of it is by the operations that PyTorch
counts. float32 is whole float32 (no TF32), as in a cell. What is asked for is the mole grid's: four times a loop over
its pairs on the same card. Nothing here has been measured by who wrote it: docs/performance.md says what was checked.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.speed import card_work
from benchmarks.speed.card_work import KINDS, Kind
from benchmarks.speed.figures import Figure, State
from benchmarks.speed.grid_work import work
from benchmarks.speed.loops import POOL, QUERIES, TEST
from benchmarks.speed.turns import once, taking_turns
from molebench.provenance import whole_float32
from molebench.workspace import Workspace

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no graphics processor here")
AREA, CARD = "graphics processor", "cuda"
PAIRS, IMAGES = 40, 50_000
# other draws, and some hundred test items: as far apart as two seeds may be
TOLERANCES = {"accuracy_clean": 0.1, "success_rate": 0.1, "collision_ratio": 0.02}
SWEEP = Path(__file__).with_name("table1_on_a_card.yaml")


@pytest.mark.benchmark(group="graphics processor: a matrix product")
@pytest.mark.parametrize("kind", KINDS)
def test_a_matrix_product(benchmark: BenchmarkFixture, state: State, kind: Kind) -> None:
    peak = once(benchmark, lambda: card_work.matrix_peak(CARD, kind))
    state(Figure(AREA, f"{kind} matrix product", peak, "TFLOP/s"))


@pytest.mark.benchmark(group="graphics processor: one gradient of log J")
@pytest.mark.parametrize("side", [32, 96])
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_a_sample_step(benchmark: BenchmarkFixture, state: State, kind: Kind, side: int) -> None:
    peak = card_work.matrix_peak(CARD, kind)
    with whole_float32(torch):
        rate, done = once(benchmark, lambda: card_work.stepping("resnet50", CARD, kind, side))
    area = f"{AREA}, feature collision (ResNet-50, {side} px, {kind})"
    state(Figure(area, "sample-steps", rate, "a second"))
    state(Figure(area, "of the matrix product's operations a second", done / peak, "share"))


@pytest.mark.benchmark(group="graphics processor: 500 queries")
@pytest.mark.timeout(1800)
def test_the_papers_500_queries(benchmark: BenchmarkFixture, state: State) -> None:
    card_work.asking(CARD, POOL // 10, TEST // 10, 5).play(lambda n: None)
    loop = card_work.asking(CARD, POOL, TEST, QUERIES)
    start = perf_counter()
    with whole_float32(torch):
        arm = once(benchmark, lambda: loop.play(lambda n: None))
    state(Figure(AREA, "500 single queries, pool 40 000 x 2048", perf_counter() - start, "s", most=40))
    assert len(arm.queried) == QUERIES


@pytest.mark.benchmark(group="graphics processor: features of 50 000 images")
def test_features_of_cifar(benchmark: BenchmarkFixture, state: State) -> None:
    card_work.extracting(CARD, 5_000)
    start = perf_counter()
    with whole_float32(torch):
        once(benchmark, lambda: card_work.extracting(CARD, IMAGES))
    state(Figure(AREA, "extraction, ResNet-50, 32 px", IMAGES / (perf_counter() - start), "images/s"))


@pytest.mark.benchmark(group="graphics processor: the mole grid")
@pytest.mark.timeout(1800)
def test_a_mole_grid(benchmark: BenchmarkFixture, state: State) -> None:
    given = work(CARD)
    updates = card_work.updates_of(given, PAIRS)
    players = {
        "one by one": lambda: card_work.one_by_one(given, updates),
        "together": lambda: card_work.together(given, updates),
    }
    with whole_float32(torch):
        seconds = once(benchmark, lambda: taking_turns(players))
    state(Figure(AREA, "the mole grid, a pair", 1000 * seconds["together"] / PAIRS, "ms"))
    ratio = seconds["one by one"] / seconds["together"]
    state(Figure(AREA, "the mole grid: a pair-by-pair loop's time / ours", ratio, "times", least=4.0))


@pytest.mark.benchmark(group="graphics processor: Table 1")
@pytest.mark.timeout(7200)
def test_table_1_of_a_resnet18(benchmark: BenchmarkFixture, state: State, tmp_path: Path) -> None:
    if not (Workspace.from_environment().data / "cifar10_jpeg.zip").is_file():
        pytest.skip("no cifar10_jpeg.zip in MOLEBENCH_DATA")
    fresh = {"MOLEBENCH_DEVICE": CARD, "MOLEBENCH_CACHE": str(tmp_path / "cache")}
    words = [sys.executable, "-m", "molebench", "sweep", str(SWEEP), "--store", str(tmp_path / "store")]
    start = perf_counter()
    once(benchmark, lambda: subprocess.run(words, env=os.environ | fresh, check=True))
    state(Figure(AREA, "Table 1, ResNet-18, 10 models x 5 draws", (perf_counter() - start) / 60, "minutes"))


@pytest.mark.benchmark(group="graphics processor: a tiny cell beside the processor's")
@pytest.mark.timeout(1800)
def test_a_tiny_cell_comes_to_the_processors_figures(benchmark: BenchmarkFixture, state: State, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "molebench", "run", "--attack", "feature_collision", "--profile", "tiny", "--json"]

    def found(device: str) -> dict[str, float]:
        told = {"MOLEBENCH_DEVICE": device, "MOLEBENCH_STORE": str(tmp_path / device)}
        command = [*words, "--victim", "al_efficientnet_lite0", "--no-plots"]
        done = subprocess.run(command, env=os.environ | told, check=True, capture_output=True, text=True)
        return {name: metric["value"] for name, metric in json.loads(done.stdout)[0]["metrics"].items()}

    here, there = once(benchmark, lambda: (found("cpu"), found(CARD)))
    for name, most in TOLERANCES.items():
        state(Figure(AREA, f"a tiny cell, from the processor's {name}", abs(there[name] - here[name]), "", most=most))
        assert abs(there[name] - here[name]) <= most
