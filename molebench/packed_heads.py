"""Linear heads trained and asked with compiled arithmetic, where so many are trained that compiling pays.

The same head as molebench/head_training.py's from the same streams: batches and dropout are drawn alike, sums are
taken in another order.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from molebench import head_kernels as kernels
from molebench.aside import shared
from molebench.head_training import Judged, trained
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
        rows = eight_or_more(z)
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


def eight_or_more(z: Float[Tensor, "n d"]) -> Float[Array, "m d"]:
    """Rows as the kernels meet them, zeros after too few of them."""
    rows = np.ascontiguousarray(z.numpy(), np.float32)
    missing = max(0, EIGHT - len(rows))
    return np.concatenate([rows, np.zeros((missing, rows.shape[1]), np.float32)]) if missing else rows


def packed(w: Float[Tensor, "d k"], b: Float[Tensor, " k"]) -> Packed:
    """Weights and biases, packed."""
    d, k = w.shape
    parts, even = -(-d // PART), k + k % 2
    whole = np.zeros((even, parts * PART), np.float32)
    whole[:k, :d] = w.T.numpy()
    biases = np.zeros(even, np.float32)
    biases[:k] = b.numpy()
    return Packed(np.ascontiguousarray(whole.reshape(even, parts, PART).swapaxes(0, 1)), biases, k)


@dataclass(eq=False)
class Course:
    """A packed head in training. z: features, eight rows or more. y: labels of the first. taken: steps so far."""

    spec: HeadSpec
    z: Float[Array, "m d"]
    y: Int[Array, " n"]
    head: Packed
    order: Generator
    taken: int = 0

    @property
    def beside(self) -> bool:
        """Whether a second thread helps."""
        return True

    def epoch(self) -> tuple[tuple[Array, Array], Tensor]:
        """Samples in the order of an epoch and which of their inputs are kept, and the state of `order` after it."""
        which = torch.randperm(len(self.y), generator=self.order).numpy()
        return (which, self.kept()), self.order.get_state()

    def kept(self) -> Array:
        """Which inputs dropout leaves, drawn batch by batch: at once where that is the same, by words of 64."""
        n, d, size = len(self.y), self.z.shape[1], self.spec.batch
        if not self.spec.dropout:
            return np.ones((n, d), np.uint8)
        sizes = [n] if size * d % 64 == 0 else [min(size, n - start) for start in range(0, n, size)]
        drawn = [kept((each, d), self.spec.dropout, self.order).numpy() for each in sizes]
        return np.concatenate(drawn) if len(drawn) > 1 else drawn[0]

    def steps(self, drawn: tuple[Array, Array]) -> None:
        """A step of Adam for each batch."""
        head, size, lr, scale = self.head, self.spec.batch, self.spec.lr, np.float32(1 / (1 - self.spec.dropout))
        kernels.steps(self.z, self.y, *drawn, size, head.k, head.w, head.b, self.moments, scale, lr, self.taken)
        self.taken += -(-len(self.y) // size)

    @cached_property
    def moments(self) -> Float[Array, "2 p"]:
        """m and v of Adam, of weights and then of biases."""
        return np.zeros((2, self.head.w.size + self.head.b.size), np.float32)

    def weights(self) -> Packed:
        """A copy of what the head is now."""
        return self.head.copy()

    def judged(self, head: Packed, state: Tensor) -> Judged:
        """The mean cross-entropy on all samples, without dropout."""
        return Judged(kernels.judged(self.z, self.y, head.w, head.b, head.k), head, state)


def fit(
    spec: HeadSpec, z: Float[Tensor, "n d"], y: Int[Tensor, " n"], k: int, init: Generator, order: Generator
) -> Packed:
    """A linear head trained from scratch on features and labels; `order` draws batches and dropout."""
    w, b = initial(spec, z.shape[1], k, init)
    head: Packed = trained(Course(spec, eight_or_more(z), y.numpy(), packed(w, b), order))
    return head
