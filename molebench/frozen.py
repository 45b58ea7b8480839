"""Networks whose weights stay: the same function, and the same gradient of the input, with less to do for it.

- Maps of few pixels. A convolution's weights are laid out anew in every call. On maps of four pixels or fewer, that and
  the work on padding take longer than the rest: 1x1 convolutions are products with the matrix that they are, and
  others with the matrix of small_maps, which is made once and kept.
- A 1x1 convolution of stride 2 to a small map is one of stride 1 on every second pixel, whose gradient is quicker.
- The gradient of a depthwise convolution of stride 1 is one too, with its kernels turned by 180 degrees, and PyTorch is
  two to six times quicker at that than at what it does itself.
- min(max(x, 0), 6) overwrites its input, which no convolution needs again, and takes its gradient's mask from what it
  wrote. PyTorch's copies the input first.
- TensorFlow pads an even side at its end alone: 0 | (k - 2) / 2 rows before | k / 2 after, for stride 2. The same is a
  kernel with a zero row and column in front, padded alike at both ends by k // 2: no padded copy of the map.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from molebench.small_maps import SmallMapConv2d, plain

FEW = 4  # pixels of a map up to which a matrix product is quicker than a convolution
SMALL = 16  # pixels of a map up to which it is worth while to pick them first


def quick(network: nn.Module) -> nn.Module:
    """The network as the docstring says, in place: same weights, which must not change from now on."""
    for parent in network.modules():
        for name, child in list(parent.named_children()):
            if type(child) is nn.Conv2d and plain(child):
                child.__class__ = KeptConv2d
            elif type(child) is nn.Conv2d and depthwise(child):
                child.__class__ = KeptDepthwise
            elif type(child) is Conv2dSame and child.groups == child.in_channels and child.stride == (2, 2):
                child.__class__ = KeptSameConv2d
            elif type(child) is nn.ReLU6:
                setattr(parent, name, OwnReLU6())
    return network


class Kept:
    """What a layer works out from its weights once, by what it depends on."""

    weight: Tensor

    def kept(self, *key: int) -> Tensor:
        """`made` of this key, which wants no gradient."""
        known = self.__dict__.setdefault("known", {})
        where = (*key, self.weight.dtype, self.weight.device)
        if where not in known:
            with torch.inference_mode(False), torch.no_grad():
                known[where] = self.made(*key)
        return known[where]

    def made(self, *key: int) -> Tensor:
        """What is kept."""
        raise NotImplementedError


class KeptConv2d(Kept, SmallMapConv2d):
    """A convolution that multiplies with matrices where maps are small."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        """As nn.Conv2d."""
        if self.kernel_size != (1, 1) or self.padding != (0, 0):
            return super().forward(x)
        if x.shape[2] * x.shape[3] > SMALL * self.stride[0] * self.stride[1]:
            return nn.Conv2d.forward(self, x)
        x = x[:, :, :: self.stride[0], :: self.stride[1]]
        n, _, h, w = x.shape
        if h * w > FEW:
            return F.conv2d(x, self.weight, self.bias)
        pixels = x.permute(0, 2, 3, 1).reshape(n * h * w, -1)
        return F.linear(pixels, self.weight.flatten(1), self.bias).view(n, h, w, -1).permute(0, 3, 1, 2)

    def matrix(self, size: int, starts: list[int]) -> Tensor:
        """The one that is kept."""
        return self.kept(size)

    def made(self, *key: int) -> Tensor:
        """The matrix of small_maps."""
        starts = self.starts(key[0])
        return super().matrix(key[0], starts or [])


class KeptDepthwise(Kept, nn.Conv2d):
    """A depthwise convolution of stride 1 that keeps the size."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """As nn.Conv2d."""
        y: Tensor = Depthwise.apply(x, self.weight, self.bias, self.kept())
        return y

    def made(self, *key: int) -> Tensor:
        """The kernels, turned by 180 degrees."""
        return self.weight.flip(2, 3)


class Depthwise(torch.autograd.Function):
    """A depthwise convolution of odd square kernels that keeps the size, with a gradient of x alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, turned: Tensor) -> Tensor:
        """The convolution."""
        ctx.save_for_backward(turned)
        return F.conv2d(x, weight, bias, padding=weight.shape[2] // 2, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """The same with the kernels turned."""
        (turned,) = ctx.saved_tensors
        return F.conv2d(gradient, turned, padding=turned.shape[2] // 2, groups=len(turned)), None, None, None


def depthwise(conv: nn.Conv2d) -> bool:
    """Whether a convolution is depthwise, of odd square kernels, and keeps the size."""
    k = conv.kernel_size[0]
    kept = conv.kernel_size == (k, k) and k % 2 == 1 and conv.padding == (k // 2, k // 2) and conv.stride == (1, 1)
    return kept and conv.groups == conv.in_channels == conv.out_channels and conv.dilation == (1, 1)


class KeptSameConv2d(Kept, Conv2dSame):
    """TensorFlow's padding at stride 2 of square kernels with an odd side, without a padded copy."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c i j"]:
        """As timm's Conv2dSame."""
        even = [side % 2 == 0 for side in x.shape[2:]]
        padding = [k // 2 for k in self.kernel_size]
        return F.conv2d(x, self.kept(*map(int, even)), self.bias, self.stride, padding, self.dilation, self.groups)

    def made(self, *key: int) -> Tensor:
        """The kernel, with zeros in front along even sides."""
        return F.pad(self.weight, (key[1], 0, key[0], 0)).contiguous(memory_format=torch.channels_last)


class Clipped(torch.autograd.Function):
    """min(max(x, 0), 6) in place of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Overwrites x."""
        y = x.clamp_(0.0, 6.0)
        ctx.mark_dirty(y)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Where nothing was clipped."""
        (y,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, y, 0.0, 6.0)


class OwnReLU6(nn.Module):
    """A ReLU6 after a convolution."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """x, overwritten."""
        clipped: Tensor = Clipped.apply(x)
        return clipped
