"""The dense head g of active transfer learning: NN1 = dropout + linear, NN2 = a hidden layer between dropouts.

    NN1: softmax(D(z) W + b)        NN2: softmax(D(relu(D(z) W1 + b1)) W2 + b2),   D = dropout
Glorot-uniform weights and zero biases (Keras' default), Adam, mini-batches, at most `epochs` epochs, stopped
when the dropout-free training loss has not improved for `patience` epochs. Never sees test data.

Reference: Mueller, Boettinger, arXiv:2101.10792, section IV-A; what it leaves open is fixed here.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor


@dataclass(frozen=True)
class HeadSpec:
    """kind: nn1 or nn2. hidden: units of nn2's hidden layer. dropout: share of inputs dropped."""

    kind: Literal["nn1", "nn2"] = "nn1"
    hidden: int = 64
    dropout: float = 0.5
    lr: float = 1e-3
    epochs: int = 60
    batch: int = 64
    patience: int = 5


@dataclass(frozen=True, eq=False)
class Head:
    """Weights [in, out] and biases [out] of each layer."""

    layers: tuple[Tensor, ...]

    def logits(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """g(z) before the softmax, without dropout."""
        return forward(self.layers, z, 0.0, None)

    def probabilities(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """softmax(g(z)), without gradients."""
        with torch.no_grad():
            return self.logits(z).softmax(dim=1)


def fit(
    spec: HeadSpec, z: Float[Tensor, "n d"], y: Int[Tensor, " n"], k: int, init: Generator, order: Generator
) -> Head:
    """A head trained from scratch on features and labels; `order` draws batches and dropout."""
    layers = tuple(p.requires_grad_() for p in initial(spec, z.shape[1], k, init))
    adam = torch.optim.Adam(layers, lr=spec.lr, fused=True)
    best, waited = float("inf"), 0
    for _ in range(spec.epochs):
        for batch in torch.split(torch.randperm(len(z), generator=order), spec.batch):
            loss = F.cross_entropy(forward(layers, z[batch], spec.dropout, order), y[batch])
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
        with torch.no_grad():
            now = float(F.cross_entropy(forward(layers, z, 0.0, None), y))
        best, waited = (now, 0) if now < best else (best, waited + 1)
        if waited >= spec.patience:
            break
    return Head(tuple(p.detach() for p in layers))


def initial(spec: HeadSpec, d: int, k: int, rng: Generator) -> list[Tensor]:
    """W, b of each layer in turn."""
    widths = (d, k) if spec.kind == "nn1" else (d, spec.hidden, k)
    layers = []
    for fan_in, fan_out in pairwise(widths):
        limit = (6.0 / (fan_in + fan_out)) ** 0.5
        layers += [(torch.rand(fan_in, fan_out, generator=rng) * 2 - 1) * limit, torch.zeros(fan_out)]
    return layers


def forward(
    layers: tuple[Tensor, ...], z: Float[Tensor, "n d"], dropout: float, rng: Generator | None
) -> Float[Tensor, "n k"]:
    """Logits; dropout precedes every layer."""
    for i in range(0, len(layers), 2):
        z = torch.addmm(layers[i + 1], dropped(z if i == 0 else z.relu(), dropout, rng), layers[i])
    return z


def dropped(z: Tensor, dropout: float, rng: Generator | None) -> Tensor:
    """Inverted dropout from a stream of our own: torch's draws from the global generator."""
    if rng is None or dropout == 0.0:
        return z
    keep = torch.rand(z.shape, generator=rng) >= dropout
    return z * keep / (1.0 - dropout)


def entropy(p: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
    """-sum_c p_c log p_c of each row, in nats (Eq. 4 of the paper)."""
    return torch.special.entr(p).sum(dim=1)
