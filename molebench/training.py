"""The one training loop: mini-batches from memory, SGD or AdamW with a schedule, crops and flips.

Cross-entropy, a new random order every epoch. All randomness (order, crops, flips) comes from one generator, so that
two trainings which must be paired are given equal ones. Images stay uint8 in memory; a batch is made when it is used,
where the images are: on a graphics processor all is drawn there, by a generator that follows from the one given.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from torch import Generator, Tensor, nn

from molebench.rng import drawing_on

PAD = 4  # of a random crop, pixels on every side


@dataclass(frozen=True)
class Recipe:
    """schedule: the rate by epoch; `step` is a tenth of it from each of the milestones on (epochs), `linear` falls to
    zero step by step; `plateau` is molebench/plateau.py's. augment: random crops of the padded image, and flips.
    shuffled: False takes the images in the order in which they come.
    """

    epochs: int
    batch: int
    lr: float
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Literal["step", "linear", "constant", "plateau"] = "constant"
    milestones: tuple[float, ...] = ()
    augment: bool = False
    shuffled: bool = True


Objective = Callable[[UInt8[Tensor, "n h w c"], Int[Tensor, " n"]], Tensor]


def train(
    network: nn.Module,
    x: UInt8[Tensor, "n h w c"],
    y: Int[Tensor, " n"],
    recipe: Recipe,
    rng: Generator,
    advance: Callable[[int], object] = lambda n: None,
    objective: Objective | None = None,
) -> None:
    """Trains the network in place, in training mode, with a fresh optimiser; `advance` hears of each batch's images.

    objective: the loss of a batch; cross-entropy where not given.
    """
    network.train()
    rng = drawing_on(x.device, rng)
    optimiser = optimiser_of(recipe, [w for w in network.parameters() if w.requires_grad])
    for epoch in range(recipe.epochs):

        def lr(part: float, epoch: int = epoch) -> float:
            return recipe.lr * rate(recipe, epoch, part)

        one_epoch(optimiser, x, y, recipe, rng, lr, objective or cross_entropy(network), advance)


def cross_entropy(network: nn.Module) -> Objective:
    """The ordinary loss of a classifier."""
    return lambda images, labels: F.cross_entropy(network(images), labels)


def one_epoch(
    optimiser: torch.optim.Optimizer,
    x: UInt8[Tensor, "n h w c"],
    y: Int[Tensor, " n"],
    recipe: Recipe,
    rng: Generator,
    lr: Callable[[float], float],
    objective: Objective,
    advance: Callable[[int], object] = lambda n: None,
) -> None:
    """Every image once, in a new random order unless the recipe keeps theirs; lr: the rate by how much is done."""
    batches = batched(ordered(len(x), recipe, rng, x.device), recipe.batch)
    for i, batch in enumerate(batches):
        for group in optimiser.param_groups:
            group["lr"] = lr(i / len(batches))
        images = cropped_and_flipped(x[batch], rng) if recipe.augment else x[batch]
        optimiser.zero_grad()
        objective(images, y[batch]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        advance(len(batch))


def ordered(n: int, recipe: Recipe, rng: Generator, device: torch.device) -> Int[Tensor, " n"]:
    """The order of an epoch."""
    return torch.randperm(n, generator=rng, device=device) if recipe.shuffled else torch.arange(n, device=device)


def optimiser_of(recipe: Recipe, weights: Iterable[Tensor]) -> torch.optim.Optimizer:
    """A fresh optimiser for these weights."""
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(weights, lr=recipe.lr, weight_decay=recipe.weight_decay)
    if recipe.optimiser == "adam":
        return torch.optim.Adam(weights, lr=recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(weights, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)


def rate(recipe: Recipe, epoch: int, part: float) -> float:
    """The share of the initial rate, `part` of the way through an epoch."""
    if recipe.schedule == "linear":
        return 1.0 - (epoch + part) / recipe.epochs
    passed = sum(epoch >= milestone for milestone in recipe.milestones)
    return 10.0**-passed if recipe.schedule == "step" else 1.0


def batched(order: Int[Tensor, " n"], batch: int) -> list[Tensor]:
    """Batches in order; a last one of a single image joins the one before it, for batch norm needs two."""
    batches = list(torch.split(order, batch))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def cropped_and_flipped(x: UInt8[Tensor, "n h w c"], rng: Generator) -> UInt8[Tensor, "n h w c"]:
    """Each image shifted by up to `PAD` pixels either way (zeros move in), and mirrored with chance 1/2."""
    (n, h, w, _), there = x.shape, x.device
    padded = F.pad(x, (0, 0, PAD, PAD, PAD, PAD))
    down, right = torch.randint(2 * PAD + 1, (2, n, 1), generator=rng, device=there)
    mirrored = torch.rand(n, 1, generator=rng, device=there) < 0.5
    rows, columns = down + torch.arange(h, device=there), right + torch.arange(w, device=there)
    columns = torch.where(mirrored, columns.flip(1), columns)
    return padded[torch.arange(n, device=there)[:, None, None], rows[:, :, None], columns[:, None, :]]
