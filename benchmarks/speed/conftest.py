"""What a session of benchmarks is: the machine first, then figures as they are stated, one table of all at the end.

With --benchmark-json the machine stands in machine_info and figures and points of growth in extra_info.
"""

from dataclasses import asdict
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.speed import capability
from benchmarks.speed.figures import Figure, State
from benchmarks.speed.growth import Grew, Series
from benchmarks.speed.table import machine_line, of_figures
from molebench import provenance
from molebench.allocating import keep_freed

MACHINE = pytest.StashKey[dict[str, Any]]()
STATED = pytest.StashKey[list[Figure]]()


def say(config: pytest.Config, words: str) -> None:
    """A line on the terminal at once, whatever is being captured: a session that is cut short leaves what it found."""
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    captured: Any = config.pluginmanager.get_plugin("capturemanager")
    with captured.global_and_fixture_disabled():
        reporter.ensure_newline()
        reporter.write_line(words)


def said(config: pytest.Config, figure: Figure) -> None:
    """A figure as it is found."""
    config.stash[STATED].append(figure)
    asked = "" if figure.asked == "-" else f" (asked for: {figure.asked}; reached: {figure.reached})"
    say(config, f"  {figure.area}: {figure.name}: {figure.value:.4g} {figure.unit}{asked}")


@pytest.fixture(scope="session", autouse=True)
def _machine(pytestconfig: pytest.Config) -> None:
    """What the machine is and can do, before the first benchmark."""
    torch.set_num_threads(provenance.threads())
    pytestconfig.stash[STATED] = []
    machine = capability.machine()
    say(pytestconfig, machine_line(machine))
    found = capability.capability()
    for figure in found:
        said(pytestconfig, figure)
    pytestconfig.stash[MACHINE] = {**machine, "capability": [figure.as_dict() for figure in found]}


@pytest.fixture(autouse=True)
def _threads() -> None:
    """As many threads as a cell has, and memory kept as a cell keeps it, for peers too."""
    torch.set_num_threads(provenance.threads())
    keep_freed()


@pytest.fixture
def state(pytestconfig: pytest.Config, benchmark: BenchmarkFixture) -> State:
    """By which a benchmark states a figure; before it asserts, so that what is not reached is in the table."""

    def stated(figure: Figure) -> None:
        benchmark.extra_info.setdefault("figures", []).append(figure.as_dict())
        said(pytestconfig, figure)

    return stated


@pytest.fixture
def grew(benchmark: BenchmarkFixture) -> Grew:
    """By which a benchmark states the points of a growth."""

    def stated(series: Series) -> None:
        benchmark.extra_info["growth"] = asdict(series)

    return stated


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """The machine, in the JSON."""
    machine_info["molebench"] = config.stash.get(MACHINE, {})


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The table of the session."""
    if MACHINE not in config.stash:
        return
    machine, figures = config.stash[MACHINE], config.stash[STATED]
    terminalreporter.section("figures")
    terminalreporter.write_line(machine_line(machine))
    terminalreporter.write_line(of_figures(figures))
