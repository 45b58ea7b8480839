"""The dense head g of active transfer learning: NN1 = dropout + linear, NN2 = a hidden layer between dropouts.

    NN1: softmax(D(z) W + b)        NN2: softmax(D(relu(D(z) W1 + b1)) W2 + b2),   D = dropout
Glorot-uniform weights and zero biases (Keras' default), Adam, mini-batches, at most `epochs` epochs, stopped
when the dropout-free training loss has not improved for `patience` epochs. Never sees test data.

Its training is molebench/head_training.py.

Reference: Mueller, Boettinger, arXiv:2101.10792, section IV-A; what it leaves open is fixed here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from molebench.aside import shared
from molebench.types import Array

ROWS = 512  # samples scored at once: what a pass reads again stays in the processor's cache


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

    def columns(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "k n"]:
        """The logits of many samples, one a column, without gradients."""
        with torch.no_grad():
            return columns([(w.T, b[:, None]) for w, b in paired(self.layers)], z)

    def probabilities(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """softmax(g(z)), without gradients."""
        return self.columns(z).softmax(dim=0).T.contiguous()

    def doubts(self, z: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """The entropy of softmax(g(z)): log sum_c e^a_c - sum_c p_c a_c, of logits a."""
        a = self.columns(z)
        a -= a.amax(dim=0)
        e = a.exp()
        total = e.sum(dim=0)
        return total.log() - a.mul_(e).sum(dim=0) / total


Layers = list[tuple[Tensor, Tensor]]  # weights [out, in] and biases [out, 1] of each layer, for samples in columns


def paired(layers: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases, layer by layer."""
    return list(zip(layers[::2], layers[1::2], strict=True))


def columns(layers: Layers, z: Float[Tensor, "n d"]) -> Float[Tensor, "k n"]:
    """Logits of rows of features, one sample a column, computed in parts that stay in the cache of a processor."""
    if not z.is_cpu:
        return outputs(layers, z.T)
    found = z.new_empty(len(layers[-1][1]), len(z))

    def score(start: int) -> None:
        with torch.no_grad():  # which is a thread's own
            found[:, start : start + ROWS] = outputs(layers, z[start : start + ROWS].T)

    shared(score, range(0, len(z), ROWS))
    return found


def outputs(layers: Layers, h: Float[Tensor, "d n"]) -> Float[Tensor, "k n"]:
    """Logits without dropout, samples in columns."""
    for i, (w, b) in enumerate(layers):
        h = torch.addmm(b, w, h.relu() if i else h)
    return h


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
    return z * kept(z.shape, dropout, rng, z.device).to(z.dtype) / (1.0 - dropout)


def kept(shape: Sequence[int], dropout: float, rng: Generator, device: torch.device | None = None) -> Tensor:
    """1 where an input is kept, 0 where it is dropped, drawn on a device by a generator there; on a processor one
    random bit decides of a half, not a random number.
    """
    if dropout != 0.5 or (device and device.type != "cpu"):
        return torch.rand(shape, generator=rng, device=device) >= dropout
    count = math.prod(shape)
    words = torch.empty(-(-count // 64), dtype=torch.int64).random_(-(2**63), None, generator=rng)
    return torch.from_numpy(np.unpackbits(words.numpy().view(np.uint8), count=count)).view(shape)


def entropy(p: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
    """-sum_c p_c log p_c of each row, in nats (Eq. 4 of the paper)."""
    return torch.special.entr(p).sum(dim=1)


def highest(values: Float[Array, " n"], count: int) -> Int[Array, " m"]:
    """Where the `count` highest values stand, highest first; ties keep the order given. Only they are sorted."""
    values = np.where(np.isnan(values), -np.inf, values)
    count = min(count, len(values))
    least = np.partition(values, len(values) - count)[len(values) - count] if count else np.inf
    near = np.flatnonzero(values >= least)
    found: Array = near[np.argsort(-values[near], kind="stable")][:count]
    return found


def least_certain(p: Float[Array, "n k"], count: int) -> Int[Array, " m"]:
    """The `count` rows of highest entropy (Eq. 4), highest first; ties keep the order given."""
    return highest(entropy(torch.from_numpy(p)).numpy(), count)
