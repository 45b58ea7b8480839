"""Backbones are the published ones, and a network that grows forgets nothing by growing."""

import copy
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from molebench import backbones, registry
from molebench.classifiers import Shape, initialised
from molebench.continual_learners import Knowledge, plain_network
from molebench.incremental import Incremental, frozen, grown
from molebench.rng import torch_stream
from molebench.victims.cl_finetune import Finetune
from tests.small_lessons import NEW, QUICK, accuracy, course, learnt, lesson


def backbone(name: Any, side: int, channels: int = 3, seed: int = 0, arithmetic: Any = "float32") -> backbones.Backbone:
    shape = Shape(side, side, channels, 10)
    found = initialised(lambda: backbones.backbone(name, shape, arithmetic), torch_stream(seed, "init"))
    assert isinstance(found, backbones.Backbone)
    return found


def images(n: int, side: int, channels: int = 3) -> Tensor:
    return torch.randn(n, channels, side, side, generator=torch_stream(0, "images"))


@pytest.fixture(scope="module")
def network() -> Incremental:
    """After a short first task: its batch norms have seen images."""
    found = learnt(Finetune(QUICK), lesson(), epochs=2)
    assert isinstance(found, Incremental)
    return found


# ------------------------------------------------------------------ backbones


def test_resnet18_is_torchvisions() -> None:
    from torchvision.models import resnet18

    theirs, ours = resnet18(), backbone("resnet18", side=65)
    theirs.fc = nn.Identity()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = images(4, 65)
    torch.testing.assert_close(ours.train()(x), theirs.train()(x), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "side", "weights"),
    [
        ("resnet32", 32, 466_906 - 650),  # the known counts, less a head of ten classes
        ("resnet18", 32, 11_173_962 - 5_130),
        ("resnet18", 65, 11_689_512 - 513_000),  # of a thousand
    ],
)
def test_backbones_have_the_published_numbers_of_weights(name: str, side: int, weights: int) -> None:
    assert sum(w.numel() for w in backbone(name, side).parameters()) == weights


def test_resnet32_has_31_convolutions_in_three_stages_and_projects_twice() -> None:
    kernels = [m for m in backbone("resnet32", 32).modules() if isinstance(m, nn.Conv2d)]
    assert [(m.out_channels, m.stride[0]) for m in kernels if m.kernel_size == (1, 1)] == [(32, 2), (64, 2)]
    main = [(m.out_channels, m.stride[0]) for m in kernels if m.kernel_size == (3, 3)]
    assert main == [(16, 1)] * 11 + [(32, 2)] + [(32, 1)] * 9 + [(64, 2)] + [(64, 1)] * 9


@pytest.mark.parametrize(
    ("name", "side", "maps"),
    [
        ("resnet32", 32, (64, 8, 8)),
        ("resnet32", 28, (64, 7, 7)),
        ("resnet18", 32, (512, 4, 4)),
        ("resnet18", 64, (512, 8, 8)),  # the last with a stem for small images
        ("resnet18", 65, (512, 3, 3)),
    ],
)
def test_features_are_the_mean_of_the_last_maps(name: str, side: int, maps: tuple[int, ...]) -> None:
    body, x = backbone(name, side).eval(), images(2, side)
    with torch.no_grad():
        found = body.maps(x)
        assert found.shape == (2, *maps)
        assert body.width == maps[0]
        torch.testing.assert_close(body(x), found.flatten(2).mean(dim=2))


def test_a_backbone_reads_grey_images_too() -> None:
    assert backbone("resnet32", 28, channels=1).eval()(images(2, 28, channels=1)).shape == (2, 64)


def test_weights_are_drawn_as_kaiming_has_them_and_from_the_given_generator_alone() -> None:
    before = torch.get_rng_state()
    wider = "stages.10.conv1.weight"  # from 32 channels to 64
    one, same, other = (backbone("resnet32", 32, seed=seed).state_dict()[wider] for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.std().item() == pytest.approx((2.0 / (9 * 64)) ** 0.5, rel=0.03)
    assert torch.equal(before, torch.get_rng_state())


# ------------------------------------------------------------------ networks that grow


def test_images_are_normalised_by_what_the_first_task_showed(network: Incremental) -> None:
    given = lesson()
    own = network.normalised(given.x[given.index])
    assert own.mean().item() == pytest.approx(0.0, abs=1e-5)
    assert own.std(correction=0).item() == pytest.approx(1.0, abs=1e-5)
    later = plain_network(QUICK, lesson(1, Knowledge(network)))
    assert torch.equal(later.mean, network.mean)
    assert torch.equal(later.std, network.std)


def test_a_network_that_grows_says_of_old_classes_what_it_said(network: Incremental) -> None:
    x, before = lesson().x, copy.deepcopy(network.state_dict())
    more = grown(network, 3, torch_stream(0, "head")).eval()
    with torch.no_grad():
        z = more(x)
        assert z.shape == (len(x), NEW + 3)
        torch.testing.assert_close(z[:, :NEW], copy.deepcopy(network).eval()(x))
        more.heads[0].get_parameter("weight").zero_()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_logits_of_features_of_maps_are_logits(network: Incremental) -> None:
    still, x = copy.deepcopy(network).eval(), lesson().x
    with torch.no_grad():
        torch.testing.assert_close(still.features(x), still.maps(x).mean(dim=(2, 3)))
        torch.testing.assert_close(still.logits(still.features(x)), still(x))


def test_earlier_heads_are_frozen_where_asked_and_everything_else_learns(network: Incremental) -> None:
    second = plain_network(QUICK, lesson(1, Knowledge(network)), freeze_old_heads=True)
    third = plain_network(QUICK, lesson(2, Knowledge(second)), freeze_old_heads=True)
    fixed = {name for name, w in third.named_parameters() if not w.requires_grad}
    assert fixed == {"heads.0.weight", "heads.0.bias", "heads.1.weight", "heads.1.bias"}
    assert all(w.requires_grad for w in plain_network(QUICK, lesson(2, Knowledge(second))).parameters())


def test_a_checkpoint_is_restored_by_growing_and_loading(network: Incremental) -> None:
    again = plain_network(QUICK, lesson(seed=9))
    again.load_state_dict(network.state_dict())
    x = lesson().x
    assert torch.equal(again.eval()(x), copy.deepcopy(network).eval()(x))


def test_a_frozen_network_is_the_same_function_without_norms_or_gradients(network: Incremental) -> None:
    before, x = copy.deepcopy(network.state_dict()), lesson().x
    still = frozen(network)
    with torch.no_grad():
        torch.testing.assert_close(still(x), copy.deepcopy(network).eval()(x), atol=1e-3, rtol=1e-4)
    assert [m for m in still.modules() if isinstance(m, nn.BatchNorm2d)] == []
    assert not any(w.requires_grad for w in still.parameters())
    assert network.training
    assert all(w.requires_grad for w in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


# ------------------------------------------------------------------ bfloat16


@pytest.mark.parametrize("name", ["resnet32", "resnet18"])
def test_bfloat16_rounds_maps_and_nothing_else(name: Any) -> None:
    exact, rounded = backbone(name, 28).eval(), backbone(name, 28, arithmetic="bfloat16").eval()
    x = images(4, 28)
    f, g = exact(x).detach(), rounded(x).detach()
    assert g.dtype == f.dtype
    assert not torch.equal(f, g)
    assert float((f - g).norm() / f.norm()) < 0.02  # eight bits a number
    assert {v.dtype for v in rounded.state_dict().values()} == {v.dtype for v in exact.state_dict().values()}


@pytest.mark.parametrize("name", [name for name in registry.files("victims") if name.startswith("cl_")])
def test_every_learner_learns_in_bfloat16_what_it_learns_in_float32(name: str) -> None:
    plugin = registry.find("victims", name)

    def small(name: Any, shape: Shape, arithmetic: Any) -> backbones.Backbone:
        del name
        return backbones.Backbone(backbones.small_stem(shape.channels, 8), (8, 16), 1, arithmetic)

    def right(arithmetic: Any) -> float:
        learner = plugin.build(plugin.resolve({"arithmetic": arithmetic}, "tiny"))
        return accuracy(learner, course(learner, tasks=2, epochs=12)[-1])

    with mock.patch("molebench.backbones.backbone", small):
        assert right("bfloat16") == pytest.approx(right("float32"), abs=0.1)
