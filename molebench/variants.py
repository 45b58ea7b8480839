"""Many copies of one network trained and asked at once, each on images of its own: torch.func on stacked weights.

A graphics processor is idle most of the time that one small network takes a step. Here V copies take theirs together:
weights, buffers, images and gradients have a leading axis of V, and SGD or AdamW, which work element by element, are
the same on the stack as on each copy. The result is that of `training.train` on each copy, up to the order in which
floats are added. Crops and flips are drawn copy by copy from each copy's own generator, as there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Generator, Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from molebench.rng import drawing_on
from molebench.training import Recipe, batched, cropped_and_flipped, optimiser_of, ordered, rate

Stacked = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Variants:
    """V copies of a network: what they share, and their stacked weights and buffers."""

    network: nn.Module
    weights: Stacked
    buffers: Stacked

    @classmethod
    def of(cls, network: nn.Module, count: int) -> "Variants":
        """`count` copies, all alike."""
        weights, buffers = stack_module_state([network] * count)
        return cls(network, {name: w.detach().clone() for name, w in weights.items()}, buffers)

    def predict(self, x: UInt8[Tensor, "n h w c"], batch: int) -> Int[Tensor, "v n"]:
        """The class of each image by every copy, in evaluation mode."""
        self.network.eval()

        def one(weights: Stacked, buffers: Stacked, images: Tensor) -> Float[Tensor, "n k"]:
            return functional_call(self.network, (weights, buffers), (images,))

        with torch.no_grad():
            asked = vmap(one, in_dims=(0, 0, None))
            found = [asked(self.weights, self.buffers, part).argmax(dim=2) for part in torch.split(x, batch)]
        return torch.cat(found, dim=1)


def train_together(
    network: nn.Module,
    x: UInt8[Tensor, "v n h w c"],
    y: Int[Tensor, "v n"],
    recipe: Recipe,
    rngs: Sequence[Generator],
) -> Variants:
    """As many copies as there are sets of images, each trained on its own, in the order of its own generator."""
    found, rngs = Variants.of(network, len(rngs)), [drawing_on(x.device, rng) for rng in rngs]
    optimiser = optimiser_of(recipe, found.weights.values())
    slope = gradient(network.train())
    for epoch in range(recipe.epochs):
        orders = [batched(ordered(x.shape[1], recipe, rng, x.device), recipe.batch) for rng in rngs]
        for i, batches in enumerate(zip(*orders, strict=True)):
            for group in optimiser.param_groups:
                group["lr"] = recipe.lr * rate(recipe, epoch, i / len(orders[0]))
            images, labels = (torch.stack([own[b] for own, b in zip(all_, batches, strict=True)]) for all_ in (x, y))
            if recipe.augment:
                images = torch.stack([cropped_and_flipped(i, rng) for i, rng in zip(images, rngs, strict=True)])
            gradients, buffers = slope(found.weights, found.buffers, images, labels)
            found.buffers.update(buffers)
            for name, weight in found.weights.items():
                weight.grad = gradients[name]
            optimiser.step()
    return found


def gradient(network: nn.Module) -> Callable[[Stacked, Stacked, Tensor, Tensor], tuple[Stacked, Stacked]]:
    """Gradients of every copy's loss in its weights, and its buffers once batch norm has seen the batch."""

    def loss(weights: Stacked, buffers: Stacked, images: Tensor, labels: Tensor) -> tuple[Tensor, Stacked]:
        return F.cross_entropy(functional_call(network, (weights, buffers), (images,)), labels), buffers

    return vmap(grad(loss, has_aux=True), randomness="error")
