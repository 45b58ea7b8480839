"""A small offline victim that trains in a fraction of a second, and folders in which all tests of a file share it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from molebench.grid import Cell, resolve
from molebench.preparing import prepared
from molebench.record import Record
from molebench.runner import run
from molebench.stages import Stages, load_arrays
from molebench.store import Store, load_predictions
from molebench.trial import Trial
from molebench.types import Array, Dataset
from molebench.workspace import Workspace

VICTIM = '''"""Small: two convolutions with batch norms, for tests."""

from functools import partial

from torch import nn

from molebench.cards import victim
from molebench.classifiers import Shape
from molebench.offline_learners import ConvolutionalLearner


def network(stem: str, shape: Shape) -> nn.Module:
    """Logits of images of 8x8."""
    return nn.Sequential(
        nn.Conv2d(shape.channels, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64, shape.classes),
    )


small_victim = victim(paper="a victim of a test", scenario="offline", dataset="digits", band=(0.3, 1.0))(
    partial(ConvolutionalLearner, architecture=network)
)
'''
NAME = "small"
QUICK = {"victim.pool": 300, "victim.epochs": 5, "victim.batch": 50, "victim.lr": 0.05}
POOL = 299  # images: the same share of every class, rounded
THREE = "3<5,5<3,8<1"
PAIRS = [(3, 5), (5, 3), (8, 1)]


def cell(attack: str = "mole_recruitment", *defenses: str, **given: Any) -> Cell:
    """A tiny cell; `attack__n=5` stands for --set attack.n=5."""
    sizes: dict[str, Any] = {**QUICK, "attack.n": 10, "attack.pairs": THREE}
    kept = {n: v for n, v in sizes.items() if n.startswith("victim") or attack.endswith("recruitment")}
    named = {name.replace("__", "."): value for name, value in given.items() if name != "seed"}
    return Cell(
        attack=attack,
        victim=NAME,
        defenses=defenses,
        parameters=kept | named,
        profile="tiny",
        seed=given.get("seed", 0),
    )


@dataclass(frozen=True)
class Home:
    """Folders of one's own, and what tests ask of them."""

    workspace: Workspace

    @classmethod
    def at(cls, folder: Path) -> "Home":
        """New ones."""
        return cls(Workspace(folder / "data", folder / "cache", folder / "store", offline=True))

    def run(self, attack: str = "mole_recruitment", *defenses: str, **given: Any) -> Record:
        """The record of a tiny cell."""
        return run(cell(attack, *defenses, **given), self.workspace)

    def trial(self, *defenses: str) -> Trial:
        """What the runner would hand to the scenario for three pairs."""
        resolved = resolve(cell("mole_recruitment", *defenses))
        dataset: Dataset = resolved.parts["dataset"].build().load(self.workspace)
        victim = resolved.parts["victim"].build()
        return prepared(resolved, self.workspace, Stages(self.workspace.cache / "stages"), dataset, victim, None, None)

    def after(self, record: Record, arm: str) -> Array:
        """Predictions after each update of an arm [u, m]."""
        found = load_predictions(Store(self.workspace.store).cell(record.key), record.updates[0].arms[arm])
        return found["predicted"].astype(np.int64)

    def before(self, record: Record) -> tuple[Array, Array]:
        """Labels of the test items, and predictions before any update."""
        found = load_predictions(Store(self.workspace.store).cell(record.key), record.arms["clean_undefended"])
        return found["y"], found["predicted"].astype(np.int64)

    def stages(self, name: str) -> list[Path]:
        """The files of a stage."""
        return sorted((self.workspace.cache / "stages" / name).glob("*.safetensors"))

    def scores(self) -> dict[str, Array]:
        """What the one victim of these folders believes of its pool, and its predictions."""
        (file,) = self.stages("scores")
        found = load_arrays(file)
        assert found
        return found[0]
