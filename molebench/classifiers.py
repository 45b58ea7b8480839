"""Image classifiers trained from scratch: ResNets with an ImageNet or a CIFAR stem, and what any classifier shares.

Each takes images as they are stored, uint8 [n, h, w, c], takes out the mean and standard deviation of its pool, and
gives logits [n, k]. Stem `imagenet` is a 7x7 convolution of stride 2 and a max-pool; `cifar` a 3x3 of stride 1.

Reference: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, UInt8
from torch import Generator, Tensor, nn

from molebench.small_maps import with_small_maps
from molebench.types import Array

if TYPE_CHECKING:
    from torchvision.models import ResNet


@dataclass(frozen=True)
class Shape:
    """What a classifier is built for: image sides, channels, and classes."""

    height: int
    width: int
    channels: int
    classes: int


class Classifier(nn.Module):
    """Logits of stored images: the pool's mean and standard deviation per channel out, then `body`."""

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, mean: Float[Array, " c"], std: Float[Array, " c"]) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, x: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n k"]:
        """Logits; in the type of the mean, so that a network in bfloat16 is fed in bfloat16."""
        images = x.permute(0, 3, 1, 2).to(self.mean.dtype)  # channels last in memory already
        logits: Tensor = self.body((images - self.mean) / self.std)
        return logits.float()


def statistics(x: UInt8[Array, "n h w c"]) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Mean and standard deviation of each channel over a pool, in 0-255; a constant channel has deviation 1."""
    mean, std = x.mean(axis=(0, 1, 2), dtype="float64"), x.std(axis=(0, 1, 2), dtype="float64")
    std[std == 0] = 1.0
    return mean, std


def initialised(build: Callable[[], nn.Module], init: Generator) -> nn.Module:
    """A network with the weights that this generator draws; the libraries' initialisers know the global one only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=init)))
        return build().to(memory_format=torch.channels_last)


def resnet18(stem: str, shape: Shape) -> nn.Module:
    """A ResNet of 18 layers."""
    from torchvision import models

    return for_small_images(models.resnet18(num_classes=shape.classes), stem, shape)


def resnet50(stem: str, shape: Shape) -> nn.Module:
    """A ResNet of 50 layers."""
    from torchvision import models

    return for_small_images(models.resnet50(num_classes=shape.classes), stem, shape)


def for_small_images(network: "ResNet", stem: str, shape: Shape) -> nn.Module:
    """A ResNet with the stem asked for, for any number of channels."""
    width = network.conv1.out_channels
    if stem == "cifar":
        network.conv1 = nn.Conv2d(shape.channels, width, 3, 1, 1, bias=False)
        network.maxpool = nn.Identity()
    else:
        network.conv1 = nn.Conv2d(shape.channels, width, 7, 2, 3, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    return with_small_maps(network)
