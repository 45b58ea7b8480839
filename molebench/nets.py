"""Networks that several parts share: a frozen ImageNet extractor with its batch norms folded away.

A frozen batch norm is an affine map y = (x - m) g / sqrt(v + e) + b, so it folds into the convolution
before it: W' = W g / sqrt(v + e), b' = b - m g / sqrt(v + e). Same function, a third less time. Convolutions of
maps of a few pixels, where ImageNet's networks end when they are shown images of 32 px, leave out work on padding.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from molebench.types import IMAGE


def folded(network: nn.Module) -> nn.Module:
    """The network in eval mode, every batch norm that follows a convolution folded into it, in place.

    Works on modules whose batch norm is registered right after its convolution (ResNets, EfficientNets).
    """
    network.eval()
    for parent in network.modules():
        convolution: tuple[str, nn.Conv2d] | None = None
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and convolution:
                setattr(parent, convolution[0], fuse_conv_bn_eval(convolution[1], child))
                setattr(parent, name, _rest(child))
            convolution = (name, child) if isinstance(child, nn.Conv2d) else None
    return network


def _rest(norm: nn.BatchNorm2d) -> nn.Module:
    """What a batch norm leaves behind: timm's carry their activation inside."""
    return nn.Sequential(*(m for m in (getattr(norm, "drop", None), getattr(norm, "act", None)) if m is not None))


class FrozenExtractor(nn.Module):
    """f(x): images [n, h, w, c] in 0-255, any size, 1 or 3 channels, to features [n, d].

    Differentiable in x; its own parameters want no gradient. Computed where its weights are, answered where x is: on a
    graphics processor nothing is copied for who asks from there, and who asks from the processor need not know. mean
    and std are per channel of `channels`. blocks: the same network before folding, as parts that follow one another, on
    the processor until they are moved; what a defense may train.
    """

    modality = IMAGE
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        body: nn.Module,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        channels: str = "rgb",
        blocks: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__()
        self.body = body.to(memory_format=torch.channels_last).requires_grad_(False).eval()
        self.reversed = channels == "bgr"
        self.blocks = tuple(b.to(memory_format=torch.channels_last).requires_grad_(False).eval() for b in blocks)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def normalised(self, x: Float[Tensor, "n h w c"]) -> Float[Tensor, "n 3 h w"]:
        """Images as the network wants them, where they are: three channels in its order, mean and std taken out."""
        mean, std = self.mean.to(x.device), self.std.to(x.device)
        x = x.permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
        return ((x.flip(1) if self.reversed else x) - mean) / std

    def forward(self, x: Float[Tensor, "n h w c"]) -> Float[Tensor, "n d"]:
        """f(x)."""
        features: Tensor = self.body(self.normalised(x.to(self.mean.device)))
        return features.to(x.device)
