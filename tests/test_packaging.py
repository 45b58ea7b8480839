"""The wheel is what users install: it works from another directory, with its data, and shadows nothing."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from molebench.workspace import Workspace
from tests.conftest import ROOT


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tracked and new files, at a path with a space in it."""
    source = tmp_path_factory.mktemp("a path with a space")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "out", "."]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    return next((source / "out").glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's files in a folder of their own."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def from_wheel(installed: Path, cwd: Path, code: list[str], cache: Path) -> str:
    """Runs Python in another directory with the wheel's files first on the path."""
    env = {**os.environ, "PYTHONPATH": str(installed), "MOLEBENCH_CACHE": str(cache)}
    done = subprocess.run([sys.executable, "-P", *code], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_nothing_but_molebench(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"molebench"}


def test_the_wheel_carries_every_plug_in_and_its_data(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {f"molebench/templates/new/{kind}.py.txt" for kind in ("attack", "victim", "defense", "dataset")} <= inside
    assert {f"molebench/templates/submission/{kind}.yaml.txt" for kind in ("attack", "defense")} <= inside
    assert {"molebench/submission/form.py", "molebench/submission/check.py"} <= inside
    assert [name for name in inside if "/submissions/" in name] == []  # other people's code
    for kind in ("attacks", "victims", "defenses", "datasets", "benchmarks"):
        for file in (ROOT / kind).iterdir():
            if file.suffix in (".py", ".yaml", ".npz", ".txt"):
                assert f"molebench/{kind}/{file.name}" in inside
    assert {
        f"molebench/leaderboard/{f}"
        for f in ("build.py", "templates/index.html.j2", "static/style.css", "vendor/vega.min.js", "charts/forest.py")
    } <= inside


def test_a_smoke_sweep_runs_from_the_wheel_in_another_directory(
    installed: Path, tmp_path: Path, fetched: Workspace
) -> None:
    where = from_wheel(installed, tmp_path, ["-c", "import molebench; print(molebench.__file__)"], fetched.cache)
    assert Path(where.strip()).is_relative_to(installed)
    smoke = installed / "molebench" / "benchmarks" / "smoke.yaml"
    words = ["-m", "molebench", "sweep", str(smoke), "--store", str(tmp_path / "store")]
    assert "4 of 4 cells have a record" in from_wheel(installed, tmp_path, words, fetched.cache)
    words = ["-m", "molebench", "leaderboard", "build", "--store", str(tmp_path / "store"), "--out", "site"]
    assert "4 records: site/index.html" in from_wheel(installed, tmp_path, words, fetched.cache)


def test_the_embedded_fashion_mnist_loads_from_the_wheel(installed: Path, tmp_path: Path, fetched: Workspace) -> None:
    words = ["-m", "molebench", "data", "fetch", "--offline", "fashion_mnist_mini"]
    assert from_wheel(installed, tmp_path, words, fetched.cache).startswith("fashion_mnist_mini: train 5000, test 1000")
