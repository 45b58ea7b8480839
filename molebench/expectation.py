"""Expectation over transforms: features that hold for an input and for what a defense would make of it.

In place of |f(x) - mu|^2 an attack descends the mean over x itself and K transformed copies of it, T_k drawn anew at
every step. That mean is the squared distance of two longer vectors, so a descent need not know of it:

    F(x) = (f(x), f(T_1 x), ..., f(T_K x)) / sqrt(K + 1),   MU = (mu, mu, ..., mu) / sqrt(K + 1).

Transforms without a gradient (JPEG, fewer bits, a median) pass it as if they were not there.

Reference: Athalye, Engstrom, Ilyas, Kwok, "Synthesizing Robust Adversarial Examples", ICML 2018, arXiv:1707.07397; the
straight gradient: Athalye, Carlini, Wagner, "Obfuscated Gradients Give a False Sense of Security", ICML 2018,
arXiv:1802.00420.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from molebench.errors import MolebenchError
from molebench.squeezing import blurred, compressed, shallower
from molebench.types import AUDIO, Array, Modality

Over = Literal["none", "jpeg", "bits", "median", "shift", "any"]
KINDS = ("jpeg", "bits", "median", "shift")
QUALITY = (30, 95)  # of JPEG, the least and the most
BITS = {"image": (3, 6), "audio": (6, 11)}  # a value
SIZES = (2, 3)  # of a median's neighbourhood
SHIFT = 16  # the most is one part in so many of width and height, or of a sound's length


@dataclass(frozen=True, eq=False)
class Expected:
    """F of the docstring. kinds: one of which each copy goes through. draws: K."""

    extractor: Callable[[Tensor], Tensor]
    kinds: tuple[str, ...]
    draws: int
    modality: Modality
    rng: np.random.Generator

    def __call__(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n e"]:
        """Features of the inputs and of their copies, side by side."""
        copies = [x, *(transformed(x, str(self.rng.choice(self.kinds)), self.modality, self.rng) for _ in self.each)]
        return torch.cat([self.extractor(copy) for copy in copies], dim=1) / len(copies) ** 0.5

    def aim(self, mu: Float[Array, "*n d"]) -> Float[Array, "*n e"]:
        """MU of one mu for all, or of each sample's."""
        return np.tile(mu, self.draws + 1) / np.float32((self.draws + 1) ** 0.5)

    @property
    def each(self) -> range:
        """The copies beside the input itself."""
        return range(self.draws)


def kinds_of(over: Over, modality: Modality) -> tuple[str, ...]:
    """What `over` stands for with inputs of this kind; MolebenchError where they have no such transform."""
    if over == "jpeg" and modality == AUDIO:
        raise MolebenchError("expectation=jpeg of sounds; expected bits, median, shift or any")
    if over == "any":
        return tuple(kind for kind in KINDS if kind != "jpeg" or modality != AUDIO)
    return () if over == "none" else (over,)


def transformed(x: Tensor, kind: str, modality: Modality, rng: np.random.Generator) -> Tensor:
    """Inputs after one transform of this kind, its strength drawn."""
    if kind == "shift":
        return shifted(x, rng)
    if kind == "jpeg":
        return through(x, modality, lambda stored: compressed(stored, drawn(QUALITY, rng)))
    if kind == "bits":
        return through(x, modality, lambda stored: shallower(stored, drawn(BITS[modality.name], rng)))
    return through(x, modality, lambda stored: blurred(stored, drawn(SIZES, rng)))


def drawn(between: tuple[int, int], rng: np.random.Generator) -> int:
    """An integer, both ends included."""
    return int(rng.integers(between[0], between[1] + 1))


def shifted(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Inputs rolled a little along each axis of space or time."""
    axes = (1, 2) if x.dim() == 4 else (1,)
    most = [max(1, x.shape[axis] // SHIFT) for axis in axes]
    return x.roll([drawn((-m, m), rng) for m in most], axes)


def through(x: Tensor, modality: Modality, squeeze: Callable[[Array], Array]) -> Tensor:
    """What is stored of the inputs, squeezed, by code of the processor; a gradient passes as if it were the inputs
    themselves."""
    squeezed = modality.values(squeeze(modality.quantise(x.detach().cpu().numpy())))
    return x + (torch.from_numpy(squeezed).to(x.device) - x).detach()
