"""A mole grid's work: a victim, an update of 1 000 images, 10 000 test images; a plain eager loop and ours."""

import copy
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from molebench import registry
from molebench.classifiers import Shape
from molebench.progress import silent
from molebench.scenarios.trained import Trained, after, predictions, tensors, trained, updated
from molebench.stages import Stages
from molebench.types import Samples
from molebench.workspace import Workspace

SEED, EACH, TEST, BATCH = 0, 100, 10_000, 500
FEW = 400  # images of an update in the growth with the pairs, and five times as many are judged


@dataclass(frozen=True, eq=False)
class Work:
    """A victim, an update of 1 000 images and 10 000 test images (the embedded test split, again and again)."""

    victim: Trained
    update: Samples
    images: Tensor
    y: np.ndarray


@cache
def work(device: str = "cpu") -> Work:
    """The same for every loop that is timed on a device."""
    data = registry.find("datasets", "fashion_mnist_mini")
    dataset = data.build(data.resolve({}, "small")).load(Workspace.from_environment())
    learner = registry.find("victims", "offline_resnet18")
    pool, test = dataset.splits["train"], dataset.splits["test"]
    height, width, channels = pool.x.shape[1:]
    shape = Shape(height, width, channels, len(dataset.classes))
    stages = Stages(Workspace.from_environment().cache / "bench")
    built = learner.build(learner.resolve({}, "small"))
    identity = {"code": registry.code_sha256("molebench.scenarios.trained")}
    victim = trained(built, pool, test, shape, SEED, identity, stages, silent, device)
    rng = np.random.default_rng(SEED)
    index = np.concatenate([rng.choice(np.flatnonzero(pool.y == c), EACH, replace=False) for c in range(shape.classes)])
    many = test[np.arange(TEST) % len(test)]
    return Work(victim, pool[index], tensors(many, device)[0], many.y)


def plain_network() -> nn.Module:
    """The victim as torchvision has it: ordinary convolutions, every map one channel after the other in memory."""
    network = copy.deepcopy(work().victim.network).to(memory_format=torch.contiguous_format)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.__class__ = nn.Conv2d
    body = network.get_submodule("body")
    body.register_forward_pre_hook(lambda _, given: given[0].contiguous())
    return network


def plain() -> np.ndarray:
    """A plain eager loop: two steps, then evaluation with batch norms as they are."""
    network, (x, y) = plain_network().train(), tensors(work().update)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(SEED))
    for batch in torch.split(order, work().victim.recipe.batch):
        optimiser.zero_grad()
        F.cross_entropy(network(x[batch].contiguous()), y[batch]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(b).argmax(dim=1) for b in torch.split(work().images, BATCH)]).numpy()


def ours(evaluation: str) -> np.ndarray:
    """What the offline scenario does for one pair."""
    network = updated(work().victim, work().update, SEED, ())
    return predictions(network, work().images, evaluation)


def played(pairs: int, images: int = TEST, each: int = 10 * EACH) -> None:
    """So many pairs as the offline scenario plays them: each updates the victim and is judged."""
    given = work()
    rng = np.random.default_rng(SEED)
    for pair in range(pairs):
        update = given.update[rng.choice(len(given.update), each, replace=False)]
        after(given.victim, update, given.images[:images], SEED, (pair,), "float32")
