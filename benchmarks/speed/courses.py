"""Continual training's work: a small course of five tasks, and our way through it."""

from pathlib import Path
from typing import Any

from jaxtyping import Int

from molebench import registry
from molebench.backbones import Arithmetic
from molebench.classifiers import Shape
from molebench.continual_learners import Knowledge
from molebench.exemplars import share
from molebench.progress import silent
from molebench.released import Faults
from molebench.rng import stream
from molebench.scenarios.lessons import Course
from molebench.scenarios.school import School
from molebench.splits import share_of
from molebench.stages import Stages
from molebench.tasks import split
from molebench.types import Array
from molebench.workspace import Workspace

NEW = 2  # classes of a task
MEMORY = 240  # exemplars: shares are even after every task, for avalanche-lib rounds up where we round down
SIZES: dict[str, Any] = {"pool": 2500, "epochs": 6, "batch": 128, "lr": 0.05, "schedule": "linear"}
VICTIMS: dict[str, dict[str, Any]] = {"cl_lwf": {}, "cl_icarl": {"memory": MEMORY, "loss": "bce"}}


def school(victim: str, seed: int, folder: Path, arithmetic: Arithmetic = "float32") -> School:
    """What a seed fixes: the learner, its images, the order of the classes."""
    data, plugin = registry.find("datasets", "fashion_mnist_mini"), registry.find("victims", victim)
    dataset = data.build(data.resolve({}, "small")).load(Workspace.from_environment())
    learner = plugin.build(plugin.resolve({**SIZES, **VICTIMS[victim], "arithmetic": arithmetic}, "small"))
    own, test = share_of(dataset.splits["train"], learner.training.pool, seed, "pool"), dataset.splits["test"]
    k, (height, width, channels) = len(dataset.classes), own.x.shape[1:]
    tasks, shape = split(k, k // NEW, 1, stream(seed, "class order")), Shape(height, width, channels, k)
    return School(learner, own, len(own), test, tasks, shape, seed, {"victim": victim}, Stages(folder), silent)


def images_trained_on(given: School) -> int:
    """Over all epochs of all tasks, exemplars included."""
    budget, total = VICTIMS[given.identity["victim"]].get("memory"), 0
    for t in range(len(given.tasks)):
        kept = share(budget, given.tasks.old(t)) * given.tasks.old(t) if budget and t else 0
        total += given.recipe(t).epochs * (len(given.index(t)) + kept)
    return total


class Ours:
    """The scenario's own steps, less the checkpoints."""

    def __init__(self, given: School) -> None:
        self.school, self.course = given, Course(given, "clean")
        self.known: Knowledge | None = None

    def learn(self, t: int) -> None:
        lesson, learner = self.school.lesson(t, self.known, Faults()), self.school.learner
        network = learner.grown(lesson)
        self.course.fit(network, lesson)
        self.known = learner.closed(network, lesson)

    def predicted(self) -> Int[Array, " m"]:
        assert self.known is not None
        t = len(self.school.tasks) - 1
        scores = self.course.scores(self.known, self.school.test.x[self.school.asked(t)])
        return self.school.tasks.order[scores.argmax(dim=1).cpu().numpy()]
