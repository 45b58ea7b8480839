"""Descent in input space: every sample of a crowd by its own gradient, as many at once as a batch holds.

J(d) = |f(x + d) - mu|^2 + beta |d|^2 for each sample, and with momentum m, by its own count t of steps,

    g = grad log J,   v <- m v + (1 - m) g / |g|,   d <- d - a_t sqrt(dim) v / (1 - m^(t+1)),
    a_t = lr (1 + cos(pi t / steps)) / 2,   components of g that push out of the valid range dropped first.

A sample leaves the batch when its features are within `tolerance` of the way, when it has taken its steps, or when its
objective or gradient is no longer finite; then it goes back to where they last were. As soon as a quarter of the places
are free others begin in them, so that a pass over the network is nearly always of a full batch. A sample's way does not
depend on who else is in the batch. Memory follows the batch: samples are asked for when they begin, and handed over
when they leave. On a graphics processor to ask who is done is to wait for it: there it is asked at every `LOOK`th pass,
and who is done before stays where it is until then. Only d wants a gradient; that of log J is put together from f's by
hand:

    grad log J = (J_f^T 2 (f - mu) + 2 beta d) / J.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from molebench.collision import Extractor, device_of, finite_rows, unit, within
from molebench.types import Array, Modality

MOMENTUM = 0.8
FULL = 0.75  # share of the places below which others begin
LOOK = 5  # passes between two looks at a graphics processor

Given = Callable[[slice], tuple[Tensor, Tensor, Tensor]]  # of some samples: base, where the descent begins, and mu


class Left(NamedTuple):
    """Samples that have left the batch. facts: steps taken, converged, diverged."""

    who: Int[Array, " n"]
    moved: Float[Tensor, "n ..."]
    facts: dict[str, Array]


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples under way. t: steps taken. at: where they are, x + d. before: where they were a step ago. v: momentum.

    reach: how near to mu is done. near, bad, done: who has arrived, who is no longer finite, who is to leave.
    """

    index: Int[Tensor, " n"]
    t: Int[Tensor, " n"]
    x: Float[Tensor, "n ..."]
    at: Float[Tensor, "n ..."]
    before: Float[Tensor, "n ..."]
    v: Float[Tensor, "n ..."]
    mu: Float[Tensor, "n d"]
    reach: Float[Tensor, " n"]
    near: Bool[Tensor, " n"]
    bad: Bool[Tensor, " n"]
    done: Bool[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, some: Bool[Tensor, " n"]) -> "Batch":
        rows = some.nonzero()[:, 0]  # asked for once, not by every part
        return Batch(*(part[rows] for part in vars(self).values()))

    def __add__(self, other: "Batch") -> "Batch":
        return Batch(*(torch.cat(parts) for parts in zip(vars(self).values(), vars(other).values(), strict=True)))


@dataclass(frozen=True)
class Descent:
    """The descent of the docstring, by its parameters."""

    beta: float
    steps: int
    lr: float
    tolerance: float
    modality: Modality

    def of(self, f: Extractor, given: Given, n: int, size: int) -> Iterator[Left]:
        """Moves samples 0 to n - 1, at most `size` at once, and hands over each when it has left the batch."""
        start = min(n, size)
        batch = self.begun(f, given, 0, start)
        looks = looking(batch.at.device)
        while len(batch):
            look = next(looks)
            gradient, gap = self.slope(f, batch, look and bool((batch.t == self.steps).all()))
            batch = self.judged(batch, gradient, gap)
            if look and bool(batch.done.any()):
                yield left(batch)
                gradient, batch = gradient[~batch.done], batch[~batch.done]
            batch = self.stepped(batch, gradient)
            if look and start < n and len(batch) <= FULL * size:
                stop = min(n, start + size - len(batch))
                batch, start = batch + self.begun(f, given, start, stop), stop

    def judged(self, batch: Batch, gradient: Float[Tensor, "n ..."], gap: Float[Tensor, " n"]) -> Batch:
        """The batch with who is done by now; who was before keeps the reason."""
        last = batch.t == self.steps
        near = gap <= batch.reach
        bad = ~near & ~(torch.isfinite(gap) & (last | finite_rows(gradient)))
        near, bad = batch.near | near & ~batch.done, batch.bad | bad & ~batch.done
        return replace(batch, near=near, bad=bad, done=batch.done | near | bad | last)

    def slope(self, f: Extractor, batch: Batch, only_gap: bool) -> tuple[Float[Tensor, "n ..."], Float[Tensor, " n"]]:
        """`log_gradient` where the batch is; who has taken all steps is asked for nothing but how far mu is."""
        if only_gap:
            with torch.no_grad():
                return torch.zeros_like(batch.at), (f(batch.at) - batch.mu).norm(dim=1)
        return log_gradient(f, batch.at, batch.at - batch.x, batch.mu, self.beta)

    def begun(self, f: Extractor, given: Given, start: int, stop: int) -> Batch:
        """Samples before their first step."""
        x, at, mu = (part.to(device_of(f)) for part in given(slice(start, stop)))
        with torch.no_grad():
            reach = self.tolerance * (f(x) - mu).norm(dim=1)
        index = torch.arange(start, stop, device=x.device)
        nobody = torch.zeros_like(index, dtype=torch.bool)
        return Batch(index, torch.zeros_like(index), x, at, at, torch.zeros_like(x), mu, reach, nobody, nobody, nobody)

    def stepped(self, batch: Batch, gradient: Float[Tensor, "n ..."]) -> Batch:
        """The batch one step on; who is done stays."""
        v = MOMENTUM * batch.v + (1 - MOMENTUM) * unit(within(gradient, batch.at, self.modality))
        rate = 0.5 * self.lr * (1 + torch.cos(torch.pi * batch.t / self.steps)) / (1 - MOMENTUM ** (batch.t + 1))
        length = rate * batch.x.shape[1:].numel() ** 0.5
        at = (batch.at - broadcast(length, v) * v).clamp_(self.modality.low, self.modality.high)
        still = broadcast(batch.done, at)
        at, before = torch.where(still, batch.at, at), torch.where(still, batch.before, batch.at)
        return replace(batch, t=batch.t + ~batch.done, at=at, before=before, v=v)


def looking(device: torch.device) -> Iterator[bool]:
    """Pass after pass, whether to ask who is done."""
    return cycle([True] if device.type == "cpu" else [True, *[False] * (LOOK - 1)])


def left(batch: Batch) -> Left:
    """Those of the batch who are done; the bad ones where they were before."""
    gone = batch[batch.done]
    moved = torch.where(broadcast(gone.bad, gone.at), gone.before, gone.at)
    facts = {"steps": gone.t, "converged": gone.near, "diverged": gone.bad}
    return Left(gone.index.cpu().numpy(), moved.cpu(), {name: fact.cpu().numpy() for name, fact in facts.items()})


def broadcast(a: Tensor, like: Tensor) -> Tensor:
    """A number a sample, in the shape of samples."""
    return a.view(-1, *[1] * (like.dim() - 1))


def log_gradient(
    f: Extractor, at: Tensor, delta: Tensor, mu: Tensor, beta: float
) -> tuple[Float[Tensor, "n ..."], Float[Tensor, " n"]]:
    """The gradient of log J in d for every sample at x + d, and |f(x + d) - mu|."""
    at = at.detach().requires_grad_()
    gap = (f(at) - mu).square().sum(dim=1)
    objective = gap.detach() + beta * delta.flatten(1).square().sum(dim=1)
    (gradient,) = torch.autograd.grad(gap, at, objective.reciprocal())
    return torch.addcmul(gradient, delta, broadcast(2 * beta / objective, delta)), gap.detach().sqrt()
