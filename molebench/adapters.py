"""Convolutions with a 1x1 adapter in parallel, that a network learns with while all else in it is kept still.

    y = W * x + A * x = (W + pad(A)) * x

A 1x1 kernel padded with zeros to 3x3 is the same map, so both are one convolution: the sum is what is computed, in
training too, and what `absorb` writes into W before it sets A to zero. The function stays what it was to the last bit.

Reference: Zhu, Zhai, Cao, Luo, Zha, "Self-Sustaining Representation Expansion for Non-Exemplar Class-Incremental
Learning", CVPR 2022, Eq. 8 and 9; Ding et al., "RepVGG", CVPR 2021.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from molebench.backbones import Block


class Adapted(nn.Module):
    """conv: 3x3, without bias. adapter: A [out, in, 1, 1], zero at first; without bias, as the convolution."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.adapter = nn.Parameter(torch.zeros_like(conv.weight[:, :, :1, :1]))

    def kernel(self) -> Float[Tensor, "o i 3 3"]:
        """W + pad(A)."""
        return self.conv.weight + F.pad(self.adapter, (1, 1, 1, 1))

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h2 w2"]:
        """Both at once."""
        found: Tensor = self.conv._conv_forward(x, self.kernel(), None)  # as this convolution computes, whichever it is
        return found

    @torch.no_grad()
    def absorb(self) -> nn.Conv2d:
        """Adds the adapter into the convolution and sets it to zero; the convolution."""
        self.conv.weight.copy_(self.kernel())
        self.adapter.zero_()
        return self.conv


def adapters(network: nn.Module) -> list[Adapted]:
    """Every adapted convolution, in order."""
    return [each for each in network.modules() if isinstance(each, Adapted)]


def adapt(network: nn.Module) -> nn.Module:
    """The network with an adapter beside every 3x3 convolution of its blocks, in place."""
    for block in [each for each in network.modules() if isinstance(each, Block)]:
        for name, child in list(block.named_children()):
            if isinstance(child, nn.Conv2d):
                block.add_module(name, Adapted(child))
    return network


def plain(network: nn.Module) -> nn.Module:
    """The network with every adapted convolution replaced by the one that computes the same, in place."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Adapted):
                parent.add_module(name, child.absorb())
    return network
