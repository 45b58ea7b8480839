"""Fine-tuning: an extractor trained together with a head, for defenses that do not leave it frozen.

A defense gets a copy of the extractor, as blocks that follow one another. What is below the trained ones is computed
without gradients (`Below`); `tuned` takes Adam's steps, one size for the blocks and one for the head, on a half cosine
down to 0; `scored` asks the moved network about items it has never stored features of.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from molebench.collision import Extractor, device_of, valued
from molebench.errors import MolebenchError
from molebench.heads import forward
from molebench.hooks import View
from molebench.types import Array

SCORED = 125  # images a forward pass, as in molebench.collision

Layers = tuple[Tensor, ...]
Loss = Callable[[Layers, Int[Tensor, " b"]], Tensor]


@dataclass(frozen=True, eq=False)
class Material:
    """What there is to train: blocks of a defense's own copy, and labelled items with their frozen features; blocks,
    features and labels where the extractor is.
    """

    blocks: Sequence[nn.Module]
    x: Array
    z: Float[Tensor, "l d"]
    y: Int[Tensor, " l"]


def material(who: str, view: View) -> Material:
    """What a view gives a defense to train, or an error that names it."""
    blocks = getattr(view.extractor, "blocks", ())
    if not blocks or view.labelled_x is None or view.labelled_y is None or view.labelled_z is None:
        raise MolebenchError(f"defense {who} needs an extractor with trainable blocks; this victim has none")
    there = device_of(cast(Extractor, view.extractor))
    z, y = (torch.from_numpy(each.copy()).to(there) for each in (view.labelled_z, view.labelled_y))
    return Material([block.to(there) for block in blocks], view.labelled_x, z, y)


def generators(rng: np.random.Generator, count: int) -> tuple[Generator, ...]:
    """PyTorch generators that follow from a defense's own."""
    return tuple(torch.Generator().manual_seed(int(rng.integers(2**63))) for _ in range(count))


def prepared(extractor: Any, values: Tensor) -> Tensor:
    """Samples in input units as the first block wants them."""
    h: Tensor = extractor.normalised(values)
    return h.contiguous(memory_format=torch.channels_last) if h.dim() == 4 else h  # sounds have patches too


@dataclass(frozen=True, eq=False)
class Below:
    """What is not trained: from stored samples to the input of the lowest trained block."""

    extractor: Any
    blocks: Sequence[nn.Module]

    def __call__(self, x: Array) -> Float[Tensor, "n ..."]:
        """In batches, without gradients."""
        parts = []
        with torch.no_grad():
            for start in range(0, len(x), SCORED):
                part = valued(x[start : start + SCORED], self.extractor.modality, device_of(self.extractor))
                h = prepared(self.extractor, part)
                for block in self.blocks:
                    h = block(h)
                parts.append(h)
        return torch.cat(parts)


def batches(
    n: int, size: int, steps: int, least: int, order: Generator, device: torch.device | None = None
) -> Iterator[Int[Tensor, " b"]]:
    """`steps` mini-batches: pass after pass over a new order each; a rest of fewer than `least` is left out.

    device: where the items are, and `order` draws.
    """
    left = steps
    while left:
        for chosen in torch.split(torch.randperm(n, generator=order, device=device), size):
            if left and len(chosen) >= min(least, n, size):
                yield chosen
                left -= 1


def tuned(
    trained: nn.Module,
    layers: Layers,
    batches: Iterable[Int[Tensor, " b"]],
    steps: int,
    loss: Loss,
    lr: float,
    head_lr: float,
) -> Layers:
    """Trains the blocks in place, and the head, on the loss of each mini-batch; returns the head."""
    layers = tuple(p.clone().requires_grad_() for p in layers)
    groups = [
        {"params": list(trained.requires_grad_(True).parameters()), "lr": lr},
        {"params": list(layers), "lr": head_lr},
    ]
    adam = torch.optim.Adam(groups, fused=True)
    cosine = torch.optim.lr_scheduler.LambdaLR(adam, lambda t: 0.5 * (1 + math.cos(math.pi * t / steps)))
    for chosen in batches:
        now = loss(layers, chosen)
        adam.zero_grad()
        now.backward()  # type: ignore[no-untyped-call]
        adam.step()
        cosine.step()
    trained.eval().requires_grad_(False)
    return tuple(p.detach() for p in layers)


def moved(below: Below, trained: nn.Module, x: Array) -> Iterator[Float[Tensor, "n d"]]:
    """Features of stored samples, a few at a time: what lies between is never all in memory."""
    with torch.no_grad():
        for start in range(0, len(x), SCORED):
            yield trained(below(x[start : start + SCORED]))


def scored(below: Below, trained: nn.Module, layers: Layers, x: Array) -> Float[Array, "n k"]:
    """P(y | x) of stored samples."""
    p = torch.cat([forward(layers, z, 0.0, None).softmax(dim=1) for z in moved(below, trained, x)])
    return p.cpu().numpy()
