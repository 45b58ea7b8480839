"""A network that learns classes in turn: a backbone and a head that grows by one linear layer a task.

It takes images as they are stored, uint8 [n, h, w, c], takes out mean and standard deviation (of the first task's
images: later ones are not known yet), and gives logits over all classes seen, in the order in which they came.
"""

import copy

import torch
from jaxtyping import Float, UInt8
from torch import Generator, Tensor, nn

from molebench.adapters import plain
from molebench.backbones import Backbone
from molebench.classifiers import initialised
from molebench.nets import folded
from molebench.types import Array


class Incremental(nn.Module):
    """Backbone, mean and deviation, and one linear head a task."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, mean: Float[Array, " c"], std: Float[Array, " c"]) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleList()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def normalised(self, x: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n c h w"]:
        """Images as the backbone wants them; channels stay last in memory."""
        return (x.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) / self.std

    def maps(self, x: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n d i j"]:
        """The last stage's maps."""
        return self.backbone.maps(self.normalised(x))

    def features(self, x: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n d"]:
        """f: the mean of the last maps."""
        found: Tensor = self.backbone(self.normalised(x))
        return found

    def logits(self, f: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """z of features."""
        return torch.cat([head(f) for head in self.heads], dim=1)

    def forward(self, x: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n k"]:
        """z of images."""
        return self.logits(self.features(x))


def grown(network: Incremental, classes: int, init: Generator) -> Incremental:
    """A copy whose head knows so many classes more, its old weights as they were, all of them trainable."""
    found = copy.deepcopy(network).requires_grad_(True)
    width = found.backbone.width
    found.heads.append(initialised(lambda: nn.Linear(width, classes), init).to(found.mean.device))
    return found


def frozen(network: nn.Module) -> nn.Module:
    """A copy for predictions and teaching: evaluation mode, adapters and batch norms folded into convolutions, no
    gradients."""
    return folded(plain(copy.deepcopy(network))).requires_grad_(False)
