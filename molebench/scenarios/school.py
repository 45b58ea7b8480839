"""A school: what every arm of a continual cell has in common, and how what is known goes into a checkpoint and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor, nn

from molebench.classifiers import Shape
from molebench.codehash import code_sha256
from molebench.continual_learners import ContinualLearner, Knowledge, Lesson
from molebench.incremental import frozen
from molebench.progress import Progress
from molebench.released import Faults
from molebench.rng import torch_stream
from molebench.scenarios.trained import restore, state
from molebench.stages import Arrays, Stages
from molebench.tasks import Tasks
from molebench.training import Recipe
from molebench.types import Array, Samples


@dataclass(frozen=True, eq=False)
class School:
    """What every arm has in common. pool: the images that a learner may meet, `own` of them its training images (after
    them stand those that only a leak brings in). seed: of the model. identity: what a trained network depends on."""

    learner: ContinualLearner
    pool: Samples
    own: int
    test: Samples
    tasks: Tasks
    shape: Shape
    seed: int
    identity: Mapping[str, Any]
    stages: Stages
    progress: Progress
    device: str = "cpu"

    @cached_property
    def x(self) -> UInt8[Tensor, "p h w c"]:
        """The pool's images."""
        return torch.from_numpy(np.array(self.pool.x)).to(self.device)

    @cached_property
    def y(self) -> Int[Tensor, " p"]:
        """The position of each image's class."""
        return torch.from_numpy(self.tasks.position[self.pool.y]).to(self.device)

    @cached_property
    def task(self) -> Int[Array, " n"]:
        """The task of each training image."""
        return self.tasks.of(self.pool.y[: self.own])

    def index(self, t: int) -> Int[Array, " n"]:
        """The training images of a task."""
        return np.flatnonzero(self.task == t)

    def asked(self, t: int) -> Int[Array, " n"]:
        """The test items of the exam after a task: those of classes that are known."""
        return np.flatnonzero(self.tasks.of(self.test.y) <= t)

    def recipe(self, t: int) -> Recipe:
        """How a task is trained."""
        return self.learner.training.recipe(t, self.shape)

    def lesson(self, t: int, before: Knowledge | None, faults: Faults, teaches: bool = True) -> Lesson:
        """A task as the learner meets it."""
        return Lesson(
            t,
            self.tasks.old(t),
            len(self.tasks.classes[t]),
            self.shape,
            self.x,
            self.y,
            self.index(t),
            before,
            frozen(before.network) if before and teaches else None,
            faults,
            torch_stream(self.seed, "victim init", t),
        )

    def skeleton(self, t: int) -> nn.Module:
        """A network of the shape that it has after a task, its weights of no account."""
        before, network = None, nn.Module()
        for s in range(t + 1):
            network = self.learner.grown(self.lesson(s, before, Faults(), teaches=False))
            before = Knowledge(network)
        return network


def packed(known: Knowledge) -> Arrays:
    """All that is known, as arrays by name."""
    return {
        **{f"network.{name}": value for name, value in state(known.network).items()},
        **{f"memory.{c}": each for c, each in enumerate(known.memory)},
        **{f"facts.{name}": value for name, value in known.facts.items()},
    }


def unpacked(arrays: Arrays, network: nn.Module) -> Knowledge:
    """What `packed` took apart; the network is of the right shape."""
    parts: dict[str, Arrays] = {"network": {}, "memory": {}, "facts": {}}
    for name, value in arrays.items():
        part, dot, rest = name.partition(".")
        if dot:
            parts[part][rest] = value
    restore(network, parts["network"])
    memory = tuple(parts["memory"][str(c)] for c in range(len(parts["memory"])))
    return Knowledge(network, memory, parts["facts"])


def identity(learner: Mapping[str, Any], versions: Mapping[str, str], device: str) -> dict[str, Any]:
    """What every checkpoint depends on: the learner as it was asked for, less its seed; code; versions."""
    parameters = {name: value for name, value in learner["parameters"].items() if name != "seed"}
    code = code_sha256("molebench.scenarios.lessons")
    on = {} if device == "cpu" else {"device": device}
    return {"learner": {**learner, "parameters": parameters}, "versions": dict(versions), "code": code, **on}
