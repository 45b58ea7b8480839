"""Lessons that take a second: three tasks of two classes, twelve images of 8x8 of each, told apart by their stripes."""

from typing import Any

import numpy as np
import torch
from torch import nn

from molebench.classifiers import Shape
from molebench.continual_learners import Curriculum, Knowledge, Lesson
from molebench.exemplars import indices
from molebench.incremental import frozen
from molebench.released import Faults
from molebench.rng import torch_stream
from molebench.training import Recipe, train
from molebench.types import Array

EACH = 12  # images of a class
NEW = 2  # classes of a task
TASKS = 3
SHAPE = Shape(8, 8, 1, NEW * TASKS)
QUICK = Curriculum(tasks=TASKS)


def pool() -> tuple[Array, Array]:
    """Images uint8 [72, 8, 8, 1] and positions: dark, bright, and stripes of two widths across and down."""
    down, right = np.indices((8, 8))
    plain = np.zeros((8, 8)), np.ones((8, 8)), down % 2, down // 2 % 2, right % 2, right // 2 % 2
    y = np.arange(EACH * len(plain)) % len(plain)
    noise = np.random.default_rng(0).integers(0, 60, (len(y), 8, 8))
    return (np.stack(plain)[y] * 160 + noise).astype(np.uint8)[..., None], y


def lesson(t: int = 0, before: Knowledge | None = None, faults: Faults = Faults(), seed: int = 0) -> Lesson:
    """The t-th task, as the scenario would hand it to a learner."""
    x, y = pool()
    index = np.flatnonzero((y >= NEW * t) & (y < NEW * (t + 1)))
    teacher = frozen(before.network) if before else None
    init = torch_stream(seed, "init", t)
    return Lesson(
        t, NEW * t, NEW, SHAPE, torch.from_numpy(x), torch.from_numpy(y), index, before, teacher, faults, init
    )


def batch(given: Lesson, n: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """The first images of a task and their positions."""
    return given.x[given.index[:n]], given.y[given.index[:n]]


def learnt(learner: Any, given: Lesson, epochs: int = 6) -> nn.Module:
    """The network of a task after so many epochs on its images and the memory."""
    network: nn.Module = learner.grown(given)
    index = np.concatenate([given.index, indices(given.memory)])
    recipe, order = Recipe(epochs, 12, 0.01), torch_stream(0, "order", given.number)
    train(network, given.x[index], given.y[index], recipe, order, objective=learner.objective(network, given))
    return network


def course(learner: Any, tasks: int = TASKS, epochs: int = 6) -> list[Knowledge]:
    """What a learner knows after each of the first tasks."""
    known: list[Knowledge] = []
    for t in range(tasks):
        given = lesson(t, known[-1] if known else None)
        known.append(learner.closed(learnt(learner, given, epochs), given))
    return known


def gradients(network: nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    """The gradient of a loss in every weight that is trained; zero where it has none."""
    trained = {name: w for name, w in network.named_parameters() if w.requires_grad}
    found = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    return {name: torch.zeros_like(w) if g is None else g for (name, w), g in zip(trained.items(), found, strict=True)}


def accuracy(learner: Any, known: Knowledge) -> float:
    """Over the pool's images of all classes."""
    x, y = pool()
    with torch.inference_mode():
        scores = learner.scores(Knowledge(frozen(known.network), known.memory, known.facts), torch.from_numpy(x))
    return float((scores.argmax(dim=1).numpy() == y).mean())
