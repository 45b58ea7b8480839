"""Training until a held-out share of the images says that no more is gained.

The rate falls to a third whenever the held-out loss has not improved for `PATIENCE` epochs, and training goes on from
the best weights so far; below `LEAST` it ends. The network is left with its best weights.

Reference: Masana et al., "Class-incremental learning: survey and performance evaluation on image classification", TPAMI
2022, section 6.
"""

import copy
import math
from collections.abc import Callable

import torch
from jaxtyping import Int, UInt8
from torch import Generator, Tensor, nn

from molebench.rng import drawing_on
from molebench.training import Objective, Recipe, one_epoch, optimiser_of

PATIENCE = 10  # epochs
FACTOR = 3.0
LEAST = 1e-4
BATCH = 500  # of held-out images at a time


def train_to_plateau(
    network: nn.Module,
    data: tuple[UInt8[Tensor, "n h w c"], Int[Tensor, " n"]],
    held_out: tuple[UInt8[Tensor, "m h w c"], Int[Tensor, " m"]],
    recipe: Recipe,
    rng: Generator,
    objective: Objective,
    advance: Callable[[int], object] = lambda n: None,
) -> None:
    """Trains in place for at most the recipe's epochs; `advance` hears of every image, those spared too."""
    optimiser = optimiser_of(recipe, [w for w in network.parameters() if w.requires_grad])
    rng = drawing_on(data[0].device, rng)
    best, kept, waited, lr = math.inf, copy.deepcopy(network.state_dict()), 0, recipe.lr
    for epoch in range(recipe.epochs):
        network.train()
        rate = lr
        one_epoch(optimiser, *data, recipe, rng, lambda part, rate=rate: rate, objective, advance)  # type: ignore[misc]
        loss = mean_loss(network, objective, *held_out)
        if loss < best:
            best, kept, waited = loss, copy.deepcopy(network.state_dict()), 0
            continue
        waited += 1
        if waited == PATIENCE:
            lr, waited = lr / FACTOR, 0
            network.load_state_dict(kept)
            if lr < LEAST:
                advance((recipe.epochs - epoch - 1) * len(data[0]))
                break
    network.load_state_dict(kept)


def mean_loss(network: nn.Module, objective: Objective, x: UInt8[Tensor, "m h w c"], y: Int[Tensor, " m"]) -> float:
    """The objective's mean over images, in evaluation mode."""
    network.eval()
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    with torch.no_grad():
        for images, labels in zip(torch.split(x, BATCH), torch.split(y, BATCH), strict=True):
            total += objective(images, labels).double() * len(images)
    return float(total) / len(x)
