"""Who trains a learner's heads: compiled arithmetic where there are so many that compiling pays, else PyTorch.

Both draw alike from the same streams and compute the same, in float32, but for the order of sums. What decides is a
cell's parameters and where its features lie, nothing else: the same cell is computed the same way everywhere.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from molebench.head_training import fit
from molebench.heads import HeadSpec

OFTEN = 100  # trainings: compiling takes as long as some thirty of them, four seconds


@runtime_checkable
class Scorer(Protocol):
    """A trained head, asked without gradients."""

    def probabilities(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """softmax(g(z))."""

    def doubts(self, z: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """The entropy of softmax(g(z))."""


def fitter(spec: HeadSpec, trainings: int, device: torch.device) -> Callable[..., Scorer]:
    """fit(spec, z, y, k, init, order) of head_training.py or packed_heads.py."""
    if spec.kind != "nn1" or trainings < OFTEN or device.type != "cpu":
        return fit
    from molebench import packed_heads  # which brings the compiler

    return packed_heads.fit
