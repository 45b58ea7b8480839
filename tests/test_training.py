"""The training loop: rates by epoch, batches, crops and flips, and the same weights as a loop written out by hand."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from molebench.classifiers import Classifier, Shape
from molebench.offline_learners import ConvolutionalLearner, TransformerLearner, augments, update_of
from molebench.rng import torch_stream
from molebench.training import PAD, Recipe, batched, cropped_and_flipped, rate, train

N, K = 11, 3
RECIPE = Recipe(epochs=4, batch=4, lr=0.1, schedule="step", milestones=(2.0, 3.0))


def tiny() -> nn.Module:
    """A convolution, a batch norm and a linear layer; always the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = nn.Sequential(
            nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, K)
        )
    return Classifier(body, np.array([100.0]), np.array([50.0]))


def images(n: int = N) -> tuple[Tensor, Tensor]:
    """Eleven images of 4x4 and their classes in turn."""
    x = torch.randint(256, (n, 4, 4, 1), generator=torch_stream(0, "images")).to(torch.uint8)
    return x, torch.arange(n) % K


def trained(recipe: Recipe, seed: int = 0) -> nn.Module:
    network = tiny()
    train(network, *images(), recipe, torch_stream(seed, "order"))
    return network


# ------------------------------------------------------------------ rates


def rates(recipe: Recipe, parts: Sequence[float] = (0.0,)) -> list[float]:
    return [rate(recipe, epoch, part) for epoch in range(recipe.epochs) for part in parts]


def test_in_steps_the_rate_is_a_tenth_from_each_milestone_on() -> None:
    assert rates(RECIPE) == [1.0, 1.0, 0.1, 0.01]
    assert rates(replace(RECIPE, epochs=5, milestones=(2.5, 3.75))) == [1.0, 1.0, 1.0, 0.1, 0.01]
    assert rates(replace(RECIPE, milestones=())) == [1.0, 1.0, 1.0, 1.0]


def test_an_offline_resnets_milestones_are_half_and_three_quarters_of_its_epochs() -> None:
    for epochs, expected in (
        (8, [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01]),
        (5, [1.0, 1.0, 1.0, 0.1, 0.01]),
        (1, [1.0]),
    ):
        learner = ConvolutionalLearner(architecture=lambda stem, shape: torch.nn.Identity(), epochs=epochs)
        assert rates(learner.training(Shape(28, 28, 1, 10))) == expected


def test_linearly_the_rate_falls_batch_by_batch_to_zero_at_the_end() -> None:
    recipe = replace(RECIPE, epochs=2, schedule="linear")
    assert rates(recipe, (0.0, 0.25, 0.5, 0.75)) == [1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    assert rate(recipe, 1, 1.0) == 0.0


def test_constantly_the_rate_is_what_it_was() -> None:
    assert set(rates(replace(RECIPE, schedule="constant"), (0.0, 0.9))) == {1.0}


def test_an_update_is_one_epoch_more_at_the_initial_rate_and_all_else_is_the_same() -> None:
    shape = Shape(28, 28, 1, 10)
    for learner in (
        ConvolutionalLearner(lambda stem, shape: nn.Identity()),
        TransformerLearner(lambda s: nn.Identity()),
    ):
        recipe = learner.training(shape)
        update = update_of(recipe)
        assert (update.epochs, update.schedule, rates(update, (0.0, 0.9))) == (1, "constant", [1.0, 1.0])
        assert replace(update, epochs=recipe.epochs, schedule=recipe.schedule) == recipe


def test_the_papers_schedules_are_the_defaults() -> None:
    shape = Shape(28, 28, 1, 10)
    resnet = ConvolutionalLearner(lambda stem, shape: nn.Identity()).training(shape)
    assert resnet == Recipe(30, 512, 0.01, "sgd", schedule="step", milestones=(15.0, 22.5))
    vit = TransformerLearner(lambda shape: nn.Identity()).training(shape)
    assert (vit.epochs, vit.batch, vit.lr, vit.optimiser, vit.schedule) == (4, 16, 2e-4, "adamw", "linear")


@pytest.mark.parametrize(
    ("choice", "channels", "expected"),
    [("auto", 1, False), ("auto", 3, True), ("none", 3, False), ("crop_flip", 1, True)],
)
def test_colour_images_are_cropped_and_flipped_where_nothing_else_is_said(
    choice: Any, channels: int, expected: bool
) -> None:
    assert augments(choice, Shape(8, 8, channels, 10)) is expected


# ------------------------------------------------------------------ batches


def test_a_last_single_image_joins_the_batch_before_it() -> None:
    assert [b.tolist() for b in batched(torch.arange(5), 2)] == [[0, 1], [2, 3, 4]]
    assert [b.tolist() for b in batched(torch.arange(6), 2)] == [[0, 1], [2, 3], [4, 5]]
    assert [b.tolist() for b in batched(torch.arange(5), 3)] == [[0, 1, 2], [3, 4]]
    assert [b.tolist() for b in batched(torch.arange(1), 4)] == [[0]]


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 60), st.integers(2, 20))
def test_every_image_is_in_one_batch_in_order_and_no_batch_has_one_image(n: int, size: int) -> None:
    batches = batched(torch.arange(n), size)
    assert torch.cat(batches).tolist() == list(range(n))
    assert all(2 <= len(b) <= size + 1 for b in batches)
    assert all(len(b) == size for b in batches[:-1])


# ------------------------------------------------------------------ crops and flips


def windows(image: Tensor) -> dict[bytes, tuple[int, int, bool]]:
    """Every crop that an image may become: how far down and right in the padded one, and whether mirrored."""
    h, w, _ = image.shape
    padded = F.pad(image, (0, 0, PAD, PAD, PAD, PAD))
    return {
        (window.flip(1) if flip else window).numpy().tobytes(): (down, right, flip)
        for down in range(2 * PAD + 1)
        for right in range(2 * PAD + 1)
        for flip in (False, True)
        for window in [padded[down : down + h, right : right + w]]
    }


def test_each_image_becomes_a_window_of_itself_in_zeros_mirrored_or_not() -> None:
    # every pixel of the image has a value of its own, so that each window is told from all others
    image = torch.arange(1, 6 * 5 * 3 + 1).view(6, 5, 3).to(torch.uint8)
    there = windows(image)
    found = cropped_and_flipped(image.expand(600, -1, -1, -1), torch_stream(0, "crops"))
    assert (found.shape, found.dtype) == ((600, 6, 5, 3), torch.uint8)
    places = [there[window.numpy().tobytes()] for window in found]
    assert {down for down, _, _ in places} == {right for _, right, _ in places} == set(range(9))
    assert 0.4 < np.mean([flip for *_, flip in places]) < 0.6
    assert abs(np.corrcoef([(down, right, flip) for down, right, flip in places], rowvar=False)[0, 1]) < 0.15


def test_an_image_that_is_neither_moved_nor_mirrored_is_itself() -> None:
    image = torch.arange(1, 65).view(8, 8, 1).to(torch.uint8)
    assert windows(image)[image.numpy().tobytes()] == (PAD, PAD, False)


def test_crops_and_flips_are_the_same_from_the_same_generator_and_change_nothing_else() -> None:
    x = torch.arange(5 * 64).view(5, 8, 8, 1).to(torch.uint8)
    kept, state = x.clone(), torch.get_rng_state()
    one, same, other = (cropped_and_flipped(x, torch_stream(seed, "crops")) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(x, kept)
    assert torch.equal(state, torch.get_rng_state())


# ------------------------------------------------------------------ the loop


def by_hand(recipe: Recipe, order: Any) -> nn.Module:
    """SGD with momentum, or AdamW, written out."""
    network = tiny().train()
    x, y = images()
    first = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    second, step = copy.deepcopy(first), 0
    for epoch in range(recipe.epochs):
        shuffled = torch.randperm(N, generator=order)
        batches = [shuffled[:4], shuffled[4:8], shuffled[8:]]
        for i, batch in enumerate(batches):
            step += 1
            lr = recipe.lr * {"step": [1.0, 1.0, 0.1, 0.01][epoch], "linear": 1 - (epoch + i / 3) / 4}[recipe.schedule]
            network.zero_grad()
            F.cross_entropy(network(x[batch]), y[batch]).backward()
            for name, p in network.named_parameters():
                g = p.grad
                assert g is not None
                if recipe.optimiser == "sgd":
                    # v <- m v + g + d w;  w <- w - lr v
                    first[name] = recipe.momentum * first[name] + g + recipe.weight_decay * p.data
                    p.data -= lr * first[name]
                else:
                    # w <- (1 - lr d) w - lr m' / (sqrt(v') + eps), m' and v' corrected for their start at 0
                    first[name] = 0.9 * first[name] + 0.1 * g
                    second[name] = 0.999 * second[name] + 0.001 * g * g
                    m, v = first[name] / (1 - 0.9**step), second[name] / (1 - 0.999**step)
                    p.data -= lr * recipe.weight_decay * p.data + lr * m / (v.sqrt() + 1e-8)
    return network


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(4, 4, 0.1, "sgd", momentum=0.9, weight_decay=0.01, schedule="step", milestones=(2.0, 3.0)),
        Recipe(4, 4, 0.1, "sgd", momentum=0.0, schedule="linear"),
        Recipe(4, 4, 0.01, "adamw", weight_decay=0.1, schedule="linear"),
    ],
    ids=["sgd in steps", "sgd without momentum", "adamw"],
)
def test_training_gives_the_weights_of_a_loop_written_out(recipe: Recipe) -> None:
    found, expected = trained(recipe).state_dict(), by_hand(recipe, torch_stream(0, "order")).state_dict()
    assert all(torch.allclose(found[name], expected[name], rtol=1e-4, atol=1e-5) for name in expected)
    assert not torch.allclose(found["body.0.weight"], tiny().state_dict()["body.0.weight"], atol=1e-3)


def test_training_repeats_itself_from_the_same_generator_and_touches_no_other() -> None:
    recipe, state = replace(RECIPE, augment=True), torch.get_rng_state()
    one, same, other = (trained(recipe, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["body.0.weight"], other["body.0.weight"])


def test_training_starts_from_a_fresh_optimiser_every_time() -> None:
    network, (x, y) = tiny(), images()
    train(network, x, y, RECIPE, torch_stream(0, "order"))
    again = copy.deepcopy(network)
    for each in (network, again):
        train(each, x, y, update_of(RECIPE), torch_stream(1, "order"))
    ours, copied = network.state_dict(), again.state_dict()
    assert all(torch.equal(ours[name], copied[name]) for name in ours)


def test_every_image_is_heard_of_once_an_epoch_and_none_is_changed() -> None:
    x, y = images()
    kept, heard = x.clone(), list[int]()
    train(tiny(), x, y, RECIPE, torch_stream(0, "order"), heard.append)
    assert heard == [4, 4, 3] * 4
    assert torch.equal(x, kept)


def test_a_network_learns_what_is_easy() -> None:
    x = (torch.arange(60) % K * 100).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 4, 4, 1)
    network = tiny()
    train(network, x, torch.arange(60) % K, replace(RECIPE, epochs=40, batch=20), torch_stream(0, "order"))
    assert (network.eval()(x).argmax(dim=1) == torch.arange(60) % K).all()
