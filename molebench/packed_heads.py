"""Linear heads trained and asked with compiled arithmetic, where so many are trained that compiling pays.

The same head as molebench/head_training.py's from the same streams: batches and dropout are drawn alike, sums are
taken in another order.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from molebench import head_kernels as kernels
from molebench.aside import shared
from molebench.head_training import Judged, paced, trained
from molebench.heads import HeadSpec, initial, kept
from molebench.types import Array

EIGHT, PART = kernels.EIGHT, kernels.PART
PIECE = 2048  # rows scored at once


@dataclass(frozen=True, eq=False)
class Packed:
    """Weights w [parts, k', PART] and biases b [k']; zeros make classes even and inputs whole parts."""

    w: Float[Array, "p c f"]
    b: Float[Array, " c"]
    k: int

    def copy(self) -> "Packed":
        """The same numbers, elsewhere."""
        return Packed(self.w.copy(), self.b.copy(), self.k)

    def logits(self, z: Float[Tensor, "n d"]) -> Float[Array, "n k"]:
        """z W + b, pieces of it on as many threads as there are."""
        rows = np.ascontiguousarray(z.numpy(), np.float32)
        if len(rows) < EIGHT:
            rows = np.concatenate([rows, np.zeros((EIGHT - len(rows), rows.shape[1]), np.float32)])
        found = np.empty((len(rows), self.k), np.float32)
        edges = np.linspace(0, len(rows), max(1, len(rows) // PIECE) + 1).astype(int)

        def score(piece: tuple[int, int]) -> None:
            kernels.logits(rows[slice(*piece)], self.w, self.b, found[slice(*piece)])

        shared(score, list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)))
        return found[: len(z)]

    def probabilities(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """softmax(g(z))."""
        return torch.from_numpy(self.logits(z)).softmax(dim=1)

    def doubts(self, z: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """The entropy of softmax(g(z))."""
        a = self.logits(z)
        found = np.empty(len(a), np.float32)
        kernels.doubts(a, found)
        return torch.from_numpy(found)


def packed(w: Float[Tensor, "d k"], b: Float[Tensor, " k"]) -> Packed:
    """Weights and biases, packed."""
    d, k = w.shape
    parts, even = -(-d // PART), k + k % 2
    whole = np.zeros((even, parts * PART), np.float32)
    whole[:k, :d] = w.T.numpy()
    biases = np.zeros(even, np.float32)
    biases[:k] = b.numpy()
    return Packed(np.ascontiguousarray(whole.reshape(even, parts, PART).swapaxes(0, 1)), biases, k)


@dataclass(frozen=True, eq=False)
class Course:
    """What a packed head is trained on. z: features [n, d]. y: labels. head: changes with every step."""

    spec: HeadSpec
    z: Tensor
    y: Int[Array, " n"]
    head: Packed
    order: Generator
    taken: list[int] = field(default_factory=lambda: [0])  # steps

    @property
    def beside(self) -> bool:
        """Whether a second thread helps."""
        return True

    def room(self) -> Float[Array, "p r f"]:
        """Where an epoch's inputs may lie: each batch from a multiple of eight on, zeros around them."""
        batches = -(-len(self.z) // self.spec.batch)
        return np.zeros((len(self.head.w), batches * self.apart, PART), np.float32)

    @property
    def apart(self) -> int:
        """Rows from one batch to the next."""
        return -(-self.spec.batch // EIGHT) * EIGHT

    def epoch(self, into: Array) -> tuple[tuple[Array, Array], Tensor]:
        """The inputs and labels of an epoch behind dropout, and the state of `order` after it."""
        shuffled = torch.randperm(len(self.z), generator=self.order)
        for i, which in enumerate(torch.split(shuffled, self.spec.batch)):
            keep = self.kept(len(which))
            kernels.pack(self.z.numpy(), which.numpy(), keep, into, i * self.apart)
        return (into, self.y[shuffled.numpy()]), self.order.get_state()

    def kept(self, count: int) -> Array:
        """Which inputs of a batch dropout leaves."""
        shape = (count, self.z.shape[1])
        return kept(shape, self.spec.dropout, self.order).numpy() if self.spec.dropout else np.ones(shape, np.uint8)

    def steps(self, drawn: tuple[Array, Array]) -> None:
        """A step of Adam for each batch."""
        (x, y), head, size = drawn, self.head, self.spec.batch
        scale, d = np.float32(1 / (1 - self.spec.dropout)), self.z.shape[1]
        for i, start in enumerate(range(0, len(y), size)):
            self.taken[0] += 1
            rate, eps = (np.float32(each) for each in paced(self.spec.lr, self.taken[0]))
            mine, here = y[start : start + size], i * self.apart
            kernels.step(x, here, d, mine, head.k, head.w, head.b, self.moments, scale, rate, eps)

    @cached_property
    def moments(self) -> Float[Array, "2 p"]:
        """m and v of Adam, of weights and then of biases."""
        return np.zeros((2, self.head.w.size + self.head.b.size), np.float32)

    def weights(self) -> Packed:
        """A copy of what the head is now."""
        return self.head.copy()

    def judged(self, head: Packed, state: Tensor) -> Judged:
        """The mean cross-entropy on all samples, without dropout."""
        return Judged(kernels.loss(head.logits(self.z), self.y), head, state)


def fit(
    spec: HeadSpec, z: Float[Tensor, "n d"], y: Int[Tensor, " n"], k: int, init: Generator, order: Generator
) -> Packed:
    """A linear head trained from scratch on features and labels; `order` draws batches and dropout."""
    w, b = initial(spec, z.shape[1], k, init)
    head: Packed = trained(Course(spec, z, y.numpy(), packed(w, b), order))
    return head
