"""What plug-ins are tried on: a few real images with features and beliefs, and a folder of its own for a tiny run."""

import random
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Int

from molebench import registry
from molebench.errors import MolebenchError, listed
from molebench.grid import Cell
from molebench.nets import FrozenExtractor
from molebench.progress import silent
from molebench.record import Record
from molebench.registry import Plugin
from molebench.runner import run
from molebench.tasks import Tasks, split
from molebench.types import Array, AttackView, Dataset
from molebench.updates import RecruitView
from molebench.workspace import Workspace

Made = TypeVar("Made")
EXTRACTOR, IMAGES = "efficientnet_lite0", "photo_patches"  # small, quick, and nothing to download but 18 MB
POOL = "digits"  # what offline and continual plug-ins are tried on; nothing to download
TRIED = ("active", "offline", "continual")  # the scenarios that there are runs of
BUDGET = 15
RECRUITS = 40  # of each class
STEPS = 2  # of whatever descends or trains: what is asked does not depend on how far


class NotAsked(Exception):
    """A question that cannot be put here, and why."""


@dataclass(frozen=True)
class Bench:
    """What every plug-in is tried on, loaded when it is first needed."""

    workspace: Workspace

    @cached_property
    def patches(self) -> Dataset:
        """The photo patches."""
        return self.loaded(IMAGES)

    @cached_property
    def digits(self) -> Dataset:
        """The handwritten digits."""
        return self.loaded(POOL)

    def loaded(self, name: str) -> Dataset:
        """A dataset at its tiny size."""
        plugin = registry.find("datasets", name)
        found: Dataset = plugin.build(plugin.resolve({}, "tiny")).load(self.workspace)
        return found

    @cached_property
    def extractor(self) -> FrozenExtractor:
        """EfficientNet-Lite0 with its published weights."""
        plugin = registry.find("extractors", EXTRACTOR)
        try:
            found: FrozenExtractor = plugin.build(plugin.resolve({}, "tiny")).load(self.workspace)[0]
        except MolebenchError as error:
            raise NotAsked(f"needs the weights of {EXTRACTOR}: {error}") from error
        return found

    def some(self, each: int, data: Dataset | None = None) -> Array:
        """The first images of each class, by index: patches of each photograph, where no other dataset is given."""
        data = data or self.patches
        y = data.splits["train"].y
        return np.concatenate([np.flatnonzero(y == c)[:each] for c in range(len(data.classes))])

    @cached_property
    def view(self) -> AttackView:
        """Twenty photo patches, two of each photograph."""
        data = self.patches
        base = data.splits["train"][self.some(2)]
        return AttackView(base, data.classes, data.modality, BUDGET, extractor=self.extractor)

    @cached_property
    def pool(self) -> RecruitView:
        """Four hundred digits, and what a nearest-mean classifier believes of them."""
        data = self.digits
        base = data.splits["train"][self.some(RECRUITS, data)]
        return RecruitView(base, data.classes, batch=len(base), scores=beliefs(pixels(base.x), base.y))

    @cached_property
    def tasks(self) -> Tasks:
        """Two tasks of five digits."""
        return split(len(self.digits.classes), 2, 1, np.random.default_rng(0))

    def record(self, cell: Cell) -> Record:
        """What running a cell leaves, in a store that is thrown away."""
        with TemporaryDirectory() as folder:
            return run(cell, replace(self.workspace, store=Path(folder), progress=silent))


@dataclass(frozen=True)
class Subject:
    """A plug-in that is asked, what it is tried on, and what was computed for one question and serves others."""

    plugin: Plugin
    bench: Bench
    memo: dict[Callable[["Subject"], Any], Any] = field(default_factory=dict)

    def once(self, compute: Callable[["Subject"], Made]) -> Made:
        """What `compute` makes of this subject, made once."""
        if compute not in self.memo:
            self.memo[compute] = compute(self)
        made: Made = self.memo[compute]
        return made

    def built(self, **sizes: Any) -> Any:
        """The plug-in at its tiny profile, with these sizes where it has such parameters."""
        plugin = self.plugin
        if missing := needed(plugin):
            raise NotAsked(f"needs a value of {listed(missing)}, which has no default")
        return plugin.build(plugin.resolve({k: v for k, v in sizes.items() if k in plugin.parameters}, "tiny"))

    @property
    def tried(self) -> list[str]:
        """The scenarios in which it acts and of which there are runs."""
        stated = self.plugin.card.scenarios
        if not (found := [scenario for scenario in TRIED if scenario in stated]):
            raise NotAsked(f"acts in {', '.join(stated)}; plug-ins are tried in {listed(TRIED)}")
        return found


def pixels(x: Array) -> Float[Array, "n d"]:
    """Images as features: their values, 0 to 8."""
    return (x.reshape(len(x), -1) / 32.0).astype(np.float32)


def beliefs(z: Float[Array, "n d"], y: Int[Array, " n"]) -> Float[Array, "n k"]:
    """What a nearest-mean classifier believes of each item: softmax of minus the mean squared distance to each."""
    means = np.stack([z[y == c].mean(axis=0) for c in np.unique(y)])
    p = np.exp(-np.square(z[:, None] - means).mean(axis=2))
    return (p / p.sum(axis=1, keepdims=True)).astype(np.float32)


def needed(plugin: Plugin) -> list[str]:
    """The parameters that have no default."""
    return [p.name for p in plugin.parameters.values() if p.required]


def generators() -> list[object]:
    """The states of the global generators that a plug-in must leave alone."""
    import torch

    numpy: Any = np.random.get_state()  # noqa: NPY002 - to see whether somebody else draws from it
    # beartype, which checks shapes under pytest, draws from the random module itself
    python = () if "beartype" in sys.modules else random.getstate()
    return [numpy[1].tolist(), *numpy[2:], torch.get_rng_state().tolist(), python]


def private(array: Array) -> Array:
    """A copy that only its receiver has, as read-only as any array in a view."""
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


def watched(arrays: Iterator[Array]) -> list[weakref.ref[Array]]:
    """What tells later whether somebody kept one of these arrays, or a part of it."""
    return [weakref.ref(a) for array in arrays for a in (array, array.base) if isinstance(a, np.ndarray)]
