"""Continual training: our LwF and iCaRL against avalanche-lib's, on the same images, network, epochs and batches.

    make bench

installs avalanche-lib beside the rest, for this alone. Both learn the five tasks of Split-Fashion-MNIST (2 500 of the
images that travel with the code) with ResNet-32 from the same first weights: batches of 128, SGD with momentum, a rate
that falls to zero and a fresh state every task, no crops or flips. Each has a process of its own, and they take turns,
task by task, so that what else the machine does meets all alike. avalanche-lib is used as its examples do, without
metrics or loggers; its arithmetic is float32. Ours plays twice, in float32 and in bfloat16 (`victim.arithmetic`). What
a process does once, compiling the float32 convolutions, is done before the clock starts, and stated apart.
Where the two mean different things by a method it is given our meaning:

- its LwF takes any loss of the classes: ours, cross-entropy over the current task's logits;
- its iCaRL averages the published BCE over all k units where ours (`loss=bce`) adds them up, so it gets k times the
  rate and a k-th of the weight decay: the same steps.

Its teachers, which it leaves in training mode, are put in evaluation mode like ours. What stays different: its LwF goes
on training old classes' heads; its iCaRL herds by another rule and mirrors exemplars for their means.
"""

import multiprocessing
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pytest_benchmark.fixture import BenchmarkFixture
from tabulate import tabulate
from torch import Tensor, nn

from benchmarks.speed.courses import NEW, VICTIMS, Ours, images_trained_on, school
from benchmarks.speed.figures import Figure, State
from benchmarks.speed.turns import once
from molebench import provenance
from molebench.allocating import keep_freed
from molebench.backbones import Arithmetic, Backbone, backbone
from molebench.classifiers import initialised, statistics
from molebench.continual_learners import BATCH
from molebench.rng import torch_stream
from molebench.scenarios.school import School
from molebench.types import Array, Samples
from molebench.winograd import Convolution

SEEDS = (0, 1, 2)
THEIRS = "avalanche-lib"
OURS: dict[str, Arithmetic] = {"molebench, float32": "float32", "molebench, bfloat16": "bfloat16"}
PLAYERS = (THEIRS, *OURS)
TARGET = 1.5  # times avalanche-lib's images per second


@dataclass(frozen=True)
class Outcome:
    """One player's course. compiling: seconds of what a process does once. seconds: of each task's training and its
    closing. accuracy: over all classes, at the end."""

    compiling: float
    seconds: tuple[float, ...]
    accuracy: float


class Images(torch.utils.data.Dataset[tuple[Array, int]]):
    """Stored images and positions, as torchvision's transforms and avalanche-lib want them."""

    def __init__(self, samples: Samples, given: School) -> None:
        self.x, self.targets = np.array(samples.x), given.tasks.position[samples.y].tolist()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Array, int]:
        return self.x[i], self.targets[i]


class Theirs:
    """avalanche-lib's strategy of the same name."""

    def __init__(self, given: School) -> None:
        from avalanche.benchmarks import nc_benchmark

        self.school, self.transform = given, normalising(given)
        train, test = Images(given.pool, given), Images(given.test, given)
        stream = nc_benchmark(
            train,
            test,
            len(given.tasks),
            task_labels=False,
            fixed_class_order=list(range(given.shape.classes)),
            train_transform=self.transform,
            eval_transform=self.transform,
        )
        torch.manual_seed(given.seed)  # avalanche-lib draws from the global generator
        self.tasks = stream.train_stream
        self.strategy = (their_lwf if given.identity["victim"] == "cl_lwf" else their_icarl)(given)

    def learn(self, t: int) -> None:
        self.strategy.train(self.tasks[t], reset_optimizer_state=True)

    def predicted(self) -> Int[Array, " m"]:
        model, x = self.strategy.model.eval(), torch.stack([self.transform(image) for image in self.school.test.x])
        with torch.inference_mode():
            found = torch.cat([model(part).argmax(dim=1) for part in torch.split(x, BATCH)])
        return self.school.tasks.order[found.numpy()]


def normalising(given: School) -> Any:
    """A stored image to a tensor with the first task's mean and deviation taken out, as ours has it."""
    from torchvision.transforms import Compose, Normalize, ToTensor

    mean, std = statistics(given.pool.x[given.index(0)])
    return Compose([ToTensor(), Normalize((mean / 255).tolist(), (std / 255).tolist())])


def their_lwf(given: School) -> Any:
    from avalanche.models import IncrementalClassifier
    from avalanche.training import LwF

    features, recipe = body(given), given.recipe(0)
    learner: Any = given.learner
    model = nn.Sequential(features, IncrementalClassifier(features.width, NEW))
    optimiser = torch.optim.SGD(model.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)
    believed = {"alpha": learner.weight, "temperature": learner.temperature}
    return LwF(model=model, optimizer=optimiser, criterion=loss_of_task, **believed, **sizes(given))


def loss_of_task(z: Float[Tensor, "n k"], y: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """Cross-entropy over the logits of the task that the batch is from."""
    old = int(y.min()) // NEW * NEW
    return F.cross_entropy(z[:, old : old + NEW], y - old)


def their_icarl(given: School) -> Any:
    from avalanche.models import IncrementalClassifier
    from avalanche.training import ICaRL

    features, recipe, k = body(given), given.recipe(0), given.shape.classes
    learner: Any = given.learner
    head = IncrementalClassifier(features.width, k)
    weights, rate, decay = [*features.parameters(), *head.parameters()], recipe.lr * k, recipe.weight_decay / k
    return ICaRL(
        feature_extractor=features,
        classifier=head,
        optimizer=torch.optim.SGD(weights, rate, recipe.momentum, weight_decay=decay),
        memory_size=learner.memory,
        buffer_transform=None,
        fixed_memory=True,
        **sizes(given),
    )


def sizes(given: School) -> dict[str, Any]:
    """What every strategy of avalanche-lib is told."""
    from avalanche.training.plugins import SupervisedPlugin

    recipe = given.recipe(0)

    class Alike(SupervisedPlugin):  # type: ignore[misc]
        """The rate falls to zero step by step, and teachers are in evaluation mode."""

        def before_training_exp(self, strategy: Any, **_: Any) -> None:
            for plugin in strategy.plugins:
                if teacher := getattr(getattr(plugin, "lwf", None), "prev_model", None):
                    teacher.eval()
                if teacher := getattr(plugin, "old_model", None):
                    teacher.feature_extractor.eval()  # the whole of it would give distances to prototypes

        def before_training_iteration(self, strategy: Any, **_: Any) -> None:
            optimiser, steps = strategy.optimizer, strategy.train_epochs * len(strategy.dataloader)
            left = 1.0 - strategy.clock.train_exp_iterations / steps
            optimiser.param_groups[0]["lr"] = left * optimiser.defaults["lr"]

    return {
        "train_epochs": recipe.epochs,
        "train_mb_size": recipe.batch,
        "eval_mb_size": BATCH,
        "evaluator": None,
        "plugins": [Alike()],
    }


def body(given: School) -> Backbone:
    """The backbone with which ours begins, in PyTorch's ordinary memory format."""
    init = torch_stream(given.seed, "victim init", 0)
    network = initialised(lambda: backbone(given.learner.training.backbone, given.shape), init)
    assert isinstance(network, Backbone)
    return network.to(memory_format=torch.contiguous_format)


def prepared(player: str) -> float:
    """Seconds of what a process does once: our convolutions of float32 are compiled."""
    torch.optim.SGD([torch.zeros(1)], 0.1).step()  # what PyTorch imports with its first optimiser
    start = perf_counter()
    if OURS.get(player) == "float32":
        x, g = torch.zeros(1, 16, 4, 4, requires_grad=True), torch.zeros(16, 16, 3, 3, requires_grad=True)
        Convolution.apply(x, g, None).sum().backward()
    return perf_counter() - start


def play(player: str, victim: str, seed: int, folder: Path, pipe: Connection) -> None:
    """A whole course in a process of its own: a task at each word that comes, and its seconds back; then the exam."""
    torch.set_num_threads(provenance.threads())
    if player in OURS:
        keep_freed()  # as whatever computes a cell does
    pipe.send(prepared(player))
    given = school(victim, seed, folder, OURS.get(player, "float32"))
    mine = Ours(given) if player in OURS else Theirs(given)
    for t in range(len(given.tasks)):
        pipe.recv()
        start = perf_counter()
        mine.learn(t)
        pipe.send(perf_counter() - start)
    pipe.send(float((mine.predicted() == given.test.y).mean()))


def taking_turns(victim: str, seed: int, folder: Path) -> dict[str, Outcome]:
    """Every player's course, a task of one and then the same of the next."""
    spawn, tasks = multiprocessing.get_context("spawn"), range(len(school(victim, seed, folder).tasks))
    pipes, processes, compiling = {}, [], {}
    for player in PLAYERS:
        pipes[player], theirs = spawn.Pipe()
        processes.append(spawn.Process(target=play, args=(player, victim, seed, folder, theirs)))
        processes[-1].start()
        theirs.close()  # so that a player who falls ends the wait for it
        compiling[player] = pipes[player].recv()
    seconds: dict[str, list[float]] = {player: [] for player in PLAYERS}
    for t in tasks:
        for player, pipe in pipes.items():
            pipe.send(t)
            seconds[player].append(pipe.recv())
    found = {player: Outcome(compiling[player], tuple(seconds[player]), pipe.recv()) for player, pipe in pipes.items()}
    for process in processes:
        process.join()
    return found


def speeds(courses: list[dict[str, Outcome]], images: int) -> dict[str, float]:
    """Images per second of training, over all seeds."""
    return {who: len(courses) * images / sum(sum(course[who].seconds) for course in courses) for who in PLAYERS}


def standard_error(values: list[float]) -> float:
    """Of their mean."""
    return float(np.std(values, ddof=1) / len(values) ** 0.5)


def difference(ours: list[float], theirs: list[float]) -> tuple[float, float]:
    """How far apart two means are, and two standard errors of that."""
    apart = abs(float(np.mean(ours) - np.mean(theirs)))
    return apart, 2 * float(np.hypot(standard_error(ours), standard_error(theirs)))


def rows(speed: dict[str, float], accuracies: dict[str, list[float]]) -> Iterator[tuple[str, ...]]:
    """One a player: speed, its ratio to avalanche-lib's, accuracy."""
    for who in PLAYERS:
        accuracy = f"{np.mean(accuracies[who]):.3f} ± {standard_error(accuracies[who]):.3f}"
        yield who, f"{speed[who]:.1f}", f"{speed[who] / speed[THEIRS]:.2f}", accuracy


def state_all(
    state: State, area: str, speed: dict[str, float], accuracies: dict[str, list[float]], compiling: float
) -> None:
    """Speeds, and accuracies in units of what may be between them."""
    for who in OURS:
        state(Figure(area, who, speed[who], "images/s"))
    for who in OURS:
        state(Figure(area, f"{who} / avalanche-lib", speed[who] / speed[THEIRS], "times", TARGET))
    state(Figure(area, "convolutions compiled, once a process", compiling, "s"))
    apart = [difference(accuracies[who], accuracies[THEIRS]) for who in OURS]
    errors = max(2 * between / allowed if between else 0.0 for between, allowed in apart)
    state(Figure(area, "accuracies apart from avalanche-lib's, the further", errors, "standard errors", most=2.0))


@pytest.mark.skipif(find_spec("avalanche") is None, reason="no avalanche-lib; `make bench` installs it")
@pytest.mark.benchmark(group="continual training (ResNet-32, 28 px, five tasks, batch 128), all players")
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("victim", VICTIMS)
def test_as_accurate_as_avalanche_lib_and_faster(
    benchmark: BenchmarkFixture, state: State, victim: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> list[dict[str, Outcome]]:
        return [taking_turns(victim, seed, tmp_path) for seed in SEEDS]

    courses = once(benchmark, run)
    speed = speeds(courses, images_trained_on(school(victim, SEEDS[0], tmp_path)))
    accuracies = {who: [course[who].accuracy for course in courses] for who in PLAYERS}
    benchmark.extra_info.update({"images_per_second": speed, "accuracies": accuracies})
    compiling = max(outcome.compiling for course in courses for outcome in course.values())
    state_all(state, f"continual, {victim}", speed, accuracies, compiling)
    with capsys.disabled():
        headers = (victim, "images/s", "ratio", f"accuracy, {len(SEEDS)} seeds (± standard error)")
        sys.stdout.write("\n" + tabulate(list(rows(speed, accuracies)), headers) + "\n")
    for who in OURS:
        apart, allowed = difference(accuracies[who], accuracies[THEIRS])
        assert apart <= allowed, f"{who}: accuracy {apart:.3f} apart, two standard errors are {allowed:.3f}"
    assert min(speed[who] for who in OURS) >= TARGET * speed[THEIRS]
