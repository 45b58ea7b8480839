"""Unfreeze: trains the feature extractor together with the head, so that the point of collision moves.

A collision holds for the published weights only. At every training the learner starts from them again: the head is
trained alone on the frozen features (warm-up), then head and extractor together for `epochs` passes, Adam with a step
of its own for each and a half cosine down to 0. Poisons come with true labels: they are adversarial training data.
The head is linear (NN1) whatever the victim's.

scope 'block' trains the last block alone, what lies below is computed once; measured, that does not undo a collision
made through the whole network (docs/decisions.md), so 'all' is the default. Batch norm keeps ImageNet's statistics
('frozen') or takes each batch's ('batch'). The paper warns of the price: no feature can be kept between trainings.

Reference: Mueller, Boettinger, "Adversarial Vulnerability of Active Transfer Learning", IDA 2021,
arXiv:2101.10792, section IV-E; every number here is ours, the paper gives none.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from molebench.cards import Count, Positive, Share, Whole, defense
from molebench.errors import MolebenchError
from molebench.heads import HeadSpec, dropped, fit, forward
from molebench.hooks import View
from molebench.types import Array

SCORED = 125  # images a forward pass, as in molebench.collision

Layers = tuple[Tensor, ...]


@defense(
    paper="Mueller and Boettinger, arXiv:2101.10792, section IV-E",
    scenarios=("active",),
    sees=("extractor",),
    profiles={"tiny": {"epochs": 1, "steps": 5}},
    cost="training passes through the extractor and the whole pool's extraction, at every training",
)
@dataclass(frozen=True)
class Unfreeze:
    """scope: what is trained beside the head, the last block or all blocks. epochs: passes over the labelled items.
    steps: fewest mini-batches of a training, where these passes have fewer. batch: images of each. lr: Adam's step
    for the extractor. head_lr: the same for the head. warmup: most epochs of the head alone. dropout: share of
    features dropped. batch_norm: the published statistics, or the batch's. after: labels owned before the extractor is
    trained at all.
    """

    scope: Literal["block", "all"] = "all"
    epochs: Count = 15
    steps: Count = 40
    batch: Count = 64
    lr: Positive = 1.5e-4
    head_lr: Positive = 1e-3
    warmup: Count = 60
    dropout: Share = 0.5
    batch_norm: Literal["frozen", "batch"] = "frozen"
    after: Whole = 0

    def fit(self, view: View, rng: np.random.Generator) -> Array:
        """P(y | x) of the view's items, under an extractor trained for this moment."""
        blocks = getattr(view.extractor, "blocks", ())
        if not blocks or view.labelled_x is None or view.labelled_y is None or view.labelled_z is None:
            raise MolebenchError("defense unfreeze needs an extractor with trainable blocks; this victim has none")
        init, order = (torch.Generator().manual_seed(int(rng.integers(2**63))) for _ in range(2))
        y, z = torch.from_numpy(view.labelled_y.copy()), torch.from_numpy(view.labelled_z.copy())
        spec = HeadSpec("nn1", dropout=self.dropout, lr=self.head_lr, epochs=self.warmup)
        layers = fit(spec, z, y, view.k, init, order).layers
        cut = 0 if self.scope == "all" else len(blocks) - 2  # the last block, and the pooling behind it
        below = Below(view.extractor, blocks[:cut])
        trained = nn.Sequential(*blocks[cut:])
        if self.batch_norm == "batch" and not any(isinstance(m, nn.BatchNorm2d) for m in trained.modules()):
            raise MolebenchError("defense unfreeze: batch_norm=batch, but this extractor has none left; use frozen")
        if len(y) >= self.after:
            layers = tuned(self, trained, layers, below(view.labelled_x), y, order)
        return scored(below, trained, layers, view.x)


def tuned(
    how: Unfreeze, trained: nn.Module, layers: Layers, h: Float[Tensor, "n ..."], y: Int[Tensor, " n"], order: Generator
) -> Layers:
    """Trains the blocks in place, and the head, from inputs h of the lowest of them; returns the head."""
    layers = tuple(p.clone().requires_grad_() for p in layers)
    steps = max(how.steps, how.epochs * math.ceil(len(y) / how.batch))
    groups = [
        {"params": list(trained.requires_grad_(True).parameters()), "lr": how.lr},
        {"params": list(layers), "lr": how.head_lr},
    ]
    adam = torch.optim.Adam(groups, fused=True)
    cosine = torch.optim.lr_scheduler.LambdaLR(adam, lambda t: 0.5 * (1 + math.cos(math.pi * t / steps)))
    trained.train(how.batch_norm == "batch")
    least = 2 if how.batch_norm == "batch" else 1  # one image has no statistics
    for chosen in batches(len(y), how.batch, steps, least, order):
        z = dropped(trained(h[chosen]), how.dropout, order)
        adam.zero_grad()
        F.cross_entropy(forward(layers, z, 0.0, None), y[chosen]).backward()  # type: ignore[no-untyped-call]
        adam.step()
        cosine.step()
    trained.eval().requires_grad_(False)
    return tuple(p.detach() for p in layers)


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
                values = self.extractor.modality.values(x[start : start + SCORED])
                h = self.extractor.normalised(torch.from_numpy(values))
                h = h.contiguous(memory_format=torch.channels_last) if h.dim() == 4 else h  # sounds have patches too
                for block in self.blocks:
                    h = block(h)
                parts.append(h)
        return torch.cat(parts)


def batches(n: int, size: int, steps: int, least: int, order: Generator) -> Iterator[Int[Tensor, " b"]]:
    """`steps` mini-batches: pass after pass over a new order each; a rest of fewer than `least` is left out."""
    left = steps
    while left:
        for chosen in torch.split(torch.randperm(n, generator=order), size):
            if left and len(chosen) >= min(least, n, size):
                yield chosen
                left -= 1


def scored(below: Below, trained: nn.Module, layers: Layers, x: Array) -> Float[Array, "n k"]:
    """P(y | x), a few images at a time: what lies between is never all in memory."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(x), SCORED):
            z = trained(below(x[start : start + SCORED]))
            parts.append(forward(layers, z, 0.0, None).softmax(dim=1).numpy())
    return np.concatenate(parts)
