"""Convolutions on a processor by Winograd's tiles: a quarter of the products, the same function, gradients included.

For 3x3 kernels, stride 1, whole sixteens of channels before and after, float32. Sums are taken in another order and
through transforms: some ten times an ordinary convolution's rounding, 1e-5 of how much maps vary. What is of another
type or elsewhere is convolved as ever.

Reference: molebench/winograd_tiles.py; `torch.nn.functional.conv2d` is the slow twin.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from molebench import winograd_shares as shares
from molebench.lanes import LANES
from molebench.teams import together
from molebench.winograd_tiles import TAPS

SHARE = 32  # images whose gradients by weights one thread sums
ENOUGH = 1024  # pairs of channels whose weights are worth a thread
MOST = 128 * 128  # pairs of channels whose transformed weights, 2.4 MB, stay near the processor


class TiledConv2d(nn.Conv2d):
    """A convolution by tiles."""

    def _conv_forward(
        self, x: Float[Tensor, "n c h w"], g: Float[Tensor, "k d 3 3"], b: Float[Tensor, " k"] | None
    ) -> Float[Tensor, "n k h w"]:
        """As nn.Conv2d, whose method this is; `g` may be other weights than its own."""
        there = all(each.device.type == "cpu" and each.dtype == torch.float32 for each in (x, g, b) if each is not None)
        shaped = g.shape == (self.out_channels, self.in_channels, 3, 3) and x.dim() == 4 and x.shape[1] == g.shape[1]
        if not there or not shaped or torch.is_autocast_enabled("cpu"):
            return super()._conv_forward(x, g, b)  # which says what is wrong where something is
        found: Tensor = Convolution.apply(x, g, b)
        return found


def with_tiles(network: nn.Module) -> nn.Module:
    """The network with such convolutions for its plain ones that can be, in place: same weights."""
    for module in network.modules():
        if type(module) is nn.Conv2d and tiled(module):
            module.__class__ = TiledConv2d
    return network


def tiled(conv: nn.Conv2d) -> bool:
    """Whether a convolution is one that goes by tiles."""
    shape = conv.kernel_size == (3, 3) and conv.stride == conv.padding == conv.dilation == (1, 1)
    whole = not (conv.in_channels % LANES or conv.out_channels % LANES)
    near = conv.in_channels * conv.out_channels <= MOST
    return shape and whole and near and conv.groups == 1 and conv.padding_mode == "zeros"


class Convolution(torch.autograd.Function):
    """y = x * g + b and its gradients; of second order there are none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, g: Tensor, b: Tensor | None) -> Tensor:
        """x: [n, c, h, w]. g: [k, c, 3, 3]. b: [k]."""
        ctx.save_for_backward(x, g)
        return convolved(x, g, b)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """A gradient for each that wants one."""
        x, g = ctx.saved_tensors
        by_x, by_g, by_b = ctx.needs_input_grad
        return (
            convolved(dy, g.flip(2, 3).transpose(0, 1), None) if by_x else None,
            by_weights(x, dy) if by_g else None,
            dy.sum(dim=(0, 2, 3)) if by_b else None,
        )


def convolved(
    x: Float[Tensor, "n c h w"], g: Float[Tensor, "k c 3 3"], b: Float[Tensor, " k"] | None
) -> Float[Tensor, "n k h w"]:
    """x * g + b, one row and column of zeros around x; channels last in memory."""
    (n, c, h, w), k = x.shape, len(g)
    in_order, u = g.detach().permute(1, 2, 3, 0).contiguous(), g.new_empty(TAPS * c * k)
    together(shares.spectrum, (in_order.data_ptr(), u.data_ptr(), c, k), c * k // ENOUGH)
    x, bias = last(x), g.new_zeros(k) if b is None else b.detach().contiguous()
    y = torch.empty((n, k, h, w), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    given = x.data_ptr(), u.data_ptr(), bias.data_ptr(), y.data_ptr(), n, h, w, c, k
    together(shares.convolved, given, -(-n // shares.GROUP))
    return y


def by_weights(x: Float[Tensor, "n c h w"], dy: Float[Tensor, "n k h w"]) -> Float[Tensor, "k c 3 3"]:
    """The gradient by g from that by y."""
    (n, c, h, w), k, parts = x.shape, dy.shape[1], max(1, -(-len(x) // SHARE))
    x, dy, du, dg = last(x), last(dy), x.new_zeros(parts * TAPS * c * k), x.new_empty((c, 3, 3, k))
    together(shares.gradients, (x.data_ptr(), dy.data_ptr(), du.data_ptr(), SHARE, n, h, w, c, k), parts)
    together(shares.totalled, (du.data_ptr(), parts, dg.data_ptr(), c, k), c * k // ENOUGH)
    return dg.permute(3, 0, 1, 2)


def last(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Maps with their channels last in memory, as they mostly are."""
    return x.detach().contiguous(memory_format=torch.channels_last)
