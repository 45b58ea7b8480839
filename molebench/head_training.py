"""A head trained from scratch: Adam on mini-batches behind dropout, stopped once its loss no longer falls.

A head is small and trained hundreds of times, so its training is written out: samples are columns, h = W x + b with
weights [out, in], whose products are two to five times as quick as those with [in, out] where `out` is a few
classes; all weights lie in one row, and a step of Adam is five operations on it. With P = softmax(logits), B samples,
s = 1 / (1 - dropout) and masks D of 0 and 1, the gradient of the mean cross-entropy is, from the last layer down,

    G = (P - Y) / B,   dW = s G (D x)^T,   db = G 1,   G' = s D (W^T G) where x > 0.

What needs no weights is done aside: the next epoch is drawn, and the last one judged, while an epoch is being stepped
through. A judgement comes an epoch late then; the weights that it was of are kept until it is there.

All is computed where z lies. On a graphics processor batches and masks are drawn there, by a generator that follows
from `order`, and nobody works aside; one number is fetched an epoch, the loss, which says whether there is another.

Reference: Kingma and Ba, "Adam", ICLR 2015, arXiv:1412.6980; PyTorch's modules and Adam are the slow twin in the tests.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Generator as Generates
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor

from molebench.aside import aside
from molebench.heads import Head, HeadSpec, Layers, columns, initial, kept, paired
from molebench.rng import drawing_on

DECAYS = 0.9, 0.999  # b1 and b2 of Adam, as Kingma and Ba recommend


class Batch(NamedTuple):
    """x: inputs behind their dropout [b, d]. wanted: Y [k, b]. keep: the masks of further layers, in columns."""

    x: Tensor
    wanted: Tensor
    keep: tuple[Tensor | None, ...]


class Judged(NamedTuple):
    """loss: of the dropout-free head on all that it is trained on. head: its weights. state: of what draws, by then."""

    loss: float | Float[Tensor, ""]
    head: Any
    state: Tensor


@runtime_checkable
class Course(Protocol):
    """A head in training, whatever its arithmetic."""

    @property
    def spec(self) -> HeadSpec:
        """How it is trained."""

    @property
    def order(self) -> Generator:
        """Draws batches and dropout."""

    @property
    def beside(self) -> bool:
        """Whether a second thread helps."""

    def epoch(self) -> tuple[Any, Tensor]:
        """The batches of an epoch, and the state of `order` after it."""

    def steps(self, batches: Any) -> None:
        """A step of Adam for each of them."""

    def weights(self) -> Any:
        """A copy of what the head is now."""

    def judged(self, head: Any, state: Tensor) -> Judged:
        """The loss of such a copy on all samples, without dropout."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a head is trained on. z: features [n, d]. target: Y [k, n]. start: weights and biases that it begins with.

    order: draws batches and dropout.
    """

    spec: HeadSpec
    z: Tensor
    target: Tensor
    start: list[Tensor]
    order: Generator

    @cached_property
    def adam(self) -> "Adam":
        """What changes the weights, which lie in one row."""
        return Adam(torch.cat([p.reshape(-1) for p in self.start]).to(self.z.dtype), self.spec.lr)

    @cached_property
    def slopes(self) -> Float[Tensor, " p"]:
        """Where the gradient is written."""
        return torch.zeros_like(self.adam.row)

    @property
    def beside(self) -> bool:
        """Whether a second thread helps: a graphics processor has its own."""
        return self.z.is_cpu

    @cached_property
    def rooms(self) -> Iterator[Tensor]:
        """Where the inputs of an epoch may lie, by turns: one is drawn while the one before is stepped through."""
        return cycle((torch.empty_like(self.z), torch.empty_like(self.z)))

    def steps(self, batches: list[Batch]) -> None:
        """A step of Adam for each batch."""
        layers, into = views(self.adam.row, self.start), views(self.slopes, self.start)
        for batch in batches:
            write_slopes(layers, batch, self.spec.dropout, into)
            self.adam.step(self.slopes)

    def weights(self) -> Float[Tensor, " p"]:
        """A copy of what the head is now."""
        return self.adam.row.clone()

    def epoch(self) -> tuple[list[Batch], Tensor]:
        """The batches of an epoch, and the state of `order` after it."""
        into = next(self.rooms)
        shuffled, size = torch.randperm(len(self.z), generator=self.order, device=self.z.device), self.spec.batch
        if self.at_once:
            torch.index_select(self.z, 0, shuffled, out=into)
            if self.spec.dropout:
                into.mul_(self.masks.copy_(kept(self.z.shape, self.spec.dropout, self.order, self.z.device)))
            wanted = torch.split(self.target.index_select(1, shuffled), size, dim=1)
            batches = [Batch(x, each, ()) for x, each in zip(torch.split(into, size), wanted, strict=True)]
        else:
            batches = [self.batch(which) for which in torch.split(shuffled, size)]
        return batches, self.order.get_state()

    @cached_property
    def masks(self) -> Float[Tensor, "n d"]:
        """Where masks lie, always the same: fresh memory for each costs more than the mask."""
        return torch.empty_like(self.z)

    @property
    def at_once(self) -> bool:
        """Whether a mask for the whole epoch is the batches' masks one after the other: `kept` draws words of 64."""
        return len(self.start) == 2 and self.spec.batch * self.z.shape[1] % 64 == 0

    def batch(self, which: Int[Tensor, " b"]) -> Batch:
        """Some samples, dropout drawn layer by layer."""
        x, wanted = self.z.index_select(0, which), self.target.index_select(1, which)
        if not self.spec.dropout:
            return Batch(x, wanted, (None,) * (len(self.start) // 2 - 1))
        first, *further = (self.mask(len(which), w.shape[1]) for w in self.start[::2])
        return Batch(x.mul_(first), wanted, tuple(each.T for each in further))

    def mask(self, samples: int, wide: int) -> Float[Tensor, "b d"]:
        """D of a layer's inputs."""
        return kept((samples, wide), self.spec.dropout, self.order, self.z.device).to(self.z.dtype)

    def judged(self, head: Float[Tensor, " p"], state: Tensor) -> Judged:
        """The mean cross-entropy of these weights on all samples, without dropout."""
        a = columns(views(head, self.start), self.z)
        return Judged((a.logsumexp(dim=0) - (a * self.target).sum(dim=0)).mean(), head, state)


def fit(
    spec: HeadSpec, z: Float[Tensor, "n d"], y: Int[Tensor, " n"], k: int, init: Generator, order: Generator
) -> Head:
    """A head trained from scratch on features and labels, where they lie; `order` draws batches and dropout."""
    start, drawing = [p.t().to(z.device) for p in initial(spec, z.shape[1], k, init)], drawing_on(z.device, order)
    target = F.one_hot(y, k).T.to(z.dtype).contiguous()
    row = trained(Lesson(spec, z, target, start, drawing))
    return Head(tuple(p for w, b in views(row, start) for p in (w.T, b[:, 0])))


def trained(course: Course) -> Any:
    """What the head is once its loss no longer falls."""
    with closing(epochs(course)) as judgements:
        last = stopped(judgements, course.spec.patience)
    course.order.set_state(last.state)  # as if no epoch had been drawn ahead
    return last.head


def stopped(judgements: Iterable[Judged], patience: int) -> Judged:
    """The last of them, or the first before which as many as `patience` had no loss below all before."""
    best, waited = math.inf, 0
    for last in judgements:
        loss = float(last.loss)
        best, waited = (loss, 0) if loss < best else (best, waited + 1)
        if waited >= patience:
            break
    return last


def epochs(course: Course) -> Generates[Judged, None, None]:
    """The head after every epoch."""
    judged = deque[Callable[[], Judged]]()
    with aside(course.beside) as hands:
        ahead = hands.begin(course.epoch)
        for left in reversed(range(course.spec.epochs)):
            batches, state = ahead()
            if left:
                ahead = hands.begin(course.epoch)
            course.steps(batches)
            judged.append(hands.begin(course.judged, course.weights(), state))
            if len(judged) > hands.late:
                yield judged.popleft()()
        yield from (each() for each in judged)


def views(row: Float[Tensor, " p"], shaped: list[Tensor]) -> Layers:
    """The weights and biases that lie in a row one after the other."""
    parts = torch.split(row, [p.numel() for p in shaped])
    return [(w.view(like.shape), b[:, None]) for (w, b), (like, _) in zip(paired(parts), paired(shaped), strict=True)]


def write_slopes(layers: Layers, batch: Batch, dropout: float, into: Layers) -> None:
    """The gradient of a batch's mean cross-entropy behind dropout, written into weights like those of `layers`."""
    scale, met = 1.0 / (1.0 - dropout), [batch.x.T]
    h = torch.addmm(layers[0][1], layers[0][0], met[0], alpha=scale)
    for (w, b), keep in zip(layers[1:], batch.keep, strict=True):
        met.append(h.relu() if keep is None else h.relu().mul_(keep))
        h = torch.addmm(b, w, met[-1], alpha=scale)
    g = h.softmax(dim=0).sub_(batch.wanted).div_(len(batch.x))
    for i in reversed(range(len(layers))):
        torch.sum(g, dim=1, keepdim=True, out=into[i][1])
        torch.addmm(into[i][0], g, met[i].T, beta=0, alpha=scale, out=into[i][0])
        if i:
            g = (layers[i][0].T @ g).mul_(met[i] > 0).mul_(scale)  # where what went in is above 0, its mask is 1


class Adam:
    """Kingma and Ba's steps for weights in one row, which they change: m, v of gradients and of their squares."""

    def __init__(self, row: Float[Tensor, " p"], lr: float) -> None:
        self.row, self.lr, self.steps = row, lr, 0
        self.m, self.v = torch.zeros_like(row), torch.zeros_like(row)

    def step(self, g: Float[Tensor, " p"]) -> None:
        """One step against the gradient g."""
        (b1, b2), self.steps = DECAYS, self.steps + 1
        rate, eps = paced(self.lr, self.steps)
        self.m.lerp_(g, 1 - b1)
        self.v.mul_(b2).addcmul_(g, g, value=1 - b2)
        self.row.addcdiv_(self.m, self.v.sqrt().add_(eps), value=-rate)


def paced(lr: float, t: int, eps: float = 1e-8) -> tuple[float, float]:
    """Adam's t-th step is lr m' / (sqrt(v') + eps), m' = m / (1 - b1^t), v' = v / (1 - b2^t): lr, eps for m, v."""
    b1, b2 = DECAYS
    root = math.sqrt(1 - b2**t)
    return lr * root / (1 - b1**t), eps * root
