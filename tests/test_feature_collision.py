"""Feature collision: its gradient, its descent on extractors that can be worked out, and the real thing."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from molebench.attacks.feature_collision import FeatureCollision, collide
from molebench.attacks.noise import Noise, noisy
from molebench.attacks.unperturbed import Unperturbed
from molebench.collision import distances, dithered, ratios, unit, within
from molebench.datasets.photo_patches import PhotoPatches
from molebench.descent import log_gradient
from molebench.errors import MolebenchError
from molebench.nets import FrozenExtractor
from molebench.types import AUDIO, IMAGE, Array, AttackView, Poison, Samples, violations
from molebench.workspace import Workspace
from tests.descending import descend

Extractor = Callable[[Tensor], Tensor]


def identity(x: Tensor) -> Tensor:
    """f(x) = x."""
    return x.flatten(1)


def linear(x: Tensor) -> Tensor:
    """f(x) = A x: two features of four pixels, each a difference of means."""
    a = torch.tensor([[0.5, 0.5], [0.5, -0.5], [0.5, 0.5], [0.5, -0.5]], dtype=x.dtype)
    return x.flatten(1) @ a


def convolutional() -> nn.Module:
    """A small smooth network with fixed weights: 3 channels to 5 features."""
    rng = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 5, 3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(5))
    net(torch.zeros(1, 3, 6, 6))
    for p in net.parameters():
        p.data = torch.randn(p.shape, generator=rng) * 0.3
    return net.requires_grad_(False)


def pixels_first(net: nn.Module) -> Extractor:
    """A network on [n, c, h, w] of about 1 as an extractor of [n, h, w, c] of 0-255."""

    def f(x: Tensor) -> Tensor:
        features: Tensor = net((x.permute(0, 3, 1, 2) - 128.0) / 64.0)
        return features

    return f


def images(n: int, size: int = 6, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(30, 226, (n, size, size, 3)).astype(np.float32))


# ------------------------------------------------------------------ gradient


def test_the_gradient_of_log_j_is_that_of_finite_differences() -> None:
    f = pixels_first(convolutional().double())
    x = images(2).double()
    delta = torch.from_numpy(np.random.default_rng(1).normal(0, 3, x.shape))
    mu, beta, h = torch.full((5,), 0.2, dtype=torch.float64), 1e-4, 1e-4

    def log_j(d: Tensor) -> Tensor:
        gap = (f(x + d) - mu).pow(2).sum(dim=1)
        return torch.log(gap + beta * d.pow(2).sum(dim=(1, 2, 3)))

    gradient, gap = log_gradient(f, x + delta, delta, mu, beta)
    torch.testing.assert_close(gap, (f(x + delta) - mu).norm(dim=1))
    for index in np.ndindex(*x.shape[1:]):
        step = torch.zeros_like(x)
        step[:, *index] = h
        expected = (log_j(delta + step) - log_j(delta - step)) / (2 * h)
        torch.testing.assert_close(gradient[:, *index], expected, rtol=1e-6, atol=1e-10)


def test_the_gradient_of_one_sample_does_not_depend_on_the_others() -> None:
    f, x, mu = pixels_first(convolutional()), images(3), torch.zeros(5)
    together, _ = log_gradient(f, x, torch.zeros_like(x), mu, 0.0)
    alone, _ = log_gradient(f, x[1:2], torch.zeros_like(x[1:2]), mu, 0.0)
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-6)


def test_a_unit_gradient_has_norm_one_and_zero_stays_zero() -> None:
    g = torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]]])
    assert unit(g).tolist() == [[[pytest.approx(0.6), pytest.approx(0.8)]], [[0.0, 0.0]]]


def test_components_that_leave_the_valid_range_are_dropped() -> None:
    x = torch.tensor([0.0, 0.0, 255.0, 255.0, 7.0])
    gradient = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])  # descent goes against it
    assert within(gradient, x, IMAGE).tolist() == [0.0, -1.0, 1.0, 0.0, 1.0]


# ------------------------------------------------------------------ collide


def test_collide_reaches_the_target_of_a_linear_extractor() -> None:
    x = torch.tensor([60.0, 90.0, 120.0, 110.0]).reshape(1, 2, 2, 1)
    mu = torch.tensor([200.0, 10.0])  # mean of all is 100, of the differences 5
    moved = collide(linear, x, mu, beta=0.0)
    torch.testing.assert_close(linear(moved)[0], mu, rtol=0, atol=1.0)
    # the least change that does it: pixels 0 and 2 get (dmu0 + dmu1) / 2, pixels 1 and 3 (dmu0 - dmu1) / 2
    gap = mu - linear(x)[0]
    least = torch.stack([gap[0] + gap[1], gap[0] - gap[1]]).repeat(2) / 2
    torch.testing.assert_close((moved - x).flatten(), least, rtol=0, atol=2.0)


def test_beta_trades_the_collision_for_less_noise() -> None:
    # J = |x + d - mu|^2 + beta |d|^2 is least at d = (mu - x) / (1 + beta)
    x, mu = torch.full((1, 2, 2, 1), 100.0), torch.full((4,), 140.0)
    for beta in (0.0, 1.0, 3.0):
        moved = collide(identity, x, mu, beta=beta)
        assert float((moved - x).mean()) == pytest.approx(40 / (1 + beta), abs=1.0)


@pytest.mark.parametrize("target", [-5000.0, 5000.0])
def test_what_comes_out_is_in_range_and_on_the_grid(target: float) -> None:
    x = images(3)
    moved = collide(identity, x, torch.full((x[0].numel(),), target), beta=0.0, steps=300, lr=3.0)
    assert moved.dtype == torch.float32
    assert float(moved.min()) >= 0.0
    assert float(moved.max()) <= 255.0
    assert torch.equal(moved, moved.round())
    assert bool((moved == (0.0 if target < 0 else 255.0)).all())


def test_pixels_outside_the_grid_are_rounded_to_it() -> None:
    moved = collide(pixels_first(convolutional()), images(2) + 0.25, torch.zeros(5), steps=5)
    assert torch.equal(moved, moved.round())


def test_the_input_and_the_target_are_not_changed() -> None:
    x, mu = images(2), torch.zeros(5)
    before = x.clone()
    moved = collide(pixels_first(convolutional()), x, mu, steps=5)
    assert torch.equal(x, before)
    assert not mu.any()
    assert not torch.equal(moved, x)


def test_batching_changes_nothing() -> None:
    f, x, mu = pixels_first(convolutional()), images(5), torch.zeros(5)
    at_once = collide(f, x, mu, steps=20)
    apart = torch.cat([collide(f, x[:3], mu, steps=20), collide(f, x[3:], mu, steps=20)])
    assert float((at_once - apart).abs().max()) <= 1.0
    assert float((at_once - x).abs().max()) > 5.0


def test_a_collision_brings_a_network_nearer_to_the_target() -> None:
    f, x, mu = pixels_first(convolutional()), images(4), torch.zeros(5)
    moved = collide(f, x, mu, beta=0.0)
    ratio = (f(moved) - mu).norm(dim=1) / (f(x) - mu).norm(dim=1)
    assert float(ratio.max()) < 0.15


# ------------------------------------------------------------------ who leaves the batch


def test_a_converged_sample_leaves_the_batch() -> None:
    sizes: list[int] = []

    def counting(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return identity(x)

    # half of the way to zero: 5 and 50 of grey value, at 3 a step and fewer later
    x = torch.tensor([10.0, 100.0]).reshape(2, 1, 1, 1).expand(2, 2, 2, 1).contiguous()
    _, facts = descend(counting, x, x, torch.zeros(4), 0.0, 200, 3.0, 0.5, IMAGE)
    early, late = facts["steps"].tolist()
    assert facts["converged"].tolist() == [True, True]
    assert 1 <= early < late < 200
    # one look at the start, then both until the first is done (its last look included), then one
    assert sizes == [2] + [2] * (early + 1) + [1] * (late - early)


def test_a_sample_that_is_done_is_left_where_it_was_done() -> None:
    x = torch.tensor([10.0, 100.0]).reshape(2, 1, 1, 1).expand(2, 2, 2, 1).contiguous()
    both, _ = descend(identity, x, x, torch.zeros(4), 0.0, 200, 3.0, 0.5, IMAGE)
    first, _ = descend(identity, x[:1], x[:1], torch.zeros(4), 0.0, 200, 3.0, 0.5, IMAGE)
    assert torch.equal(both[:1], first)
    assert 0.0 < float(both[0].mean()) <= 5.0


def test_where_the_gradient_vanishes_only_a_descent_that_starts_beside_the_sample_leads_away() -> None:
    def loudness(x: Tensor) -> Tensor:
        return x.abs()  # as a spectrum: at silence it has no gradient

    silent, target = torch.zeros(1, 2), torch.full((2,), 5.0)
    stuck, _ = descend(loudness, silent, silent, target, 0.0, 50, 1.0, 0.02, IMAGE)
    led, _ = descend(loudness, silent, silent + 0.01, target, 0.0, 50, 1.0, 0.02, IMAGE)
    assert stuck.tolist() == [[0.0, 0.0]]
    assert led[0].tolist() == pytest.approx([5.0, 5.0], abs=0.2)


def test_dither_begins_beside_each_sample_in_steps_of_what_can_be_stored(rng: np.random.Generator) -> None:
    x = np.zeros((3, 10_000), np.int16)
    assert not dithered(x, AUDIO, 0.0, rng).any()
    begin = dithered(x, AUDIO, 2.0, rng)
    assert begin.dtype == np.float32
    assert begin.std() == pytest.approx(2 * 2.0**-15, rel=0.02)
    assert np.abs(dithered(x + 32_767, AUDIO, 2.0, rng)).max() <= AUDIO.high  # the valid range holds


def test_a_sample_already_at_the_target_has_converged_and_stays() -> None:
    x = torch.tensor([0.0, 50.0]).reshape(2, 1, 1, 1)
    moved, facts = descend(identity, x, x, torch.zeros(1), 1e-6, 10, 1.0, 0.02, IMAGE)
    assert float(moved[0]) == 0.0
    assert facts["converged"].tolist()[0] is True
    assert facts["diverged"].tolist() == [False, False]


def blind_where_marked(x: Tensor) -> Tensor:
    """f(x) = x, but the gradient of an image whose first pixel is 7 is NaN."""
    if x.requires_grad:
        marked = x[:, :1, :1, :1] == 7
        x.register_hook(lambda gradient: torch.where(marked, torch.nan, gradient))
    return identity(x)


def test_a_sample_whose_gradient_is_nan_keeps_its_value_and_disturbs_nobody() -> None:
    x = torch.full((3, 2, 2, 1), 100.0)
    x[1, 0, 0, 0] = 7.0
    _, gap = log_gradient(blind_where_marked, x, torch.zeros_like(x), torch.zeros(4), 0.0)
    assert torch.isfinite(gap).all()  # the objective is finite; only its gradient is not
    moved, facts = descend(blind_where_marked, x, x, torch.zeros(4), 0.0, 20, 1.5, 0.0, IMAGE)
    assert facts["diverged"].tolist() == [False, True, False]
    assert facts["converged"].tolist() == [False, False, False]
    assert torch.equal(moved[1], x[1])
    alone, _ = descend(identity, x[::2].contiguous(), x[::2].contiguous(), torch.zeros(4), 0.0, 20, 1.5, 0.0, IMAGE)
    torch.testing.assert_close(moved[::2], alone)
    assert float((moved[0] - x[0]).abs().min()) > 5.0


def dark_is_nan(x: Tensor) -> Tensor:
    """f(x) = x, NaN for images darker than 40 on average."""
    return torch.where(x.mean(dim=(1, 2, 3)) < 40, torch.nan, 1.0)[:, None] * identity(x)


def test_a_sample_that_walks_into_nan_is_left_where_its_features_were_last_finite() -> None:
    x = torch.tensor([50.0, 200.0]).reshape(2, 1, 1, 1).expand(2, 2, 2, 1).contiguous()
    moved, facts = descend(dark_is_nan, x, x, torch.zeros(4), 0.0, 30, 1.5, 0.0, IMAGE)
    assert facts["diverged"].tolist() == [True, False]
    assert torch.isfinite(moved).all()
    alone, _ = descend(identity, x[1:], x[1:], torch.zeros(4), 0.0, 30, 1.5, 0.0, IMAGE)
    torch.testing.assert_close(moved[1:], alone)
    assert torch.isfinite(dark_is_nan(moved)).all()


def test_a_last_step_into_nan_is_taken_back_too() -> None:
    x = torch.full((1, 2, 2, 1), 41.0)
    moved, facts = descend(dark_is_nan, x, x, torch.zeros(4), 0.0, 1, 3.0, 0.0, IMAGE)  # its only step leads to 38
    assert facts["diverged"].tolist() == [True]
    assert torch.isfinite(dark_is_nan(moved)).all()


# ------------------------------------------------------------------ the attack


def view_of(x: Array, y: list[int], f: Extractor | None, budget: int = 100) -> AttackView:
    classes = tuple(f"class {c}" for c in range(max(y) + 1))
    return AttackView(Samples(x, np.array(y)), classes, IMAGE, budget, f)


def grey(*values: int) -> Array:
    return np.array(values, np.uint8).reshape(-1, 1, 1, 1).repeat(2, axis=1).repeat(2, axis=2)


@pytest.mark.parametrize(("target", "value"), [("zero", 0), ("one", 1), ("mean", 55)])
def test_every_target_is_reached(target: str, value: int, rng: np.random.Generator) -> None:
    view = view_of(grey(40, 50, 60, 70), [0, 1, 0, 1], identity)
    poison = FeatureCollision(n_poison=4, target=target, lr=3.0, tolerance=0.0).craft(view, rng)
    assert np.abs(poison.samples.x.astype(int) - value).max() <= 2
    # a poison half a step from the target can be a large share of a short way
    assert poison.unmet == () or target == "mean"


def test_the_closest_bases_are_poisoned_and_keep_their_labels(rng: np.random.Generator) -> None:
    view = view_of(grey(90, 40, 80, 30), [0, 0, 1, 1], identity)
    poison = FeatureCollision(n_poison=2, steps=3).craft(view, rng)
    assert poison.base.tolist() == [3, 1]
    assert poison.samples.y.tolist() == [1, 0]
    assert set(poison.facts) >= {"steps", "converged", "diverged", "collision_ratio"}
    assert violations(poison, view, FeatureCollision.card.threat) == []


def test_random_bases_follow_the_generator_not_the_target() -> None:
    view = view_of(grey(*range(20, 60)), [0, 1] * 20, identity)
    attack = FeatureCollision(n_poison=10, steps=1, base="random")
    chosen = [attack.craft(view, np.random.default_rng(s)).base.tolist() for s in (0, 0, 1)]
    closest = replace(attack, base="closest").craft(view, np.random.default_rng(0)).base.tolist()
    assert chosen[0] == chosen[1]
    assert chosen[0] != chosen[2]
    assert sorted(closest) == list(range(10))
    assert sorted(chosen[0]) != sorted(closest)


def test_a_missed_collision_is_said_in_words(rng: np.random.Generator) -> None:
    view = view_of(grey(200, 210), [0, 1], identity)
    poison = FeatureCollision(n_poison=2, steps=1).craft(view, rng)
    assert len(poison.unmet) == 1
    assert "mean collision ratio 0.99" in poison.unmet[0]


def test_without_an_extractor_it_says_what_it_needs(rng: np.random.Generator) -> None:
    with pytest.raises(MolebenchError, match="needs an extractor"):
        FeatureCollision().craft(view_of(grey(1, 2), [0, 1], None), rng)


@pytest.mark.parametrize("psnr", [20.0, 30.0, 40.0])
def test_noise_has_the_psnr_asked_for_even_near_the_ends_of_the_range(psnr: float, rng: np.random.Generator) -> None:
    x = np.stack([np.full((16, 16, 3), v, np.uint8) for v in (2, 128, 253)])
    found = distances(noisy(x, IMAGE, psnr, rng), x, IMAGE)["psnr"]
    np.testing.assert_allclose(found, psnr, atol=0.2)


# ------------------------------------------------------------------ the real thing


@pytest.fixture(scope="module")
def patches(fetched: Workspace, lite0: FrozenExtractor) -> AttackView:
    """Eight photo patches, two of each of four photographs, and EfficientNet-Lite0."""
    train = PhotoPatches().load(fetched).splits["train"]
    index = np.concatenate([np.flatnonzero(train.y == c)[:2] for c in range(4)])
    return AttackView(train[index], ("a", "b", "c", "d"), IMAGE, budget=8, extractor=lite0)


@pytest.fixture(scope="module")
def collided(patches: AttackView) -> Poison:
    """Their poisons with the default parameters."""
    poison: Poison = FeatureCollision().craft(patches, np.random.default_rng(0))
    return poison


def test_real_features_collide_at_little_noise_after_quantisation(patches: AttackView, collided: Poison) -> None:
    base = patches.base.x[collided.base]
    assert collided.samples.x.dtype == np.uint8
    assert len(collided) == 8
    assert isinstance(patches.extractor, FrozenExtractor)
    measured = ratios(patches.extractor, collided.samples.x, base, np.zeros(1280, np.float32), IMAGE)
    np.testing.assert_allclose(measured, collided.facts["collision_ratio"], rtol=1e-3)
    assert measured.mean() < 0.1
    assert distances(collided.samples.x, base, IMAGE)["psnr"].mean() > 28.0
    assert collided.unmet == ()
    assert not collided.facts["diverged"].any()


def test_the_unperturbed_control_is_the_same_bases_and_collides_not_at_all(
    patches: AttackView, collided: Poison, rng: np.random.Generator
) -> None:
    control = Unperturbed().craft(patches, rng)
    assert control.base.tolist() == collided.base.tolist()
    assert isinstance(patches.extractor, FrozenExtractor)
    base = patches.base.x[control.base]
    measured = ratios(patches.extractor, control.samples.x, base, np.zeros(1280, np.float32), IMAGE)
    assert measured.tolist() == control.facts["collision_ratio"].tolist() == [1.0] * 8


def test_noise_of_the_same_strength_collides_hardly_at_all(
    patches: AttackView, collided: Poison, rng: np.random.Generator
) -> None:
    noise = Noise(psnr=30.0).craft(patches, rng)
    assert noise.base.tolist() == collided.base.tolist()
    psnr = distances(noise.samples.x, patches.base.x[noise.base], IMAGE)["psnr"]
    np.testing.assert_allclose(psnr, 30.0, atol=0.2)
    assert noise.facts["collision_ratio"].mean() > 0.4 > 4 * collided.facts["collision_ratio"].mean()
    assert (noise.facts["collision_ratio"] > collided.facts["collision_ratio"]).all()
