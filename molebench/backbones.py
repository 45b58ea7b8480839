"""Backbones of continual learners: ResNet-32 for small images and ResNet-18, as maps of their last stage and features.

ResNet-32 has three stages of five blocks with 16, 32 and 64 channels; ResNet-18 four of two with 64 to 512, behind a
3x3 convolution for images of up to 64 pixels and behind 7x7, stride 2 and a max-pool for larger ones. Every shortcut
that changes the shape is a 1x1 convolution. Features are the mean of the last maps over space.

Reference: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, sections 4.1 and 4.2.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from molebench.classifiers import Shape

Name = Literal["resnet32", "resnet18"]
Arithmetic = Literal["float32", "bfloat16"]
LARGE = 64  # pixels beyond which a ResNet-18 begins as on ImageNet


class Block(nn.Module):
    """Two 3x3 convolutions with batch norms, and the shortcut around them."""

    def __init__(self, ins: int, outs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(ins, outs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outs)
        self.conv2 = nn.Conv2d(outs, outs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outs)
        changes = stride != 1 or ins != outs
        across = (nn.Conv2d(ins, outs, 1, stride, bias=False), nn.BatchNorm2d(outs)) if changes else ()
        self.shortcut = nn.Sequential(*across)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        """relu(bn(conv(relu(bn(conv x)))) + shortcut x)."""
        inner = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(inner)).add_(self.shortcut(x)), inplace=True)


class Backbone(nn.Module):
    """Normalised images [n, c, h, w] to features [n, d]. With bfloat16 its convolutions multiply in it and maps are
    kept in it; weights, batch-norm statistics, sums over batches and what comes out are float32."""

    def __init__(
        self, stem: nn.Module, widths: tuple[int, ...], blocks: int, arithmetic: Arithmetic = "float32"
    ) -> None:
        super().__init__()
        self.arithmetic = arithmetic
        self.stem, layers = stem, list[nn.Module]()
        ins = widths[0]
        for stage, outs in enumerate(widths):
            for block in range(blocks):
                layers.append(Block(ins, outs, 2 if stage and not block else 1))
                ins = outs
        self.stages = nn.Sequential(*layers)
        self.width = ins
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def maps(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        """The maps of the last stage."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.arithmetic == "bfloat16"):
            found: Tensor = self.stages(self.stem(x))
        return found.to(x.dtype)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Features."""
        return self.maps(x).mean(dim=(2, 3))


def backbone(name: Name, shape: Shape, arithmetic: Arithmetic = "float32") -> Backbone:
    """A backbone with random weights, from the global generator: `classifiers.initialised` gives it one of its own."""
    if name == "resnet32":
        return Backbone(small_stem(shape.channels, 16), (16, 32, 64), 5, arithmetic)
    large = min(shape.height, shape.width) > LARGE
    stem = large_stem(shape.channels, 64) if large else small_stem(shape.channels, 64)
    return Backbone(stem, (64, 128, 256, 512), 2, arithmetic)


def small_stem(channels: int, width: int) -> nn.Module:
    """3x3, stride 1."""
    return nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def large_stem(channels: int, width: int) -> nn.Module:
    """7x7, stride 2, and a max-pool."""
    convolution = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
