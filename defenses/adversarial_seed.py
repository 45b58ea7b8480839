"""Adversarial seed: the extractor is trained on its own worst cases, so that small noise moves features little.

At every training a copy of the published extractor f is tuned on at most `items` labelled images, drawn at random:
    x' = argmax |f(x') - f(x)|^2 over |x' - x|_inf <= eps   (`ascent` projected sign steps from a random start),
    minimise over f and a head g   CE(g(f(x')), y) + weight * |f(x') - f(x)|^2 / s,
where the second f(x) is taken as given and s is the squared length of the longest published feature vector (a mean is
what poisons make it: with many at zero, all features shrank to nothing). Then a new linear head is trained on the moved
features of all labelled items.
A collision holds for the published weights and needs features that small noise can move far: this takes away both.
Training is short, `steps` mini-batches of all blocks: what an input's gradient costs, the weights' cost hardly more,
and the last block alone does not undo a collision (docs/decisions.md).

Measured on photo patches, EfficientNet-Lite0: what two steps within eps move features, in squares, falls from 2.1 to
1.0 of their length; with 20 clean labels and 100 collisions at zero, accuracy is 0.33 (the head alone: 0.23), with 120
clean labels 0.77 (0.65). Expected: help against noise of the size of eps; a collision's is without limit.
Adaptive attack: collide the tuned extractor, which whoever knows the labels can train for himself, or add more noise.
Deviations: the seed set is not told from what is labelled later, so poisons take part, with true labels; the
adversarial steps are few (Wong et al. show that one step from a random start can do).

Reference: Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018, arXiv:1706.06083;
the second term as in TRADES, Zhang et al., ICML 2019, arXiv:1901.08573, of features; one step: Wong, Rice, Kolter,
"Fast is better than free", ICLR 2020, arXiv:2001.03994.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from molebench.cards import Count, NonNegative, Positive, Share, defense
from molebench.errors import MolebenchError
from molebench.finetuning import Below, Layers, batches, generators, material, moved, prepared, scored, tuned
from molebench.head_training import fit
from molebench.heads import HeadSpec, dropped, forward
from molebench.hooks import View
from molebench.rng import drawing_on
from molebench.types import IMAGE, Array

Features = Callable[[Tensor], Tensor]


@defense(
    paper="Madry et al., ICLR 2018, arXiv:1706.06083, of features",
    scenarios=("active",),
    sees=("extractor",),
    profiles={"tiny": {"steps": 10, "items": 32}},
    cost="on one core, EfficientNet-Lite0 at 32x32: 12 s a training, and 0.5 s for 1 000 items to be scored",
)
@dataclass(frozen=True)
class AdversarialSeed:
    """eps: largest change of a value, of 255. ascent: steps towards the worst case. weight: of the features' movement
    in the loss. items: most labelled images that take part. steps: mini-batches of a training. batch: images of each.
    lr: Adam's step for the extractor. head_lr: the same for the head. epochs: most epochs of the head alone, before
    and after. dropout: share of features dropped.
    """

    eps: Positive = 8.0
    ascent: Count = 1
    weight: NonNegative = 0.3
    items: Count = 256
    steps: Count = 60
    batch: Count = 32
    lr: Positive = 1.5e-4
    head_lr: Positive = 1e-3
    epochs: Count = 60
    dropout: Share = 0.5

    def fit(self, view: View, rng: np.random.Generator) -> Array:
        """P(y | x) of the view's items, under an extractor trained for this moment."""
        own = material("adversarial_seed", view)
        if view.extractor.modality != IMAGE:
            raise MolebenchError("defense adversarial_seed is for images; for sounds try unfreeze")
        init, order = generators(rng, 2)
        order = drawing_on(own.z.device, order)
        spec = HeadSpec("nn1", dropout=self.dropout, lr=self.head_lr, epochs=self.epochs)
        layers = fit(spec, own.z, own.y, view.k, init, order).layers
        below, trained = Below(view.extractor, ()), nn.Sequential(*own.blocks)
        chosen = torch.randperm(len(own.y), generator=order, device=order.device)[: self.items]
        x = torch.from_numpy(IMAGE.values(own.x[chosen.cpu().numpy()])).to(own.z.device)
        f, scale = (lambda v: trained(prepared(view.extractor, v))), float(own.z.square().sum(dim=1).max())
        hardened(self, f, scale, trained, layers, x, own.y[chosen], order)
        z = torch.cat(list(moved(below, trained, own.x)))
        return scored(below, trained, fit(spec, z, own.y, view.k, init, order).layers, view.x)


def hardened(
    how: AdversarialSeed,
    f: Features,
    scale: float,
    trained: nn.Module,
    layers: Layers,
    x: Float[Tensor, "n h w c"],
    y: Int[Tensor, " n"],
    order: Generator,
) -> Layers:
    """Trains the blocks behind f in place, and the head, on the worst cases of images x; returns the head."""

    def loss(layers: Layers, chosen: Int[Tensor, " b"]) -> Tensor:
        with torch.no_grad():
            still = f(x[chosen])
        z = f(worst(f, x[chosen], still, how.eps, how.ascent, order))
        wrong = F.cross_entropy(forward(layers, dropped(z, how.dropout, order), 0.0, None), y[chosen])
        return wrong + how.weight * movement(z, still) / scale

    trained.eval()  # batch norm keeps the published statistics
    chosen = batches(len(y), how.batch, how.steps, 1, order, y.device)
    return tuned(trained, layers, chosen, how.steps, loss, how.lr, how.head_lr)


def worst(
    f: Features, x: Float[Tensor, "n h w c"], still: Float[Tensor, "n d"], eps: float, ascent: int, order: Generator
) -> Float[Tensor, "n h w c"]:
    """Images within eps of x, and in range, whose features f are far from `still`."""
    step = eps * 2.5 / (ascent + 1)
    low, high = (x - eps).clamp(min=IMAGE.low), (x + eps).clamp(max=IMAGE.high)
    found = torch.clamp(x + eps * (2 * torch.rand(x.shape, generator=order, device=x.device) - 1), low, high)
    for _ in range(ascent):
        found = found.detach().requires_grad_()
        (gradient,) = torch.autograd.grad((f(found) - still).square().sum(), found)
        found = torch.clamp(found.detach() + step * gradient.sign(), low, high)
    return found.detach()


def movement(z: Float[Tensor, "n d"], still: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """The mean squared distance that features moved."""
    return (z - still).square().sum(dim=1).mean()
