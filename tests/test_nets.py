"""Folded batch norms are the same function, and a frozen extractor reads images as its network wants them."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from molebench.extractors import efficientnet_lite0, resnet50
from molebench.nets import FrozenExtractor, folded
from molebench.rng import torch_stream
from molebench.small_maps import SmallMapConv2d, with_small_maps
from molebench.weights import Recipe
from molebench.workspace import Workspace

REAL: dict[str, tuple[Callable[[], nn.Module], Recipe]] = {
    "resnet50": (resnet50.network, resnet50.RECIPE),
    "efficientnet_lite0": (efficientnet_lite0.network, efficientnet_lite0.RECIPE),
}
Pair = tuple[nn.Module, nn.Module]


class Means(nn.Module):
    """The mean of every channel: features that can be computed by eye."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch_stream(seed, "test"))


def images(*shape: int) -> Tensor:
    """Whole numbers in 0-255."""
    return torch.randint(0, 256, shape, generator=torch_stream(0, "images")).float()


def lived_in(network: nn.Module) -> nn.Module:
    """The network in eval mode, its weights and statistics such as training could leave: none is 0 or 1."""
    with torch.no_grad():
        for i, (name, value) in enumerate(network.state_dict().items()):
            if not name.endswith("num_batches_tracked"):
                away = 0.3 * normal(*value.shape, seed=i)
                value.copy_(away.abs() + 0.5 if name.endswith("running_var") else away + 0.1)
    return network.eval()


def small() -> nn.Module:
    """Convolutions with bias, without, and grouped; an activation beside its batch norm and one inside it."""
    return lived_in(
        nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
            nn.Sequential(nn.Conv2d(8, 8, 3, groups=4, bias=False), BatchNormAct2d(8)),
            nn.Conv2d(8, 5, 1, stride=2, bias=False),
            nn.BatchNorm2d(5, eps=0.1),
            Means(),
        )
    )


def relative(a: Tensor, b: Tensor) -> float:
    """The largest distance of two feature vectors, relative to the first one's length."""
    return ((a - b).norm(dim=1) / a.norm(dim=1)).max().item()


def batch_norms(network: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())


@pytest.fixture(scope="module", params=sorted(REAL))
def real(request: pytest.FixtureRequest, fetched: Workspace) -> Pair:
    """A network with its published weights: as it is, and folded."""
    network, recipe = REAL[request.param]
    body = network()
    plain = recipe.get("imagenet", body, fetched).into(body).eval()
    return plain, folded(deepcopy(plain))


def test_a_batch_norm_folds_as_it_does_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=1.0))
    values = {"0.weight": 3.0, "0.bias": 5.0, "1.running_mean": 2.0, "1.running_var": 3.0, "1.weight": 6.0, "1.bias": 7}
    for name, value in values.items():
        network.state_dict()[name].fill_(value)
    convolution = folded(network).get_submodule("0")  # (3 x + 5 - 2) 6 / sqrt(3 + 1) + 7 = 9 x + 16
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    assert (convolution.weight.item(), convolution.bias.item()) == (9.0, 16.0)
    assert network(torch.full((1, 1, 1, 1), 2.0)).item() == 34.0


@pytest.mark.parametrize("side", [8, 9, 32])
def test_a_small_network_folds_into_the_same_function(side: int) -> None:
    network, x = small(), normal(4, 3, side, side)
    expected = network(x)
    assert batch_norms(network) == 3
    assert relative(expected, folded(network)(x)) < 1e-6
    assert batch_norms(network) == 0


def test_folding_a_network_in_training_mode_uses_its_running_statistics() -> None:
    network, x = small(), normal(4, 3, 8, 8)
    expected = network(x)
    network.train()
    assert relative(expected, folded(network)(x)) < 1e-6


def test_an_activation_inside_a_batch_norm_outlives_it() -> None:
    network, x = lived_in(nn.Sequential(nn.Conv2d(3, 8, 1), BatchNormAct2d(8))), normal(2, 3, 4, 4)
    expected = network(x)
    y = folded(network)(x)
    assert expected.min() == y.min() == 0.0  # a ReLU
    assert torch.allclose(expected, y, atol=1e-5)
    assert y.max() > 0.1


def test_a_batch_norm_that_follows_no_convolution_stays() -> None:
    network = lived_in(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4), Means()))
    x = normal(2, 3, 4, 4)
    expected = network(x)
    assert torch.equal(folded(network)(x), expected)
    assert batch_norms(network) == 2


@pytest.mark.parametrize("side", [32, 33, 96])
def test_a_real_network_folds_into_the_same_function(real: Pair, side: int) -> None:
    x = (images(2, 3, side, side) - 120) / 60
    with torch.no_grad():
        plain, quick = real[0](x), real[1](x)
    assert plain.norm(dim=1).min() > 1  # dead features would agree as well
    assert relative(plain, quick) < 1e-4


def test_no_batch_norm_is_left_in_a_real_network(real: Pair) -> None:
    assert batch_norms(real[0]) > 40
    assert batch_norms(real[1]) == 0


def test_channels_are_reordered_then_shifted_then_scaled() -> None:
    x = torch.tensor([200.0, 100.0, 50.0]).expand(1, 4, 4, 3)  # red 200, green 100, blue 50
    rgb = FrozenExtractor(Means(), (10.0, 20.0, 30.0), (1.0, 2.0, 4.0))
    bgr = FrozenExtractor(Means(), (10.0, 20.0, 30.0), (1.0, 2.0, 4.0), "bgr")
    assert rgb(x).tolist() == [[190.0, 40.0, 5.0]]
    assert bgr(x).tolist() == [[40.0, 40.0, 42.5]]


def test_swapping_red_and_blue_swaps_rgb_and_bgr() -> None:
    rgb = FrozenExtractor(small(), (10.0, 20.0, 30.0), (50.0, 60.0, 70.0))
    bgr = FrozenExtractor(small(), (10.0, 20.0, 30.0), (50.0, 60.0, 70.0), "bgr")
    x = images(2, 8, 8, 3)
    assert torch.equal(bgr(x), rgb(x.flip(-1)))
    assert relative(rgb(x), bgr(x)) > 0.01


def test_resnet50_sees_the_difference_between_red_and_blue(resnet50: FrozenExtractor) -> None:
    x = images(2, 32, 32, 3)
    with torch.no_grad():
        body = resnet50.body((x.flip(-1) - torch.tensor([103.939, 116.779, 123.68])).permute(0, 3, 1, 2))
        assert relative(body, resnet50(x)) < 1e-5
        assert relative(resnet50(x), resnet50(x.flip(-1))) > 0.01


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_a_grey_image_is_itself_on_three_channels(channels: str) -> None:
    extractor = FrozenExtractor(small(), (10.0, 20.0, 30.0), (50.0, 60.0, 70.0), channels)
    x = images(2, 8, 8, 1)
    assert torch.equal(extractor(x), extractor(x.repeat(1, 1, 1, 3)))


def test_a_real_extractor_reads_a_grey_image_as_itself_on_three_channels(lite0: FrozenExtractor) -> None:
    x = images(2, 28, 28, 1)
    with torch.no_grad():
        assert torch.equal(lite0(x), lite0(x.repeat(1, 1, 1, 3)))


def test_a_real_extractor_wants_no_gradient_and_passes_one_to_its_input(lite0: FrozenExtractor) -> None:
    x = images(1, 32, 32, 3).requires_grad_()
    lite0(x).square().sum().backward()
    assert not any(p.requires_grad or p.grad is not None for p in lite0.parameters())
    assert x.grad is not None
    assert x.grad.abs().max() > 0
    assert not any(m.training for m in lite0.modules() if isinstance(m, nn.Dropout | nn.BatchNorm2d))


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize("colours", [1, 3])
def test_the_gradient_of_the_input_is_that_of_finite_differences(channels: str, colours: int) -> None:
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 2, 2), Means())
    extractor = FrozenExtractor(folded(lived_in(body)), (10.0, 20.0, 30.0), (50.0, 60.0, 70.0), channels).double()
    x = images(1, 5, 4, colours).double().requires_grad_()
    (extractor(x) * torch.tensor([1.0, -2.0])).sum().backward()
    assert x.grad is not None
    step, slopes = 1e-3, torch.zeros_like(x)
    for i in range(x.numel()):
        bump = torch.zeros_like(x)
        bump.view(-1)[i] = step
        there, back = extractor(x.detach() + bump), extractor(x.detach() - bump)
        slopes.view(-1)[i] = ((there - back) * torch.tensor([1.0, -2.0])).sum() / (2 * step)
    assert slopes.abs().max() > 1e-4
    assert (x.grad - slopes).abs().max() < 1e-6 * slopes.abs().max()


@pytest.mark.parametrize("shape", [(20, 20), (33, 17), (28, 64)])
@pytest.mark.parametrize(("name", "width"), [("lite0", 1280), ("resnet50", 2048)])
def test_a_real_extractor_takes_images_of_any_size(
    request: pytest.FixtureRequest, name: str, width: int, shape: tuple[int, int]
) -> None:
    extractor = request.getfixturevalue(name)
    x = images(3, *shape, 3)
    with torch.no_grad():
        features, alone = extractor(x), extractor(x[:1])
    assert features.shape == (3, width)
    assert features.isfinite().all()
    assert relative(alone, features[:1]) < 1e-4  # a sample's features do not depend on its batch
    assert relative(features[:1], features[1:2]) > 0.01


@pytest.mark.parametrize("side", [16, 32, 33, 64])
def test_resnet50_with_small_maps_has_the_features_and_gradients_of_the_plain_one(side: int) -> None:
    plain = folded(lived_in(resnet50.network()))
    with torch.no_grad():
        for p in plain.parameters():
            p.mul_(0.3)  # else fifty such layers overflow
    fast = with_small_maps(deepcopy(plain))
    assert sum(type(module) is SmallMapConv2d for module in fast.modules()) == 53
    one, other = (normal(2, 3, side, side, seed=5).requires_grad_() for _ in range(2))
    expected, found = plain(one), fast(other)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.detach().abs().max()))
    expected.norm().backward()
    found.norm().backward()
    assert one.grad is not None
    torch.testing.assert_close(other.grad, one.grad, rtol=1e-3, atol=1e-4 * float(one.grad.abs().max()))
