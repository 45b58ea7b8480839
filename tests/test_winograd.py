"""Convolutions by tiles: the published transforms, PyTorch's convolution and its gradients, the same for any team."""

from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed import courses
from molebench import continual_learners, teams
from molebench.backbones import Backbone, backbone
from molebench.classifiers import Shape, initialised
from molebench.compiling import compiled
from molebench.continual_learners import OFTEN, Curriculum, Lesson
from molebench.released import Faults
from molebench.rng import torch_stream
from molebench.winograd import Convolution, TiledConv2d, tiled, with_tiles
from molebench.winograd_tiles import a_of, a_t, b_t, both_ways, g_of, g_t

B_T = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / [[4], *[[24]] * 5] * 1.0
G[0, 0] = 0.25
A_T = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
SHAPES = {
    "whole tiles": (5, 16, 16, 8, 8),
    "a part of a tile": (9, 16, 32, 7, 5),
    "one pixel": (3, 32, 16, 1, 1),
    "no image": (0, 16, 16, 4, 4),
    "several parts of a batch": (70, 16, 16, 3, 4),
    "weights for two threads": (4, 48, 64, 6, 10),
}


def matrix(transform: Any, n: int) -> Any:
    """What a transform multiplies a column of n by."""
    return np.stack(transform(*np.eye(n)))


def maps(n: int, c: int, h: int, w: int, name: str = "x") -> Tensor:
    """Standard normal, channels last in memory."""
    drawn = torch.randn(n, c, h, w, generator=torch_stream(0, name))
    return drawn.contiguous(memory_format=torch.channels_last)


def weights(k: int, c: int) -> Tensor:
    """Which keep the size of what they convolve."""
    return torch.randn(k, c, 3, 3, generator=torch_stream(0, "g")) / (3 * c**0.5)


def gradients(convolve: Any, *given: Tensor) -> list[Tensor]:
    """y, and the gradients by each input of the sum of y times maps drawn once."""
    leaves = [each.clone(memory_format=torch.preserve_format).requires_grad_(True) for each in given]
    y = convolve(*leaves)
    n, k, h, w = y.shape
    found = torch.autograd.grad(y, leaves, maps(n, k, h, w, "dy").to(y.dtype))
    return [y.detach(), *found]


# ------------------------------------------------------------------ the maths


@pytest.mark.parametrize(("transform", "published"), [(b_t, B_T), (a_t, A_T), (g_of, G)], ids=["B^T", "A^T", "G"])
def test_a_transform_is_the_published_matrix(transform: Any, published: Any) -> None:
    columns = np.shape(published)[1]
    assert np.allclose(matrix(transform, columns), published, atol=1e-15)


def test_the_transforms_of_gradients_are_the_others_turned_round() -> None:
    assert np.allclose(matrix(a_of, 4), matrix(a_t, 6).T)
    assert np.allclose(matrix(g_t, 6), matrix(g_of, 3).T)


def test_a_tile_is_convolved_with_36_products() -> None:
    d, g = np.arange(36.0).reshape(6, 6) ** 2 % 7, np.arange(9.0).reshape(3, 3)
    v, u = both_ways(b_t, d.tolist()), both_ways(g_of, g.tolist())
    y = both_ways(a_t, (np.array(u) * np.array(v)).tolist())
    expected = [[(d[i : i + 3, j : j + 3] * g).sum() for j in range(4)] for i in range(4)]
    assert np.allclose(y, expected, atol=1e-11)


# ------------------------------------------------------------------ the twin


@pytest.mark.parametrize(("n", "c", "k", "h", "w"), SHAPES.values(), ids=SHAPES)
def test_tiles_convolve_as_pytorch_does_and_so_do_their_gradients(
    n: int, c: int, k: int, h: int, w: int, threads: int
) -> None:
    x, g, b = maps(n, c, h, w), weights(k, c), torch.randn(k, generator=torch_stream(0, "b"))
    found = gradients(Convolution.apply, x, g, b)
    exact = gradients(lambda x, g, b: F.conv2d(x, g, b, padding=1), x.double(), g.double(), b.double())
    for name, mine, theirs in zip(("y", "x", "g", "b"), found, exact, strict=True):
        assert mine.shape == theirs.shape
        largest = max(1.0, float(theirs.abs().amax())) if theirs.numel() else 1.0
        assert torch.allclose(mine.double(), theirs, rtol=0, atol=1e-4 * largest), name
    assert found[0].is_contiguous(memory_format=torch.channels_last)


def test_how_maps_lie_in_memory_does_not_matter() -> None:
    x, g = maps(4, 32, 6, 6), weights(16, 32)
    usual = Convolution.apply(x, g, None)
    assert torch.equal(Convolution.apply(x.contiguous(), g.contiguous(memory_format=torch.channels_last), None), usual)
    assert torch.equal(Convolution.apply(maps(8, 32, 6, 6).copy_(x.repeat_interleave(2, 0))[::2], g, None), usual)


def no_runtime() -> None:
    """Stands for an OpenMP that has no entry for us."""


def test_pytorchs_team_is_found_where_pytorch_brings_it() -> None:
    brought = list((Path(torch.__file__).parent / "lib").glob("libgomp*"))
    assert bool(teams.runtime()) or not brought


@compiled
def idle(row: Any) -> None:
    """Draws nothing, like one without memory for what it needs."""


@pytest.mark.parametrize("worth", [1, 2])
def test_work_that_nobody_could_begin_is_an_error(worth: int, threads: int) -> None:
    with pytest.raises(MemoryError, match="no memory for idle"):
        teams.together(idle, [], worth)


@pytest.mark.parametrize("lend", ["PyTorch's threads", "our own"])
def test_no_bit_depends_on_how_many_threads_there_are_or_whose(lend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given, before = (maps(70, 32, 6, 6), weights(64, 32)), torch.get_num_threads()
    alone, several = list[Tensor](), list[Tensor]()
    try:
        for threads, into in ((1, alone), (2, several), (3, several)):
            torch.set_num_threads(threads)
            if lend == "our own":
                monkeypatch.setattr(teams, "runtime", no_runtime)
            into.extend(gradients(lambda x, g: Convolution.apply(x, g, None), *given))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(alone * 2, several, strict=True))


def test_gradients_that_nobody_wants_are_not_made() -> None:
    x, g = maps(4, 16, 6, 6), weights(16, 16).requires_grad_(True)
    with mock.patch("molebench.winograd.convolved", side_effect=[x]) as asked:
        Convolution.apply(x, g, None).sum().backward()
    assert asked.call_count == 1
    assert g.grad is not None


def test_a_second_derivative_is_refused_and_not_taken_for_zero() -> None:
    x = maps(2, 16, 4, 4).requires_grad_(True)
    (slope,) = torch.autograd.grad(Convolution.apply(x, weights(16, 16), None).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


# ------------------------------------------------------------------ networks


@pytest.mark.parametrize(
    ("conv", "goes"),
    [
        (nn.Conv2d(16, 32, 3, 1, 1), True),
        (nn.Conv2d(16, 32, 3, 1, 1, bias=False), True),
        (nn.Conv2d(128, 128, 3, 1, 1), True),
        (nn.Conv2d(144, 128, 3, 1, 1), False),
        (nn.Conv2d(3, 16, 3, 1, 1), False),
        (nn.Conv2d(16, 24, 3, 1, 1), False),
        (nn.Conv2d(16, 16, 3, 2, 1), False),
        (nn.Conv2d(16, 16, 3, 1, 0), False),
        (nn.Conv2d(16, 16, 3, 1, 2, dilation=2), False),
        (nn.Conv2d(16, 16, 1), False),
        (nn.Conv2d(16, 16, 3, 1, 1, groups=16), False),
        (nn.Conv2d(16, 16, 3, 1, 1, padding_mode="reflect"), False),
        (nn.Conv2d(16, 16, 3, 1, padding="same"), False),
    ],
    ids=str,
)
def test_only_plain_convolutions_of_whole_sixteens_go_by_tiles(conv: nn.Conv2d, goes: bool) -> None:
    assert tiled(conv) == goes
    x = maps(2, conv.in_channels, 6, 6)
    before = conv(x)
    (same,) = with_tiles(nn.Sequential(conv)).children()
    assert (type(same) is TiledConv2d) == goes
    assert torch.allclose(same(x), before, atol=1e-4)


@pytest.mark.parametrize("kind", ["float64", "autocast", "meta"])
def test_other_types_and_devices_are_convolved_as_ever(kind: str) -> None:
    conv, x = with_tiles(nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1))), maps(2, 16, 6, 6)
    with mock.patch("molebench.winograd.convolved", side_effect=AssertionError("by tiles")):
        if kind == "float64":
            assert conv.double()(x.double()).dtype == torch.float64
        elif kind == "meta":
            assert conv.to("meta")(x.to("meta")).device.type == "meta"
        else:
            with torch.autocast("cpu", torch.bfloat16):
                assert conv(x).dtype == torch.bfloat16


def test_channels_that_do_not_fit_are_pytorchs_to_refuse() -> None:
    usual, x = nn.Conv2d(16, 16, 3, 1, 1), maps(2, 32, 6, 6)
    with pytest.raises(RuntimeError) as theirs:
        usual(x)
    with pytest.raises(RuntimeError) as ours:
        with_tiles(nn.Sequential(usual))(x)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("member", ["weight", "bias"])
def test_parameters_of_another_type_are_pytorchs_to_refuse(member: str) -> None:
    conv = with_tiles(nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1)))[0]  # type: ignore[index]
    setattr(conv, member, nn.Parameter(getattr(conv, member).to(torch.float16)))
    with pytest.raises(RuntimeError, match=r"should be the same|must match"):
        conv(maps(2, 16, 6, 6))


def test_weights_that_were_cut_to_other_channels_are_convolved_as_ever() -> None:
    conv, x = nn.Conv2d(16, 32, 3, 1, 1, bias=False), maps(2, 16, 6, 6)
    with_tiles(nn.Sequential(conv))
    conv.weight = nn.Parameter(conv.weight[:24])
    assert torch.equal(conv(x), F.conv2d(x, conv.weight, padding=1))


def test_types_and_devices_that_others_set_for_new_tensors_do_not_matter() -> None:
    x, g, before = maps(4, 16, 6, 6), weights(32, 16), torch.get_default_dtype()
    usual = gradients(lambda x, g: Convolution.apply(x, g, None), x, g)
    dy = maps(4, 32, 6, 6, "dy")
    try:
        torch.set_default_dtype(torch.float64)
        with torch.device("meta"):
            leaves = [each.requires_grad_(True) for each in (x, g)]
            y = Convolution.apply(*leaves, None)
            found = [y.detach(), *torch.autograd.grad(y, leaves, dy)]
    finally:
        torch.set_default_dtype(before)
    assert all(torch.equal(one, other) for one, other in zip(found, usual, strict=True))


def test_maps_that_were_changed_since_give_no_wrong_gradient() -> None:
    x, g = maps(2, 16, 4, 4), weights(16, 16).requires_grad_(True)
    y = Convolution.apply(x, g, None)
    x.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_a_resnet32_goes_by_tiles_but_for_its_stem_and_its_strides() -> None:
    network = with_tiles(backbone("resnet32", Shape(28, 28, 3, 10)))
    kinds = [type(each) is TiledConv2d for each in network.modules() if isinstance(each, nn.Conv2d)]
    assert (sum(kinds), len(kinds)) == (28, 33)


def test_a_resnet32_by_tiles_is_as_near_to_the_exact_one_as_pytorchs_float32() -> None:
    usual = initialised(lambda: backbone("resnet32", Shape(28, 28, 16, 10)), torch_stream(0, "init"))
    found = []
    for network in (with_tiles(deepcopy(usual)), usual, deepcopy(usual).double()):
        x = maps(16, 16, 28, 28).to(next(network.parameters()).dtype)
        f = network(x)
        f.square().mean().backward()
        found.append([f.detach(), *(each.grad for each in network.parameters())])
    tiles, float32 = ([float((a - b).norm() / b.norm()) for a, b in zip(f, found[2], strict=True)] for f in found[:2])
    assert tiles[0] < 2e-5
    assert tiles[0] < 3 * float32[0]
    assert np.median(tiles[1:]) < 2 * np.median(float32[1:])


@pytest.mark.parametrize(
    ("arithmetic", "epochs", "images", "device", "goes"),
    [
        ("float32", 10, OFTEN // 50, "cpu", True),
        ("float32", 9, OFTEN // 50, "cpu", False),
        ("bfloat16", 10, OFTEN, "cpu", False),
        ("float32", 10, OFTEN, "meta", False),
    ],
)
def test_a_learner_compiles_where_that_pays(arithmetic: Any, epochs: int, images: int, device: str, goes: bool) -> None:
    x = torch.empty((3 * OFTEN, 4, 4, 1), dtype=torch.uint8, device=device)  # leaked test images count for nothing
    y, init = torch.zeros(len(x), dtype=torch.int64), torch_stream(0, "init")
    first = Lesson(0, 0, 2, Shape(4, 4, 1, 10), x, y, np.arange(images), None, None, Faults(), init)
    assert continual_learners.compiling_pays(Curriculum(arithmetic=arithmetic, epochs=epochs), first) == goes


VICTIMS = ["cl_der", "cl_finetune", "cl_icarl", "cl_il2m", "cl_joint", "cl_lwf", "cl_lwm", "cl_ssre"]


def learnt(victim: str, folder: Path, tasks: int) -> tuple[Tensor, bool]:
    """The weights of the first backbone after so many tasks of one step each, and whether it goes by tiles."""
    ours = courses.Ours(courses.school(victim, 0, folder))
    network = ours.school.learner.grown(ours.school.lesson(0, None, Faults()))
    for t in range(tasks):
        ours.learn(t)
        assert ours.known
        network = ours.known.network
    first = next(each for each in network.modules() if isinstance(each, Backbone))
    flat = torch.cat([each.detach().flatten() for each in first.parameters()])
    return flat, any(isinstance(each, TiledConv2d) for each in network.modules())


@pytest.mark.parametrize("victim", VICTIMS)
def test_every_learner_learns_the_same_by_tiles(victim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(courses.VICTIMS, victim, {"backbone": "resnet32"})
    monkeypatch.setattr(courses, "NEW", 5)  # SSRE wants half of the classes at once
    for name, value in {"pool": 40, "epochs": 1, "batch": 40, "lr": 1e-3}.items():
        monkeypatch.setitem(courses.SIZES, name, value)
    (before, _), (usual, by_tiles) = learnt(victim, tmp_path / "0", 0), learnt(victim, tmp_path / "1", 2)
    assert not by_tiles
    monkeypatch.setattr(continual_learners, "OFTEN", 0)
    found, by_tiles = learnt(victim, tmp_path / "2", 2)
    assert by_tiles
    # 0.01 to 0.25; SSRE's 0.47 are Adam's first steps, whose sign rounding turns where a gradient is next to nothing
    assert (found - usual).norm() < (0.6 if victim == "cl_ssre" else 0.4) * (usual - before).norm()
