"""The one training loop: mini-batches from memory, SGD or AdamW with a schedule, crops and flips.

Cross-entropy, a new random order every epoch. All randomness (order, crops, flips) comes from one generator, so that
two trainings which must be paired are given equal ones. Images stay uint8 in memory; a batch is made when it is used.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from torch import Generator, Tensor, nn

PAD = 4  # of a random crop, pixels on every side


@dataclass(frozen=True)
class Recipe:
    """schedule: the rate by epoch; `step` is a tenth of it from 1/2 and a hundredth from 3/4 of the epochs on,
    `linear` falls to zero step by step. augment: random crops of the padded image, and flips.
    """

    epochs: int
    batch: int
    lr: float
    optimiser: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Literal["step", "linear", "constant"] = "constant"
    augment: bool = False


def train(
    network: nn.Module,
    x: UInt8[Tensor, "n h w c"],
    y: Int[Tensor, " n"],
    recipe: Recipe,
    rng: Generator,
    advance: Callable[[int], object] = lambda n: None,
) -> None:
    """Trains the network in place, in training mode, with a fresh optimiser; `advance` hears of each batch's images."""
    network.train()
    optimiser = optimiser_of(recipe, network.parameters())
    for epoch in range(recipe.epochs):
        batches = batched(torch.randperm(len(x), generator=rng), recipe.batch)
        for i, batch in enumerate(batches):
            for group in optimiser.param_groups:
                group["lr"] = recipe.lr * rate(recipe, epoch, i / len(batches))
            images = cropped_and_flipped(x[batch], rng) if recipe.augment else x[batch]
            optimiser.zero_grad()
            F.cross_entropy(network(images), y[batch]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            advance(len(batch))


def optimiser_of(recipe: Recipe, weights: Iterable[Tensor]) -> torch.optim.Optimizer:
    """A fresh optimiser for these weights."""
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(weights, lr=recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(weights, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)


def rate(recipe: Recipe, epoch: int, part: float) -> float:
    """The share of the initial rate, `part` of the way through an epoch."""
    if recipe.schedule == "constant":
        return 1.0
    done = epoch / recipe.epochs
    if recipe.schedule == "linear":
        return 1.0 - (epoch + part) / recipe.epochs
    return 0.01 if done >= 0.75 else 0.1 if done >= 0.5 else 1.0


def batched(order: Int[Tensor, " n"], batch: int) -> list[Tensor]:
    """Batches in order; a last one of a single image joins the one before it, for batch norm needs two."""
    batches = list(torch.split(order, batch))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def cropped_and_flipped(x: UInt8[Tensor, "n h w c"], rng: Generator) -> UInt8[Tensor, "n h w c"]:
    """Each image shifted by up to `PAD` pixels either way (zeros move in), and mirrored with chance 1/2."""
    n, h, w, _ = x.shape
    padded = F.pad(x, (0, 0, PAD, PAD, PAD, PAD))
    down, right = torch.randint(2 * PAD + 1, (2, n, 1), generator=rng)
    mirrored = torch.rand(n, 1, generator=rng) < 0.5
    rows, columns = down + torch.arange(h), right + torch.arange(w)
    columns = torch.where(mirrored, columns.flip(1), columns)
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
