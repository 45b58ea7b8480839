"""SSRE: fusing adapters changes nothing, only they and heads learn after the base, and a prototype is its class's."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from molebench.adapters import Adapted, adapters
from molebench.backbones import Arithmetic, Backbone, small_stem
from molebench.classifiers import Shape
from molebench.continual_learners import Curriculum, Knowledge, Lesson
from molebench.errors import MolebenchError
from molebench.incremental import frozen
from molebench.released import Faults
from molebench.rng import torch_stream
from molebench.victims.cl_ssre import PUBLISHED, SSRE, Adaptable, moved, similarity
from tests.small_lessons import NEW, QUICK, SHAPE, TASKS, accuracy, batch, course, gradients, learnt, lesson, pool

LEARNER = SSRE(QUICK, temperature=0.5, weight=2.0, balance=3.0)
EVERYTHING = torch.from_numpy(pool()[0])
FAULTY = Faults(prototypes=True)


@pytest.fixture(scope="module", autouse=True)
def small_backbones() -> Iterator[None]:
    """Residual networks of two blocks: their batch norms settle within a few steps."""

    def small(name: str, shape: Shape, arithmetic: Arithmetic) -> Backbone:
        del name, arithmetic
        return Backbone(small_stem(shape.channels, 8), (8, 16), blocks=1)

    with mock.patch("molebench.backbones.backbone", small):
        yield


@pytest.fixture(scope="module")
def known(small_backbones: None) -> list[Knowledge]:
    """What it knows after each of three tasks."""
    return course(LEARNER, epochs=12)


@pytest.fixture
def second(known: list[Knowledge]) -> Lesson:
    """The first task after the base."""
    return lesson(1, known[0])


@pytest.fixture
def strayed(second: Lesson) -> Adaptable:
    """A network whose adapters are not zero, in evaluation mode."""
    network = adaptable(LEARNER.grown(second)).eval()
    with torch.no_grad():
        for i, each in enumerate(adapters(network)):
            each.adapter.copy_(0.1 * torch.randn(each.adapter.shape, generator=torch_stream(0, "adapter", i)))
    return network


def adaptable(network: nn.Module) -> Adaptable:
    """A copy of it, by its own type."""
    assert isinstance(network, Adaptable)
    return copy.deepcopy(network)


def copied(network: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers as they are now."""
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Bit by bit, under the same names."""
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def prototypes(known: Knowledge) -> Tensor:
    return torch.from_numpy(np.array(known.facts["prototypes"]))


# ------------------------------------------------------------------ adapters


@pytest.mark.parametrize("stride", [1, 2])
def test_an_adapted_convolution_is_a_3x3_and_a_1x1_side_by_side(stride: int) -> None:
    rng = torch_stream(0, "convolution")
    three, one = nn.Conv2d(3, 5, 3, stride, 1, bias=False), nn.Conv2d(3, 5, 1, stride, bias=False)
    each = Adapted(copy.deepcopy(three))
    x = torch.randn(2, 3, 6, 7, generator=rng)
    assert torch.equal(each(x), three(x))
    with torch.no_grad():
        each.adapter.copy_(one.weight)
    torch.testing.assert_close(each(x), three(x) + one(x), rtol=1e-5, atol=1e-5)
    assert each(x).shape[2:] == ((6, 7) if stride == 1 else (3, 4))


def test_closing_fuses_the_adapters_and_the_function_is_what_it_was(second: Lesson, strayed: Adaptable) -> None:
    with torch.no_grad():
        before = strayed(EVERYTHING)
        known = LEARNER.closed(strayed, second)
        after = known.network(EVERYTHING)
    assert [each.adapter.count_nonzero().item() for each in adapters(known.network)] == [0] * 4
    assert all(each.adapter.abs().max() > 0 for each in adapters(strayed))  # what it was given is as it was
    for then, now in zip(adapters(strayed), adapters(known.network), strict=True):
        changed = (now.conv.weight != then.conv.weight).any(dim=0).any(dim=0)
        assert changed.tolist() == [[False] * 3, [False, True, False], [False] * 3]
    assert torch.equal(after, before)


def test_without_its_adapters_a_network_says_something_else(second: Lesson, strayed: Adaptable) -> None:
    with torch.no_grad():
        assert (strayed(EVERYTHING) - LEARNER.grown(second).eval()(EVERYTHING)).abs().max() > 0.01


def test_a_frozen_copy_has_plain_convolutions_and_says_the_same(strayed: Adaptable) -> None:
    found = frozen(strayed)
    assert adapters(found) == []
    assert not any(isinstance(each, nn.BatchNorm2d) for each in found.modules())
    with torch.no_grad():
        torch.testing.assert_close(found(EVERYTHING), strayed(EVERYTHING), rtol=1e-5, atol=1e-4)
    assert len(adapters(strayed)) == 4


# ------------------------------------------------------------------ what learns


def test_after_the_base_only_adapters_and_heads_have_gradients(second: Lesson) -> None:
    network = LEARNER.grown(second)
    found = gradients(network, LEARNER.objective(network, second)(*batch(second)))
    taught = [name for name in found if name.endswith(".adapter")]
    assert len(taught) == len(adapters(network)) == 4
    assert set(found) - set(taught) == {f"body.heads.{t}.{part}" for t in (0, 1) for part in ("weight", "bias")}
    assert all(g.abs().sum() > 0 for g in found.values())


def test_after_the_base_nothing_else_moves_in_training(second: Lesson) -> None:
    network = LEARNER.grown(second)
    before = copied(network)
    assert "body.backbone.stem.1.running_mean" in before
    after = copied(learnt(LEARNER, second, epochs=1))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.endswith("adapter") or "heads" in name}


def test_in_the_base_everything_learns_but_the_adapters() -> None:
    first = lesson()
    network = LEARNER.grown(first)
    before, after = copied(network), copied(learnt(LEARNER, first, epochs=1))
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert still == {"body.mean", "body.std", *(name for name in before if name.endswith("adapter"))}


def test_batch_norms_use_their_statistics_after_the_base_whatever_the_loop_says(second: Lesson) -> None:
    assert not any(module.training for module in LEARNER.grown(second).train().modules())
    assert all(module.training for module in LEARNER.grown(lesson()).train().modules())


# ------------------------------------------------------------------ loss


def test_similarity_is_the_cosine_to_the_nearest_prototype_and_passes_no_gradient() -> None:
    f = torch.tensor([[3.0, 4.0], [0.0, 2.0]], requires_grad=True)
    s = similarity(f, torch.tensor([[10.0, 0.0], [1.0, 1.0]]))
    torch.testing.assert_close(s, torch.tensor([7.0 / 50.0**0.5, 1.0 / 2.0**0.5]))
    assert not s.requires_grad


def test_a_distance_is_that_of_features_but_rounding_pulls_at_nothing() -> None:
    before = torch.zeros(2, 2)
    f = torch.tensor([[3.0, 4.0], [1e-7, 0.0]], requires_grad=True)
    found = moved(f, before)
    torch.testing.assert_close(found, torch.tensor([5.0, 0.0]), rtol=1e-4, atol=1e-6)
    (pull,) = torch.autograd.grad(found.sum(), f)
    torch.testing.assert_close(pull, torch.tensor([[0.6, 0.8], [0.0, 0.0]]), rtol=1e-4, atol=2e-3)


def test_its_loss_is_the_three_terms(second: Lesson, strayed: Adaptable) -> None:
    x, y = batch(second)
    old = prototypes(second.before)  # type: ignore[arg-type]
    drawn = torch.randint(NEW, (len(x),), generator=Generator().manual_seed(second.init.initial_seed()))
    assert 0 < drawn.sum() < len(drawn)
    with torch.no_grad():
        f, z = strayed.features(x), strayed(x)
        s = torch.stack([F.cosine_similarity(row[None], old).max() for row in f])
        own = ((1.0 - s) * -(z / 0.5).log_softmax(dim=1)[torch.arange(8), y]).sum() / 8
        kept = sum(a * torch.dist(b, c) for a, b, c in zip(s, f, second.teacher.features(x), strict=True))  # type: ignore
        held = F.cross_entropy(strayed.logits(old[drawn]) / 0.5, drawn)
        assert kept > 0.1
        found = LEARNER.objective(strayed, second)(x, y)
    assert found.item() == pytest.approx((own + 2.0 * kept + 3.0 * held).item(), rel=1e-3)


def test_in_the_base_task_it_is_cross_entropy_of_sharpened_logits() -> None:
    first = lesson()
    network = LEARNER.grown(first).eval()
    x, y = batch(first)
    with torch.no_grad():
        assert torch.equal(LEARNER.objective(network, first)(x, y), F.cross_entropy(network(x) / 0.5, y))


def test_prototypes_are_drawn_anew_for_every_batch_and_alike_for_every_objective(second: Lesson) -> None:
    network = LEARNER.grown(second).eval()
    one, other = LEARNER.objective(network, second), LEARNER.objective(network, second)
    with torch.no_grad():
        series = [[float(loss(*batch(second))) for _ in range(4)] for loss in (one, other)]
    assert series[0] == series[1]
    assert len(set(series[0])) > 1


# ------------------------------------------------------------------ prototypes


def test_the_prototype_of_a_class_is_the_mean_of_its_features_and_stays(known: list[Knowledge]) -> None:
    x, y = pool()
    for t in range(TASKS):
        assert prototypes(known[t]).shape == (NEW * (t + 1), 16)
        with torch.no_grad():
            f = adaptable(known[t].network).eval().features(torch.from_numpy(x))
        for c in (NEW * t, NEW * t + 1):
            torch.testing.assert_close(prototypes(known[t])[c], f[y == c].mean(dim=0), rtol=1e-4, atol=1e-4)
        assert all(torch.equal(prototypes(known[t])[:NEW], prototypes(k)[:NEW]) for k in known)


def test_closing_twice_gives_the_same(second: Lesson, strayed: Adaptable) -> None:
    before = copied(strayed)
    once, twice = LEARNER.closed(strayed, second), LEARNER.closed(strayed, second)
    assert torch.equal(prototypes(once), prototypes(twice))
    assert same(once.network.state_dict(), twice.network.state_dict())
    assert same(copied(strayed), before)
    again = LEARNER.closed(once.network, second)
    assert same(again.network.state_dict(), once.network.state_dict())
    assert torch.equal(prototypes(again), prototypes(once))


def test_with_the_released_fault_a_later_tasks_rows_stand_twice_and_shift_those_behind_them(
    known: list[Knowledge],
) -> None:
    def closed(t: int, before: Knowledge | None, faults: Faults) -> Knowledge:
        return LEARNER.closed(known[t].network, lesson(t, before, faults))

    right = [prototypes(each) for each in known]
    base = closed(0, None, FAULTY)
    assert torch.equal(prototypes(base), right[0])  # the base has no extra epoch
    after = closed(1, base, FAULTY)
    a, b, c, d = prototypes(after)[:4]
    assert torch.equal(prototypes(after), torch.stack([a, b, c, d, c, d]))
    assert torch.equal(prototypes(after)[:4], right[1])  # rows 0 to 3 are still classes 0 to 3
    last = prototypes(closed(2, after, FAULTY))
    assert torch.equal(last[:6], torch.stack([a, b, c, d, c, d]))  # rows 4 and 5 are not classes 4 and 5
    assert torch.equal(last[6:8], right[2][4:])


def test_the_fault_reaches_the_loss_once_the_shifted_classes_are_old(known: list[Knowledge]) -> None:
    def held(t: int, rows: Tensor) -> float:
        """The third term alone, of a network that knows t + 1 tasks."""
        knows = replace(known[t - 1], facts={"prototypes": rows.numpy()})
        given = replace(lesson(2, knows), number=t, old=NEW * t)
        network = LEARNER.grown(given).eval()
        only = replace(LEARNER, weight=0.0, balance=1e6)
        with torch.no_grad():
            return float(only.objective(network, given)(*batch(given)))

    right = prototypes(known[2])
    shifted = torch.cat([right[:4], right[2:4], right[4:], right[4:]])
    assert held(2, shifted[:6]) == pytest.approx(held(2, right[:4]), rel=1e-6)
    assert held(3, shifted) != pytest.approx(held(3, right), rel=1e-3)


# ------------------------------------------------------------------ tasks and checkpoints


def test_a_checkpoint_restored_into_a_freshly_grown_network_gives_identical_scores(known: list[Knowledge]) -> None:
    fresh = LEARNER.grown(lesson(seed=9))
    assert list(fresh.state_dict()) == list(known[0].network.state_dict())
    for t in range(1, TASKS):
        fresh = LEARNER.grown(lesson(t, Knowledge(fresh), seed=9))
        assert list(fresh.state_dict()) == list(known[t].network.state_dict())
    fresh.load_state_dict(known[-1].network.state_dict())
    with torch.inference_mode():
        restored = LEARNER.scores(Knowledge(frozen(fresh)), EVERYTHING)
        assert torch.equal(restored, LEARNER.scores(Knowledge(frozen(known[-1].network)), EVERYTHING))


def test_it_knows_the_base_after_two_more_tasks(known: list[Knowledge]) -> None:
    base = accuracy(LEARNER, known[0])
    assert base == pytest.approx(1 / TASKS, abs=0.02)  # all there is to know of a third of the classes
    assert accuracy(LEARNER, known[-1]) > base


@pytest.mark.parametrize(
    ("tasks", "classes", "new", "base"), [(5, 10, 2, 2), (10, 100, 40, 5), (2, 2, 1, 2), (6, 6, 2, 3)]
)
def test_a_base_task_of_fewer_than_half_of_the_tasks_is_refused(tasks: int, classes: int, new: int, base: int) -> None:
    given = replace(lesson(), shape=replace(SHAPE, classes=classes), new=new)
    learner = SSRE(Curriculum(tasks=tasks))
    with pytest.raises(MolebenchError) as error:
        learner.grown(given)
    assert str(error.value).startswith(f"SSRE with a base task too small: {new} of {classes} classes")
    assert f"choose victim.base={base} or more" in str(error.value)
    assert "\n" not in str(error.value)
    learner.grown(replace(given, new=base * classes // tasks))


def test_its_default_base_is_half_of_its_tasks() -> None:
    assert (PUBLISHED.tasks, PUBLISHED.base) == (5, 2)
    first, later = (PUBLISHED.recipe(t, SHAPE) for t in (0, 1))
    assert (first.epochs, first.lr, first.milestones, first.batch) == (101, 1e-3, (45.0, 90.0), 128)
    assert (later.epochs, later.lr, later.milestones, later.optimiser) == (60, 2e-4, (45.0,), "adam")
