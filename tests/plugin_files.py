"""Plug-in files for tests: a sound one of each kind, and what to change in it."""

from pathlib import Path

ATTACK = '''"""Brightest: injects the brightest images as they are."""

from dataclasses import dataclass

import numpy as np

from molebench.cards import Count, attack
from molebench.types import AttackView, Poison, Samples, ThreatModel

SEEN: list[object] = []


@attack(
    paper="a plug-in of a test",
    threat=ThreatModel(may=frozenset({"inject"}), knows=frozenset({"data"})),
    scenarios=("active",),
    control="unperturbed",
)
@dataclass(frozen=True)
class Brightest:
    """n_poison: number of images."""

    n_poison: Count = 500

    def craft(self, view: AttackView, rng: np.random.Generator) -> Poison:
        """The n brightest of the attacker's images, true labels kept."""
        brightness = view.base.x.reshape(len(view.base), -1).mean(axis=1)
        chosen = np.argsort(-brightness, kind="stable")[: min(self.n_poison, view.budget)]
        return Poison(view.base[chosen], chosen)
'''

DEFENSE = '''"""Half: screens out every second item."""

from dataclasses import dataclass

import numpy as np

from molebench.cards import Count, defense
from molebench.hooks import View

SEEN: list[object] = []


@defense(paper="a plug-in of a test", scenarios=("active",))
@dataclass(frozen=True)
class Half:
    """step: one item in so many is dropped."""

    step: Count = 2

    def screen_pool(self, view: View, rng: np.random.Generator) -> np.ndarray:
        """Keeps the others."""
        keep = np.arange(len(view.x)) % self.step == 0
        return keep
'''

DATASET = '''"""Flat: two classes of images in one grey each."""

from dataclasses import dataclass

import numpy as np

from molebench.cards import Count, dataset
from molebench.types import Dataset, Samples
from molebench.workspace import Workspace


@dataset(paper="a plug-in of a test", licence="MIT")
@dataclass(frozen=True)
class Flat:
    """per_class: images of each grey."""

    per_class: Count = 5

    def load(self, workspace: Workspace) -> Dataset:
        """One split."""
        y = np.arange(2 * self.per_class) % 2
        x = np.repeat(y * 100, 12).reshape(-1, 2, 2, 3).astype(np.uint8)
        return Dataset("flat", {"train": Samples(x, y)}, ("dark", "light"))
'''

VICTIM = '''"""Steady: an active learner without dropout."""

from functools import partial

from molebench.cards import victim
from molebench.scenarios.active import SIZES, ActiveLearner

steady = victim(paper="a plug-in of a test", scenario="active", dataset="photo_patches", profiles=SIZES)(
    partial(ActiveLearner, extractor="efficientnet_lite0", dropout=0.0)
)
'''

SOUND = {"attack": ("brightest", ATTACK), "defense": ("half", DEFENSE), "dataset": ("flat", DATASET)}
SOUND |= {"victim": ("steady", VICTIM)}


def written(folder: Path, kind: str = "attack", change: tuple[str, str] = ("", ""), name: str = "") -> Path:
    """A sound plug-in file of this kind with one change, under its own name or another."""
    own, text = SOUND[kind]
    old, new = change
    assert old in text
    path = folder / f"{name or own}.py"
    path.write_text(text.replace(old, new, 1) if old else text, "utf-8")
    return path
