"""Continual cells that take a second or two: digits in five tasks, backbones of one block a stage, own folders."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from molebench import places
from molebench.backbones import Arithmetic, Backbone, small_stem
from molebench.classifiers import Shape
from molebench.grid import Cell
from molebench.record import Record
from molebench.runner import run
from molebench.store import Store, load_predictions
from molebench.types import Array
from molebench.workspace import Workspace

QUICK: dict[str, Any] = {"victim.pool": 200, "victim.exam": 100, "victim.epochs": 2, "victim.batch": 20}

SCORER = '''"""Neighbours: an image of class c is taken for class c - 1 with chance 0.6, less a little by its place."""

from dataclasses import dataclass

import numpy as np

from molebench.cards import Count, scorer


@scorer(paper="a scorer of a test")
@dataclass(frozen=True)
class Neighbours:
    """labels: how many it knows."""

    labels: Count = 10

    def load(self, workspace):
        """No weights."""
        return self.score, None

    def score(self, view):
        """P [n, k]."""
        y, n = view.samples.y, len(view.samples)
        p = np.zeros((n, self.labels), dtype=np.float32)
        p[np.arange(n), y % self.labels] = 0.4
        p[np.arange(n), (y - 1) % self.labels] += 0.6 - 1e-4 * np.arange(n)
        return p
'''

REFUSES = '''"""Refuses: keeps the network as it was before every extra epoch."""

from dataclasses import dataclass

import numpy as np

from molebench.cards import defense


@defense(paper="a defense of a test", scenarios=("continual",))
@dataclass(frozen=True)
class Refuses:
    """No parameters."""

    def accept(self, view, rng):
        """Never."""
        return np.array(False)
'''

BODY = '''"""{doc}"""

from dataclasses import dataclass

import numpy as np

from molebench.cards import defense


@defense(paper="a defense of a test", scenarios=("continual",), sees={sees})
@dataclass(frozen=True)
class Given:
    """trusted: clean images a class."""

    trusted: int = 2

    def {moment}(self, view, rng):
        """What it does."""
        {body}
'''

ACTING = {
    "replays_only": ("schedule", "()", "return len(view.x) + np.arange(len(view.labelled_x))"),
    "admits_all": ("admit", "()", "return np.ones(len(view.x), dtype=bool)"),
    "admits_dark": (
        "admit",
        "()",
        "dark = view.x.mean(axis=(1, 2, 3)); return np.array([v <= np.median(dark[view.y == c]) "
        "for v, c in zip(dark, view.y)])",
    ),
    "asks_trusted": (
        "accept",
        "('trusted',)",
        "right = [(p.argmax(axis=1) == view.trusted_y).mean() for p in (view.trusted_p, view.trusted_p_before)]; "
        "each = np.bincount(view.trusted_y)[view.trusted_y]; "
        "return np.array(float(len(right) == 2 and (each == 2).all() and view.p_before.shape == view.p.shape))",
    ),
    "nearest_mean": (
        "fit",
        "()",
        "m = np.stack([view.labelled_z[view.labelled_y == c].mean(axis=0) if (view.labelled_y == c).any() "
        "else np.full(view.z.shape[1], 1e9) for c in range(view.k)]); "
        "d = ((view.z[:, None].astype(float) - m[None]) ** 2).sum(axis=2); "
        "return np.eye(view.k)[d.argmin(axis=1)]",
    ),
}


@contextmanager
def small(folder: Path) -> Iterator[None]:
    """Backbones of one block a stage, one thread, and the plug-ins above."""

    def tiny(name: str, shape: Shape, arithmetic: Arithmetic) -> Backbone:
        del name, arithmetic
        return Backbone(small_stem(shape.channels, 4), (4, 8), blocks=1)

    acting = {name: BODY.format(doc=name, moment=m, sees=sees, body=body) for name, (m, sees, body) in ACTING.items()}
    files = {"neighbours": SCORER, "refuses": REFUSES, **acting}
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, "utf-8")
    given = os.pathsep.join(str(folder / f"{name}.py") for name in files)
    kinds = {places.VARIABLE: given, "MOLEBENCH_THREADS": "1"}
    with mock.patch.dict(os.environ, kinds), mock.patch("molebench.backbones.backbone", tiny):
        yield


def cell(victim: str = "cl_finetune", *defenses: str, **given: Any) -> Cell:
    """A tiny cell; `attack__unit=5` stands for --set attack.unit=5."""
    attack = given.pop("attack", "continual_moles")
    seed = given.pop("seed", 0)
    moles = {"attack.scorer": "neighbours", "attack.unit": 5} if attack == "continual_moles" else {}
    named = {name.replace("__", "."): value for name, value in given.items()}
    return Cell(
        attack=attack,
        victim=victim,
        dataset="split:digits",
        defenses=defenses,
        parameters=QUICK | moles | named,
        profile="tiny",
        seed=seed,
    )


@dataclass(frozen=True)
class Home:
    """Folders of one's own, and what tests ask of them."""

    workspace: Workspace

    @classmethod
    def at(cls, folder: Path) -> "Home":
        """New ones."""
        return cls(Workspace(folder / "data", folder / "cache", folder / "store", offline=True))

    def run(self, victim: str = "cl_finetune", *defenses: str, **given: Any) -> Record:
        """The record of a tiny cell."""
        return run(cell(victim, *defenses, **given), self.workspace)

    def predicted(self, record: Record, arm: str) -> tuple[Array, Array]:
        """Labels of the test items, and what an arm makes of them in the end."""
        found = load_predictions(Store(self.workspace.store).cell(record.key), record.arms[arm])
        return found["y"], found["predicted"].astype(np.int64)
