"""Convolutions of maps so small that every window sees the whole map: one matrix product, and no work on padding.

A 3x3 kernel on a map of 1x1 meets data with its middle tap alone; on 2x2 each output meets four of its nine taps. The
other taps multiply zeros: 8/9 and 5/9 of the work. Let w be the kernel, p the padding, s the stride. Where, for every
output o, the taps p - o s, ..., p - o s + h - 1 that meet the h rows of the map all lie in the kernel,

    y[o] = sum_{c, i} w[c, p - o s + i] x[c, i]

is a matrix product of the flattened map with slices of w: the same function, gradients included, up to the order in
which floats are added. In a ResNet-18 at 28 to 32 px that is half of all convolutions. A 1x1 kernel that steps over the
map in one stride meets its first pixel alone.
"""

from itertools import product

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class SmallMapConv2d(nn.Conv2d):
    """A convolution with square kernels that multiplies where it can; otherwise an ordinary one."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        """As nn.Conv2d."""
        x = self.met(x)
        starts = self.starts(x.shape[2]) if x.shape[2] == x.shape[3] else None
        if starts is None:
            return super().forward(x)
        matrix, out = self.matrix(x.shape[2], starts), len(starts)
        bias = None if self.bias is None else self.bias.repeat(out * out)
        flat = x.permute(0, 2, 3, 1).flatten(1)  # no copy where channels are last in memory
        return F.linear(flat, matrix, bias).view(len(x), out, out, -1).permute(0, 3, 1, 2)

    def matrix(self, size: int, starts: list[int]) -> Float[Tensor, "dij chw"]:
        """The slices of w for a map of this size, one below the other."""
        windows = [self.weight[:, :, i : i + size, j : j + size] for i, j in product(starts, starts)]
        return torch.stack(windows).permute(0, 1, 3, 4, 2).reshape(len(windows) * len(self.weight), -1)

    def met(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c _ _"]:
        """The map, or its first pixel where no window meets another."""
        one = self.kernel_size[0] == 1 and self.padding[0] == 0 and max(x.shape[2:]) <= self.stride[0]
        return x[:, :, :1, :1] if one else x

    def starts(self, size: int) -> list[int] | None:
        """The first tap that meets data for each output along a side; None where some window misses some of it."""
        kernel, stride, padding = self.kernel_size[0], self.stride[0], int(self.padding[0])
        found = [padding - o * stride for o in range((size + 2 * padding - kernel) // stride + 1)]
        return found if all(0 <= start <= kernel - size for start in found) else None


def with_small_maps(network: nn.Module) -> nn.Module:
    """The network with such convolutions for its plain ones (square, ungrouped, undilated), in place: same weights."""
    for module in network.modules():
        if type(module) is nn.Conv2d and plain(module):
            module.__class__ = SmallMapConv2d
    return network


def plain(conv: nn.Conv2d) -> bool:
    """Whether a convolution is one that the formula above describes."""
    square = all(len(set(v)) == 1 for v in (conv.kernel_size, conv.stride, conv.padding, conv.dilation))
    zeros = conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    return square and zeros and conv.groups == 1 and conv.dilation[0] == 1
