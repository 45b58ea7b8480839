"""Convolutions of small maps as matrix products: the same function as PyTorch's, gradients included."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from molebench.classifiers import Shape, initialised, resnet18, resnet50, statistics
from molebench.rng import torch_stream
from molebench.scenarios.trained import ready
from molebench.small_maps import SmallMapConv2d, with_small_maps

#          kernel, stride, padding, side of the map, whether every window sees all of it
CASES = [
    (3, 1, 1, 1, True),
    (3, 2, 1, 1, True),
    (3, 1, 1, 2, True),
    (3, 2, 1, 2, True),
    (3, 1, 0, 3, True),
    (1, 1, 0, 1, True),
    (1, 2, 0, 1, True),
    (7, 2, 3, 4, True),
    (5, 1, 2, 3, True),
    (3, 1, 1, 3, False),
    (3, 2, 1, 3, False),
    (3, 1, 2, 1, True),
    (1, 1, 1, 1, False),  # a corner of the padding sees nothing
    (1, 1, 0, 2, False),
    (1, 2, 0, 2, False),
    (7, 2, 3, 8, False),
]


def convolution(kernel: int, stride: int, padding: int, bias: bool = False) -> nn.Conv2d:
    """A convolution of 5 to 4 channels with weights of its own."""
    torch_rng = torch_stream(0, "weights", kernel, stride)
    with torch.random.fork_rng(devices=[]):
        conv = nn.Conv2d(5, 4, kernel, stride, padding, bias=bias)
    for parameter in conv.parameters():
        parameter.data = torch.randn(parameter.shape, generator=torch_rng)
    return conv


def ours(conv: nn.Conv2d) -> SmallMapConv2d:
    """The same convolution, which multiplies where it can."""
    sequence = with_small_maps(nn.Sequential(copy.deepcopy(conv)))
    assert isinstance(sequence, nn.Sequential)
    assert isinstance(sequence[0], SmallMapConv2d)
    return sequence[0]


def close(a: Tensor, b: Tensor) -> bool:
    """Equal up to the order in which floats are added."""
    tight = a.dtype == torch.float64
    return torch.allclose(a, b, rtol=1e-10 if tight else 1e-4, atol=1e-9 if tight else 1e-5)


def outcome(conv: nn.Module, x: Tensor) -> list[Tensor]:
    """What a layer gives, and the gradients of a sum that tells its outputs apart."""
    x = x.clone().requires_grad_()
    y = conv(x)
    (y * torch.arange(1.0, y.numel() + 1).view(y.shape)).sum().backward()
    assert x.grad is not None
    return [y.detach(), x.grad, *(p.grad for p in conv.parameters() if p.grad is not None)]


@pytest.mark.parametrize(("kernel", "stride", "padding", "side", "small"), CASES)
@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("last", [False, True], ids=["", "channels last"])
def test_value_and_gradients_are_those_of_an_ordinary_convolution(
    kernel: int, stride: int, padding: int, side: int, small: bool, bias: bool, last: bool
) -> None:
    # in float32 a sum of hundreds depends on its order, and that on the number of threads
    conv = convolution(kernel, stride, padding, bias).double()
    assert (ours(conv).starts(side) is not None) == small
    x = torch.randn(6, 5, side, side, generator=torch_stream(0, "x")).double()
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    found, expected = outcome(ours(conv), x), outcome(conv, x)
    assert len(found) == 3 + bias
    assert all(close(a, b) for a, b in zip(found, expected, strict=True))


def test_a_kernel_on_one_pixel_meets_it_with_its_middle_tap_alone() -> None:
    conv = convolution(3, 1, 1)
    x = torch.randn(1, 5, 1, 1, generator=torch_stream(0, "x"))
    assert close(ours(conv)(x)[0, :, 0, 0], conv.weight[:, :, 1, 1] @ x[0, :, 0, 0])


def test_where_each_window_begins_to_meet_the_map() -> None:
    conv = ours(convolution(3, 1, 1))
    assert [conv.starts(side) for side in (1, 2, 3)] == [[1], [1, 0], None]


def test_a_map_that_is_not_square_is_convolved_as_ever() -> None:
    conv = convolution(3, 1, 1)
    x = torch.randn(2, 5, 1, 2, generator=torch_stream(0, "x"))
    assert torch.equal(ours(conv)(x), conv(x))


def test_a_kernel_of_one_tap_that_steps_over_the_map_meets_its_first_pixel_alone() -> None:
    conv = convolution(1, 2, 0)
    x = torch.randn(3, 5, 2, 2, generator=torch_stream(0, "x"))
    assert ours(conv).met(x).shape == (3, 5, 1, 1)
    assert ours(conv).met(x[:, :, :1]).shape == (3, 5, 1, 1)
    assert close(ours(conv)(x)[:, :, 0, 0], x[:, :, 0, 0] @ conv.weight[:, :, 0, 0].T)
    assert ours(convolution(1, 1, 0)).met(x).shape == ours(convolution(1, 2, 1)).met(x).shape == x.shape


OTHERS = {
    "groups": nn.Conv2d(4, 4, 3, groups=2),
    "dilation": nn.Conv2d(4, 4, 3, dilation=2),
    "a kernel that is not square": nn.Conv2d(4, 4, (3, 1)),
    "another padding at each side": nn.Conv2d(4, 4, 3, padding=(1, 0)),
    "padding in words": nn.Conv2d(4, 4, 3, padding="same"),
    "padding that reflects": nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
}


@pytest.mark.parametrize("conv", OTHERS.values(), ids=OTHERS)
def test_convolutions_that_the_formula_does_not_describe_are_left_alone(conv: nn.Conv2d) -> None:
    network = with_small_maps(nn.Sequential(copy.deepcopy(conv)))
    assert type(network.get_submodule("0")) is nn.Conv2d


# ------------------------------------------------------------------ whole networks


def theirs(stem: str, shape: Shape, state: dict[str, Tensor]) -> nn.Module:
    """torchvision's ResNet with the same weights, its first layers written down again."""
    from torchvision import models

    with torch.random.fork_rng(devices=[]):
        network: nn.Module = models.resnet18(num_classes=shape.classes)
    if stem == "cifar":
        network.conv1 = nn.Conv2d(shape.channels, 64, kernel_size=3, stride=1, padding=1, bias=False)
        network.maxpool = nn.Identity()
    elif shape.channels != 3:
        network.conv1 = nn.Conv2d(shape.channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    network.load_state_dict(state)
    return network


@pytest.mark.parametrize(("stem", "side", "channels"), [("imagenet", 8, 1), ("imagenet", 32, 3), ("cifar", 8, 3)])
def test_a_resnet_with_small_maps_is_torchvision_s_own(stem: str, side: int, channels: int) -> None:
    shape = Shape(side, side, channels, 7)
    network = initialised(lambda: resnet18(stem, shape), torch_stream(0, "init"))
    other = theirs(stem, shape, network.state_dict())
    x = torch.randn(4, channels, side, side, generator=torch_stream(0, "x"))
    for mode in (True, False):
        found, expected = network.train(mode)(x), other.train(mode)(x)
        assert found.shape == (4, 7)
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3)
    for (name, mine), (same, their) in zip(network.state_dict().items(), other.state_dict().items(), strict=True):
        assert name == same  # one training batch moved the batch norms' statistics alike
        assert close(mine, their)


def test_a_resnet50_has_the_stem_asked_for() -> None:
    for stem, side, pool in (("imagenet", 7, nn.MaxPool2d), ("cifar", 3, nn.Identity)):
        body = initialised(partial(resnet50, stem, Shape(8, 8, 1, 3)), torch_stream(0, "init"))
        assert body.get_parameter("conv1.weight").shape == (64, 1, side, side)
        assert isinstance(body.get_submodule("maxpool"), pool)
        assert body.eval()(torch.zeros(2, 1, 8, 8)).shape == (2, 3)


def test_a_network_that_is_ready_predicts_as_it_did_with_batch_norms_of_its_own() -> None:
    network = initialised(lambda: resnet18("imagenet", Shape(8, 8, 1, 10)), torch_stream(0, "init"))
    x = torch.randn(16, 1, 8, 8, generator=torch_stream(0, "x"))
    network.train()(x)  # statistics that are not 0 and 1
    folded = ready(network)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert any(isinstance(m, SmallMapConv2d) for m in folded.modules())
    assert torch.allclose(folded(x), network.eval()(x), rtol=1e-3, atol=1e-3)


def test_the_weights_come_from_their_generator_alone() -> None:
    shape = Shape(8, 8, 1, 10)
    before = torch.get_rng_state()
    one, same, other = (
        initialised(lambda: resnet18("cifar", shape), torch_stream(seed, "init")).state_dict() for seed in (0, 0, 1)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])


def test_mean_and_deviation_are_those_of_each_channel_and_a_constant_one_has_1() -> None:
    x = np.zeros((2, 1, 2, 2), np.uint8)
    x[..., 0] = [[[0, 10]], [[20, 30]]]
    x[..., 1] = 7
    mean, std = statistics(x)
    assert mean.tolist() == [15, 7]
    assert std.tolist() == pytest.approx([np.sqrt(125), 1])
