"""A change makes stale what depends on it and nothing else, and `--explain` names the change. Real digits."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from molebench import codehash, places, provenance, registry
from molebench.datasets.digits import Digits
from molebench.runner import run
from molebench.scenarios import offline
from molebench.types import Dataset
from molebench.workspace import Workspace
from tests.offline_home import VICTIM, Home, cell

EVERY = {"victim", "scores", "updates (poisoned)", "updates (control)"}


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A cache that holds all stages of one cell."""
    folder = tmp_path_factory.mktemp("stale")
    (folder / "small.py").write_text(VICTIM, "utf-8")
    with mock.patch.dict(os.environ, {places.VARIABLE: str(folder / "small.py"), "MOLEBENCH_THREADS": "1"}):
        home = Home.at(folder)
        assert set(home.run().durations) >= EVERY
        yield home


@pytest.fixture
def again(cached: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[], dict[str, str]]:
    """Runs the cell with the cache but for another store; what is said of each stage."""

    def explained() -> dict[str, str]:
        workspace: Workspace = replace(cached.workspace, store=tmp_path, explain=True)
        run(cell(), workspace)
        said = [line.split(": ", 1) for line in capsys.readouterr().err.splitlines() if ": " in line]
        return {name: words for name, words in said if words.startswith(("reused", "computed"))}

    return explained


def computed(said: dict[str, str]) -> set[str]:
    """The stages that had to run."""
    return {name for name, words in said.items() if words.startswith("computed")}


def test_what_is_in_the_cache_is_reused_and_said_to_be(again: Callable[[], dict[str, str]]) -> None:
    said = again()
    assert said.keys() >= EVERY
    assert set(said.values()) == {"reused"}


def test_another_version_of_a_computing_library_makes_every_stage_run(
    again: Callable[[], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = provenance.versions()
    monkeypatch.setattr(provenance, "versions", lambda names=(): now | {"torch": "99.0"})
    said = again()
    assert computed(said) >= EVERY
    assert said["victim"].endswith(f"differs in versions.torch ({now['torch']} then, 99.0 now)")


def test_one_byte_of_the_data_makes_every_stage_run(
    again: Callable[[], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Digits.load

    def changed(self: Digits, workspace: Workspace) -> Dataset:
        found = load(self, workspace)
        train = found.splits["train"]
        x = np.array(train.x)
        x[:, 0, 0, 0] ^= 1  # of each image, for the victim's pool holds but some of them
        return replace(found, splits={**found.splits, "train": replace(train, x=x)})

    monkeypatch.setattr(Digits, "load", changed)
    said = again()
    assert computed(said) >= EVERY
    assert "differs in" in said["victim"]


def test_an_edit_of_a_helper_makes_run_what_it_computes(
    again: Callable[[], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "code_sha256", lambda module: f"{module}, edited")
    said = again()
    assert computed(said) == {"updates (poisoned)", "updates (control)"}
    assert "code (" in said["updates (poisoned)"]


def test_an_edit_of_the_attack_trains_nothing_anew_while_it_picks_the_same_moles(
    again: Callable[[], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = codehash.code_sha256

    def edited(module: str) -> str:
        return "edited" if module == "molebench.attacks.mole_recruitment" else before(module)

    monkeypatch.setattr(registry, "code_sha256", edited)
    assert computed(again()) == set()
