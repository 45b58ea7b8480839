"""A descent twice: as the package does it, and as plainly as can be, one sample after the other."""

import math

import torch
from torch import Tensor

from molebench.collision import Extractor
from molebench.descent import MOMENTUM, Descent
from molebench.types import Array, Modality

Outcome = tuple[Tensor, dict[str, Array]]
SIZE = 125


def descend(
    f: Extractor,
    x: Tensor,
    begin: Tensor,
    mu: Tensor,
    beta: float,
    steps: int,
    lr: float,
    tolerance: float,
    modality: Modality,
    size: int = SIZE,
) -> Outcome:
    """The package's descent of samples that are all there, to one mu or each sample's own; what it found, in order."""
    mu, descent = mu.expand(len(x), -1), Descent(beta, steps, lr, tolerance, modality)
    left = list(descent.of(f, lambda some: (x[some], begin[some], mu[some]), len(x), size))
    order = torch.cat([torch.from_numpy(each.who) for each in left]).argsort()
    facts = {name: torch.cat([torch.from_numpy(each.facts[name]) for each in left])[order] for name in left[0].facts}
    return torch.cat([each.moved for each in left])[order], {name: fact.numpy() for name, fact in facts.items()}


def plainly(
    f: Extractor,
    x: Tensor,
    begin: Tensor,
    mu: Tensor,
    beta: float,
    steps: int,
    lr: float,
    tolerance: float,
    modality: Modality,
) -> Outcome:
    """The same by the formulas of molebench/descent.py: one sample, autograd of log J, no batch and no shortcut."""
    ways = [
        way(f, x[i : i + 1], begin[i : i + 1], mu.expand(len(x), -1)[i : i + 1], beta, steps, lr, tolerance, modality)
        for i in range(len(x))
    ]
    taken = torch.tensor([t for _, t in ways]).numpy()
    return torch.cat([at for at, _ in ways]), {"steps": taken}


def way(
    f: Extractor,
    x: Tensor,
    begin: Tensor,
    mu: Tensor,
    beta: float,
    steps: int,
    lr: float,
    tolerance: float,
    modality: Modality,
) -> tuple[Tensor, int]:
    """Where one sample ends, and after how many steps."""
    reach = tolerance * float((f(x) - mu).norm())
    d, v = begin - x, torch.zeros_like(x)
    for t in range(steps):
        d = d.detach().requires_grad_()
        gap = (f(x + d) - mu).square().sum()
        if float(gap.detach().sqrt()) <= reach:
            return (x + d).detach(), t
        g = torch.autograd.grad((gap + beta * d.square().sum()).log(), d)[0]
        d = d.detach()
        g[(x + d <= modality.low) & (g > 0)] = 0.0
        g[(x + d >= modality.high) & (g < 0)] = 0.0
        v = MOMENTUM * v + (1 - MOMENTUM) * g / max(float(g.norm()), 1e-38)
        a = lr * (1 + math.cos(math.pi * t / steps)) / 2 * x.numel() ** 0.5 / (1 - MOMENTUM ** (t + 1))
        d = (x + d - a * v).clamp(modality.low, modality.high) - x
    return x + d, steps
