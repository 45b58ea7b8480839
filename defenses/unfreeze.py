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
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from molebench.cards import Count, Positive, Share, Whole, defense
from molebench.errors import MolebenchError
from molebench.finetuning import Below, Layers, batches, generators, material, scored, tuned
from molebench.head_training import fit
from molebench.heads import HeadSpec, dropped, forward
from molebench.hooks import View
from molebench.rng import drawing_on
from molebench.types import Array


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
        own = material("unfreeze", view)
        init, order = generators(rng, 2)
        order = drawing_on(own.z.device, order)
        spec = HeadSpec("nn1", dropout=self.dropout, lr=self.head_lr, epochs=self.warmup)
        layers = fit(spec, own.z, own.y, view.k, init, order).layers
        cut = 0 if self.scope == "all" else len(own.blocks) - 2  # the last block, and the pooling behind it
        below, trained = Below(view.extractor, own.blocks[:cut]), nn.Sequential(*own.blocks[cut:])
        if self.batch_norm == "batch" and not any(isinstance(m, nn.BatchNorm2d) for m in trained.modules()):
            raise MolebenchError("defense unfreeze: batch_norm=batch, but this extractor has none left; use frozen")
        if len(own.y) >= self.after:
            layers = unfrozen(self, trained, layers, below(own.x), own.y, order)
        return scored(below, trained, layers, view.x)


def unfrozen(
    how: Unfreeze, trained: nn.Module, layers: Layers, h: Float[Tensor, "n ..."], y: Int[Tensor, " n"], order: Generator
) -> Layers:
    """Trains the blocks in place, and the head, from inputs h of the lowest of them; returns the head."""

    def loss(layers: Layers, chosen: Int[Tensor, " b"]) -> Tensor:
        z = dropped(trained(h[chosen]), how.dropout, order)
        return F.cross_entropy(forward(layers, z, 0.0, None), y[chosen])

    steps = max(how.steps, how.epochs * math.ceil(len(y) / how.batch))
    least = 2 if how.batch_norm == "batch" else 1  # one image has no statistics
    trained.train(how.batch_norm == "batch")
    chosen = batches(len(y), how.batch, steps, least, order, y.device)
    return tuned(trained, layers, chosen, steps, loss, how.lr, how.head_lr)
