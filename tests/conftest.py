"""What several tests need: a workspace of their own, the real weights, the real data, and no network but where said.

MOLEBENCH_NO_SKIPS=1 (set by .ci/run) turns a skip for missing data or tools into a failure.
"""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from molebench import registry
from molebench.nets import FrozenExtractor
from molebench.workspace import Workspace
from tests.chromium import browser
from tests.sandboxed import driver

__all__ = ["browser", "driver"]  # fixtures: one browser, one sandbox for all tests of a process
ROOT = Path(__file__).parents[1]
# Files of half a minute and more, the longest first: begun first, so that none is left for one process at the end.
LONG = [
    *("test_faults", "test_sweep_same", "test_packaging", "test_site_browser", "test_verify", "test_audio"),
    *("test_mole_pictures", "test_house", "test_ray", "test_yamnet", "test_grid", "test_bad_defenses"),
    *("test_sweep_kills", "test_cli", "test_data", "test_hostile_records", "test_winograd", "test_shared_stages"),
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files, then those with the most tests."""
    tests = Counter(item.path for item in items)
    place = {name: i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: (place.get(item.path.stem, len(LONG)), -tests[item.path]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Where nothing may be missing, a skipped test has failed."""
    report = yield
    if report.skipped and os.environ.get("MOLEBENCH_NO_SKIPS") and not hasattr(report, "wasxfail"):  # type: ignore[attr-defined]
        report.outcome = "failed"  # type: ignore[attr-defined]
        report.longrepr = f"skipped where nothing may be missing: {report.longrepr}"  # type: ignore[attr-defined]
    return report


@pytest.fixture(scope="session")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace whose weights are this machine's (fetched once, kept between test runs), all else fresh."""
    real = Workspace.from_environment()
    (real.cache / "weights").mkdir(parents=True, exist_ok=True)
    folder = tmp_path_factory.mktemp("session")
    (folder / "cache").mkdir()
    (folder / "cache" / "weights").symlink_to(real.cache / "weights")
    return Workspace(real.data, folder / "cache", folder / "store")


@pytest.fixture
def workspace(fetched: Workspace, tmp_path: Path) -> Workspace:
    """The session's data, weights and stage cache; a store of the test's own."""
    return replace(fetched, store=tmp_path / "store")


@pytest.fixture
def fresh(fetched: Workspace, tmp_path: Path) -> Workspace:
    """The session's data and weights; cache and store of the test's own."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "weights").symlink_to((fetched.cache / "weights").resolve())
    return Workspace(fetched.data, tmp_path / "cache", tmp_path / "store")


@pytest.fixture(scope="session")
def lite0(fetched: Workspace) -> FrozenExtractor:
    """EfficientNet-Lite0 with its published weights."""
    return extractor("efficientnet_lite0", fetched)


@pytest.fixture(scope="session")
def resnet50(fetched: Workspace) -> FrozenExtractor:
    """ResNet-50 with its published weights."""
    return extractor("resnet50", fetched)


def extractor(name: str, workspace: Workspace) -> FrozenExtractor:
    """A frozen extractor by name."""
    plugin = registry.find("extractors", name)
    loaded = plugin.build(plugin.resolve({}, "tiny")).load(workspace)[0]
    assert isinstance(loaded, FrozenExtractor)
    return loaded


@pytest.fixture
def cifar10_jpeg_zip(fetched: Workspace) -> Path:
    """The real zip, where MOLEBENCH_DATA has it."""
    path = fetched.data / "cifar10_jpeg.zip"
    if not path.is_file():
        pytest.skip("no cifar10_jpeg.zip in MOLEBENCH_DATA")
    return path


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of this test's own."""
    return np.random.default_rng(0)


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """How many threads PyTorch may use."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def molebench(
    *words: str, env: dict[str, str] | None = None, cwd: Path = ROOT, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Runs the command line as a user does, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "molebench", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        timeout=timeout,
    )
