"""What frozen networks do less of changes nothing: values and gradients of the input are those of PyTorch's layers."""

import copy
from collections.abc import Callable

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from molebench.extractors import efficientnet_lite0, resnet50
from molebench.frozen import KeptConv2d, KeptDepthwise, KeptSameConv2d, OwnReLU6, quick
from molebench.nets import folded
from molebench.rng import torch_stream

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet50": resnet50.network,
    "efficientnet_lite0": efficientnet_lite0.network,
}


def frozen(network: nn.Module) -> nn.Module:
    """In float64, where only a mistake shows, with weights of its own that want no gradient."""
    for i, parameter in enumerate(network.parameters()):
        spread = (2 / parameter[0].numel()) ** 0.5 if parameter.dim() > 1 else 0.1
        parameter.data = spread * torch.randn(parameter.shape, generator=torch_stream(i, "weights"))
    return network.double().requires_grad_(False).to(memory_format=torch.channels_last).eval()


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch_stream(0, "x")).double().contiguous(memory_format=torch.channels_last)


def outcome(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """What it gives, and the gradient of a sum that tells its outputs apart."""
    x = x.clone().requires_grad_()
    y = network(x)
    (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
    assert x.grad is not None
    return y.detach(), x.grad


def agree(plain: nn.Module, x: Tensor) -> nn.Module:
    """The network made quick, which does with x what the plain one does."""
    ours = quick(copy.deepcopy(plain))
    for _ in range(2):  # the second time with what was kept
        for mine, theirs in zip(outcome(ours, x), outcome(plain, x), strict=True):
            assert mine.shape == theirs.shape
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)
    return ours


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(1, 1, 0), (1, 2, 0), (1, 3, 0), (3, 1, 1), (3, 2, 1), (1, 1, 1)]
)
@pytest.mark.parametrize("bias", [False, True])
def test_a_convolution_of_small_maps(side: int, kernel: int, stride: int, padding: int, bias: bool) -> None:
    plain = frozen(nn.Sequential(nn.Conv2d(5, 7, kernel, stride, padding, bias=bias)))
    ours = agree(plain, normal(3, 5, side, side))
    assert isinstance(ours.get_submodule("0"), KeptConv2d)


def test_maps_that_are_no_squares_are_convolved_as_ever() -> None:
    agree(frozen(nn.Sequential(nn.Conv2d(5, 7, 3, 1, 1), nn.Conv2d(7, 4, 1, 2))), normal(3, 5, 2, 7))


@pytest.mark.parametrize("shape", [(8, 8), (7, 7), (8, 7), (2, 2), (1, 1), (3, 10)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_tensorflows_padding_at_stride_two(kernel: int, shape: tuple[int, int]) -> None:
    plain = frozen(nn.Sequential(Conv2dSame(6, 6, kernel, 2, groups=6)))
    ours = agree(plain, normal(3, 6, *shape))
    assert isinstance(ours.get_submodule("0"), KeptSameConv2d)


@pytest.mark.parametrize("shape", [(8, 8), (2, 2), (1, 1), (3, 10)])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("bias", [False, True])
def test_a_depthwise_convolution(kernel: int, shape: tuple[int, int], bias: bool) -> None:
    plain = frozen(nn.Sequential(nn.Conv2d(6, 6, kernel, 1, kernel // 2, groups=6, bias=bias)))
    ours = agree(plain, normal(3, 6, *shape))
    assert isinstance(ours.get_submodule("0"), KeptDepthwise)


def test_a_relu6_after_a_convolution_at_its_corners_too() -> None:
    x = torch.tensor([-1.0, 0.0, 3.0, 6.0, 7.0]).double().view(1, 1, 1, 5)
    plain = nn.Sequential(nn.Identity(), nn.ReLU6())
    once = [outcome(nn.Sequential(nn.Hardtanh(-9, 9), act), x) for act in (plain[1], OwnReLU6())]
    assert torch.equal(once[0][0], once[1][0])
    assert torch.equal(once[0][1], once[1][1])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("side", [32, 33, 64])
def test_a_whole_network_in_float64(name: str, side: int) -> None:
    agree(folded(frozen(NETWORKS[name]())), normal(2, 3, side, side))


def test_what_was_kept_under_inference_mode_serves_a_gradient_later() -> None:
    plain = frozen(nn.Sequential(nn.Conv2d(5, 7, 3, 1, 1)))
    ours = quick(copy.deepcopy(plain))
    x = normal(3, 5, 2, 2)
    with torch.inference_mode():
        ours(x.clone())
    torch.testing.assert_close(outcome(ours, x)[1], outcome(plain, x)[1])


def test_another_precision_gets_matrices_of_its_own() -> None:
    ours = quick(frozen(nn.Sequential(nn.Conv2d(5, 7, 3, 1, 1))))
    x = normal(3, 5, 2, 2)
    exact = ours(x)
    torch.testing.assert_close(ours.float()(x.float()).double(), exact, rtol=1e-4, atol=1e-5)
