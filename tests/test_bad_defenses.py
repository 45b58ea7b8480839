"""Defenses that misbehave, each in a cell of one sweep: its cell fails with its name, the others go on."""

import json
from pathlib import Path

import pytest

from molebench.nets import FrozenExtractor
from molebench.store import load_records
from molebench.workspace import Workspace
from tests.commands import SIZES, VICTIM, typed

FILE = '''"""{title}: a defense of a test that misbehaves."""

import sys
import time
from dataclasses import dataclass

import numpy as np

from molebench.cards import defense
from molebench.hooks import View
from molebench.types import Array


@defense(paper="a test", scenarios=("active",))
@dataclass(frozen=True)
class Bad:
    """No parameters."""

    def {moment}(self, view: View, rng: np.random.Generator) -> Array:
        """Misbehaves."""
        {body}
'''

# name: (moment, what it does, what is said of it)
BAD = {
    "short": (
        "screen_pool",
        "return np.ones(3, dtype=bool)",
        "returned bool (3,) at screen_pool; expected bool",
    ),
    "floating": ("screen_pool", "return np.ones(len(view.x))", "returned float64"),
    "emptying": ("screen_pool", "return np.zeros(len(view.x), dtype=bool)", "removes everything at screen_pool"),
    "unlearning": ("filter_train", "return view.y != view.y[0]", "removes every item of class"),
    "doubling": ("select", "return np.zeros(view.count, dtype=int)", "selected an item twice"),
    "nan": ("fit", "return np.full((len(view.x), view.k), np.nan)", "returned no probabilities at fit"),
    "raising": ("after_label", "return 1 // 0", "at after_label raised ZeroDivisionError"),
    "hanging": ("select", "time.sleep(1000)", "at select: it took longer than 3 s"),
    "shouting": (
        "accept",
        "[sys.stdout.write('x' * 1024) for _ in range(2**20)]",
        "at accept: it printed more than 1048576 characters",
    ),
    "scribbling": ("predict", "view.p[0] = 0", "at predict raised ValueError: assignment destination is read-only"),
}


@pytest.fixture
def sweep(tmp_path: Path) -> tuple[str, ...]:
    """The command: one attack, every bad defense, and none of them."""
    plugins = []
    for name, (moment, body, _) in BAD.items():
        file = tmp_path / f"{name}.py"
        file.write_text(FILE.format(title=name.capitalize(), moment=moment, body=body), "utf-8")
        plugins += ["--plugin", str(file)]
    sizes = "".join(f"  {size.replace('=', ': ')}\n" for size in SIZES)
    names = ", ".join([*BAD, "none"])
    text = f"attack: feature_collision\nvictim: {VICTIM}\nprofile: tiny\ndefense: [{names}]\nset:\n{sizes}"
    path = tmp_path / "bad.yaml"
    path.write_text(text, "utf-8")
    return ("sweep", str(path), "--offline", "--no-plots", *plugins)


def test_each_bad_defense_fails_its_own_cell_by_name_and_the_others_go_on(
    fresh: Workspace, sweep: tuple[str, ...], lite0: FrozenExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    del lite0  # fetched, for the sweep is offline
    monkeypatch.setenv("MOLEBENCH_HOOK_SECONDS", "3")
    monkeypatch.setenv("MOLEBENCH_PLUGINS", "")
    done = typed(fresh, *sweep)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "x" * 100 not in done.stdout
    said = done.stderr.splitlines()
    for name, (_, _, says) in BAD.items():
        assert any(f"defense {name} {says}" in line for line in said), (name, done.stderr[-3000:])
    (good,) = load_records(fresh.store)
    assert good.cell["defenses"] == []
    attempts = sorted((fresh.store / "cells").glob("*/attempts/01.json"))
    noted = [json.loads(path.read_text("utf-8")) for path in attempts]
    assert {note["cell"]["defenses"][0]["name"] for note in noted} == set(BAD)
    assert {note["type"] for note in noted} == {"CellFailed"}
