"""The dense head g of active transfer learning: NN1 = dropout + linear, NN2 = a hidden layer between dropouts.

    NN1: softmax(D(z) W + b)        NN2: softmax(D(relu(D(z) W1 + b1)) W2 + b2),   D = dropout
Glorot-uniform weights and zero biases (Keras' default), Adam, mini-batches, at most `epochs` epochs, stopped
when the dropout-free training loss has not improved for `patience` epochs. Never sees test data.

A head is small and trained hundreds of times, so its training is written out: samples are columns, h = W x + b with
weights [out, in], whose products are two to five times as quick as those with [in, out] where `out` is a few
classes; all weights lie in one row, and a step of Adam is five operations on it. With P = softmax(logits), B samples,
s = 1 / (1 - dropout) and masks D of 0 and 1, the gradient of the mean cross-entropy is, from the last layer down,

    G = (P - Y) / B,   dW = s G (D x)^T,   db = G 1,   G' = s D (W^T G) where x > 0.

Reference: Mueller, Boettinger, arXiv:2101.10792, section IV-A; what it leaves open is fixed here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor

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


def fit(
    spec: HeadSpec, z: Float[Tensor, "n d"], y: Int[Tensor, " n"], k: int, init: Generator, order: Generator
) -> Head:
    """A head trained from scratch on features and labels; `order` draws batches and dropout."""
    start = [p.t() for p in initial(spec, z.shape[1], k, init)]
    row = torch.cat([p.reshape(-1) for p in start]).to(z.dtype)
    layers, slopes = views(row, start), views(down := torch.zeros_like(row), start)
    adam, target = Adam(row, spec.lr), F.one_hot(y, k).T.to(z.dtype).contiguous()
    best, waited = float("inf"), 0
    for _ in range(spec.epochs):
        for batch in torch.split(torch.randperm(len(z), generator=order), spec.batch):
            x, wanted = z.index_select(0, batch), target.index_select(1, batch)
            write_slopes(layers, x, wanted, spec.dropout, order, slopes)
            adam.step(down)
        a = columns(layers, z)
        now = float((a.logsumexp(dim=0) - (a * target).sum(dim=0)).mean())
        best, waited = (now, 0) if now < best else (best, waited + 1)
        if waited >= spec.patience:
            break
    return Head(tuple(p for w, b in layers for p in (w.T, b[:, 0])))


def views(row: Float[Tensor, " p"], shaped: list[Tensor]) -> Layers:
    """The weights and biases that lie in a row one after the other."""
    parts = torch.split(row, [p.numel() for p in shaped])
    return [(w.view(like.shape), b[:, None]) for (w, b), (like, _) in zip(paired(parts), paired(shaped), strict=True)]


def paired(layers: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases, layer by layer."""
    return list(zip(layers[::2], layers[1::2], strict=True))


def columns(layers: Layers, z: Float[Tensor, "n d"]) -> Float[Tensor, "k n"]:
    """Logits of rows of features, one sample a column, computed in parts that stay in the cache."""
    found = z.new_empty(len(layers[-1][1]), len(z))
    for start in range(0, len(z), ROWS):
        found[:, start : start + ROWS] = outputs(layers, z[start : start + ROWS].T)
    return found


def outputs(layers: Layers, h: Float[Tensor, "d n"]) -> Float[Tensor, "k n"]:
    """Logits without dropout, samples in columns."""
    for i, (w, b) in enumerate(layers):
        h = torch.addmm(b, w, h.relu() if i else h)
    return h


def write_slopes(
    layers: Layers,
    z: Float[Tensor, "n d"],
    target: Float[Tensor, "k n"],
    dropout: float,
    order: Generator,
    into: Layers,
) -> None:
    """The gradient of a batch's mean cross-entropy behind dropout, written into weights like those of `layers`."""
    scale, h, met = 1.0 / (1.0 - dropout), z.T, []
    for i, (w, b) in enumerate(layers):
        keep = kept(h.T.shape, dropout, order).to(z.dtype).T if dropout else None
        x = h.relu() if i else h
        met.append((x if keep is None else x * keep, keep))
        h = torch.addmm(b, w, met[-1][0], alpha=scale)
    g = h.softmax(dim=0).sub_(target).div_(len(z))
    for i in reversed(range(len(layers))):
        x, keep = met[i]
        torch.sum(g, dim=1, keepdim=True, out=into[i][1])
        torch.mm(g.mul_(scale), x.T, out=into[i][0])
        if i:
            g = (layers[i][0].T @ g).mul_(x > 0)  # where x > 0, its mask is 1


class Adam:
    """Kingma and Ba's steps for weights in one row, which they change: m, v of gradients and of their squares."""

    def __init__(self, row: Float[Tensor, " p"], lr: float, decays: tuple[float, float] = (0.9, 0.999)) -> None:
        self.row, self.lr, self.decays, self.steps = row, lr, decays, 0
        self.m, self.v = torch.zeros_like(row), torch.zeros_like(row)

    def step(self, g: Float[Tensor, " p"], eps: float = 1e-8) -> None:
        """One step against the gradient g: lr m' / (sqrt(v') + eps), m' = m / (1 - b1^t), v' = v / (1 - b2^t)."""
        (b1, b2), self.steps = self.decays, self.steps + 1
        root = math.sqrt(1 - b2**self.steps)
        self.m.lerp_(g, 1 - b1)
        self.v.mul_(b2).addcmul_(g, g, value=1 - b2)
        self.row.addcdiv_(self.m, self.v.sqrt().add_(eps * root), value=-self.lr * root / (1 - b1**self.steps))


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
    return z * kept(z.shape, dropout, rng).to(z.dtype) / (1.0 - dropout)


def kept(shape: Sequence[int], dropout: float, rng: Generator) -> Tensor:
    """1 where an input is kept, 0 where it is dropped; of a half, one random bit decides, not a random number."""
    if dropout != 0.5:
        return torch.rand(shape, generator=rng) >= dropout
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
