"""DER: old backbones stay as they are to the last bit, the new one starts where they ended, and weights are aligned."""

import copy
import math
from collections.abc import Iterator, Mapping
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from molebench.backbones import Arithmetic, Backbone, small_stem
from molebench.classifiers import Shape
from molebench.continual_learners import Knowledge, Lesson
from molebench.expandable import Expandable
from molebench.incremental import frozen
from molebench.training import Recipe, train
from molebench.victims.cl_der import DER, aligned, grouped
from tests.small_lessons import EACH, NEW, QUICK, TASKS, accuracy, batch, course, gradients, lesson, pool

LEARNER = DER(QUICK, memory=20, weight=2.0)
EVERYTHING = torch.from_numpy(pool()[0])
WIDTH = 16  # features of a backbone


@pytest.fixture(scope="module", autouse=True)
def small_backbones() -> Iterator[None]:
    """Residual networks of two blocks: their batch norms settle within a few steps."""

    def small(name: str, shape: Shape, arithmetic: Arithmetic) -> Backbone:
        del name, arithmetic
        return Backbone(small_stem(shape.channels, 8), (8, WIDTH), blocks=1)

    with mock.patch("molebench.backbones.backbone", small):
        yield


@pytest.fixture(scope="module")
def known(small_backbones: None) -> list[Knowledge]:
    """What it knows after each of three tasks."""
    return course(LEARNER, epochs=12)


@pytest.fixture
def third(known: list[Knowledge]) -> Lesson:
    """The third task, with two older backbones."""
    return lesson(2, known[1])


def expandable(network: nn.Module) -> Expandable:
    assert isinstance(network, Expandable)
    return network


def copied(network: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers as they are now."""
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Bit by bit, under the same names."""
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def with_exemplars(given: Lesson) -> tuple[Tensor, Tensor]:
    """A batch of the task's images and of old classes."""
    index = [*given.index[:4], *(int(each[0]) for each in given.memory)]
    return given.x[index], given.y[index]


# ------------------------------------------------------------------ old and new backbones


def test_old_backbones_do_not_move_in_training_or_in_an_extra_epoch(third: Lesson) -> None:
    network = expandable(LEARNER.grown(third))
    older, newest = copied(network.older), copied(network.newest.backbone)
    assert "1.stem.1.running_mean" in older
    recipe = Recipe(2, 12, 0.1, weight_decay=0.1)  # a decay would move what an optimiser holds, gradient or none
    objective = LEARNER.objective(network, third)
    train(network, third.x[third.index], third.y[third.index], recipe, torch.Generator(), objective=objective)
    assert same(copied(network.older), older)
    again = LEARNER.objective(network, third)
    train(network, *with_exemplars(third), Recipe(1, 4, 0.1, weight_decay=0.1), torch.Generator(), objective=again)
    assert same(copied(network.older), older)
    assert not any(torch.equal(value, newest[name]) for name, value in network.newest.backbone.state_dict().items())


def test_old_backbones_are_in_evaluation_mode_whatever_the_loop_says(third: Lesson) -> None:
    network = expandable(LEARNER.grown(third)).train()
    assert not any(module.training for module in network.older.modules())
    assert all(module.training for module in network.newest.modules())
    assert not any(module.training for module in network.eval().modules())


def test_only_the_newest_backbone_the_auxiliary_head_and_the_classifier_are_trained(third: Lesson) -> None:
    network = LEARNER.grown(third)
    loss = LEARNER.objective(network, third)(*with_exemplars(third))
    found = gradients(network, loss)
    assert {name.split(".")[0] for name in found} == {"newest", "classifier"}
    assert all(g.abs().sum() > 0 for g in found.values())


def test_a_new_backbone_starts_as_a_copy_of_the_last(known: list[Knowledge], third: Lesson) -> None:
    before, network = expandable(known[1].network), expandable(LEARNER.grown(third))
    assert len(network.older) == 2
    assert same(network.older[0].state_dict(), before.older[0].state_dict())
    assert same(network.older[1].state_dict(), before.newest.backbone.state_dict())
    assert same(network.newest.backbone.state_dict(), before.newest.backbone.state_dict())
    assert network.newest.backbone is not network.older[1]


def test_folded_copies_of_old_backbones_give_the_same_features(third: Lesson) -> None:
    network = expandable(LEARNER.grown(third)).eval()
    with torch.no_grad():
        plain = network.features(EVERYTHING)
        quick = network.joined(EVERYTHING, [frozen(each) for each in network.older])
    assert not torch.equal(quick, plain)  # it is another computation
    torch.testing.assert_close(quick, plain, rtol=1e-5, atol=1e-5)
    assert torch.equal(quick[:, -WIDTH:], plain[:, -WIDTH:])


def test_a_frozen_network_says_the_same(known: list[Knowledge]) -> None:
    network = copy.deepcopy(known[-1].network).eval()
    with torch.no_grad():
        torch.testing.assert_close(frozen(network)(EVERYTHING), network(EVERYTHING), rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------ classifier and loss


def test_the_classifier_keeps_old_weights_for_old_features_and_draws_the_rest(
    known: list[Knowledge], third: Lesson
) -> None:
    before, found = expandable(known[1].network).classifier, expandable(LEARNER.grown(third)).classifier
    assert found.weight.shape == (3 * NEW, 3 * WIDTH)
    assert torch.equal(found.weight[: 2 * NEW, : 2 * WIDTH], before.weight)
    assert torch.equal(found.bias[: 2 * NEW], before.bias)
    drawn = torch.cat([found.weight[: 2 * NEW, 2 * WIDTH :].flatten(), found.weight[2 * NEW :].flatten()])
    assert len(drawn.unique()) > 0.99 * len(drawn)
    assert torch.equal(found.weight, expandable(LEARNER.grown(lesson(2, known[1]))).classifier.weight)


def test_the_auxiliary_head_tells_the_tasks_classes_apart_and_takes_old_ones_for_one() -> None:
    assert grouped(torch.tensor([0, 3, 4, 5, 6]), old=4).tolist() == [0, 0, 1, 2, 3]


def test_its_loss_is_cross_entropy_and_that_of_a_head_on_the_newest_features(third: Lesson) -> None:
    network = expandable(LEARNER.grown(third)).eval()
    x, y = with_exemplars(third)
    assert y.tolist() == [4, 5, 4, 5, 0, 1, 2, 3]
    with torch.no_grad():
        (head,) = network.newest.heads
        z = head(network.newest.backbone(network.newest.normalised(x)))
        assert z.shape == (8, 1 + NEW)
        auxiliary = F.cross_entropy(z, torch.tensor([1, 2, 1, 2, 0, 0, 0, 0]))
        expected = F.cross_entropy(network(x), y) + 2.0 * auxiliary
        assert LEARNER.objective(network, third)(x, y).item() == pytest.approx(expected.item(), rel=1e-4)


def test_its_first_task_has_one_backbone_and_no_auxiliary_head() -> None:
    first = lesson()
    network = expandable(LEARNER.grown(first)).eval()
    assert (len(network.older), len(network.newest.heads), network.classifier.out_features) == (0, 0, NEW)
    x, y = batch(first)
    with torch.no_grad():
        assert torch.equal(LEARNER.objective(network, first)(x, y), F.cross_entropy(network(x), y))


# ------------------------------------------------------------------ closing


def test_alignment_scales_new_rows_by_the_ratio_of_mean_norms() -> None:
    weight = torch.tensor([[3.0, 4.0], [0.0, 1.0], [6.0, 8.0], [0.0, 2.0]])  # old norms 5 and 1, new ones 10 and 2
    found = aligned(weight, old=2, most=1.0)
    torch.testing.assert_close(found, torch.tensor([[3.0, 4.0], [0.0, 1.0], [3.0, 4.0], [0.0, 1.0]]))


def test_rows_that_are_shorter_already_are_lengthened_by_the_rule_to_the_letter_alone() -> None:
    weight = torch.tensor([[3.0, 4.0], [0.0, 5.0], [0.0, 2.0], [0.0, 3.0]])  # old norms 5 and 5, new ones 2 and 3
    torch.testing.assert_close(aligned(weight, old=2, most=1.0), weight)
    torch.testing.assert_close(aligned(weight, old=2, most=math.inf)[2:], torch.tensor([[0.0, 4.0], [0.0, 6.0]]))


def test_closing_makes_the_mean_norms_of_old_and_new_weights_equal(third: Lesson) -> None:
    network = expandable(LEARNER.grown(third))
    with torch.no_grad():
        network.classifier.weight[2 * NEW :] *= 7.0
    before = copied(network)
    found = expandable(LEARNER.closed(network, third).network)
    norms = found.classifier.weight.norm(dim=1)
    assert norms[2 * NEW :].mean().item() == pytest.approx(norms[: 2 * NEW].mean().item(), rel=1e-6)
    after = copied(found)
    assert torch.equal(after.pop("classifier.weight")[: 2 * NEW], before["classifier.weight"][: 2 * NEW])
    assert same(after, {name: value for name, value in before.items() if name != "classifier.weight"})


def test_closing_the_first_task_aligns_nothing() -> None:
    network = LEARNER.grown(lesson())
    assert same(LEARNER.closed(network, lesson()).network.state_dict(), network.state_dict())


def test_closing_changes_neither_the_network_it_is_given_nor_its_structure_and_repeats_itself(third: Lesson) -> None:
    network = LEARNER.grown(third)
    before = copied(network)
    once, twice = LEARNER.closed(network, third), LEARNER.closed(network, third)
    assert same(copied(network), before)
    assert same(once.network.state_dict(), twice.network.state_dict())
    assert [each.tolist() for each in once.memory] == [each.tolist() for each in twice.memory]
    assert list(once.network.state_dict()) == list(before)


def test_its_memory_holds_the_same_share_of_every_class_and_drops_the_last_of_old_ones(known: list[Knowledge]) -> None:
    y = pool()[1]
    assert [[len(each) for each in k.memory] for k in known] == [[10] * 2, [5] * 4, [3] * 6]
    assert all((y[each] == c).all() for c, each in enumerate(known[-1].memory))
    assert known[-1].memory[0].tolist() == known[0].memory[0][:3].tolist()


def test_a_checkpoint_restored_into_a_freshly_grown_network_gives_identical_scores(known: list[Knowledge]) -> None:
    fresh = LEARNER.grown(lesson(seed=9))
    for t in range(1, TASKS):
        fresh = LEARNER.grown(lesson(t, Knowledge(fresh), seed=9))
    fresh.load_state_dict(known[-1].network.state_dict())
    with torch.inference_mode():
        restored = LEARNER.scores(Knowledge(frozen(fresh)), EVERYTHING)
        assert torch.equal(restored, LEARNER.scores(Knowledge(frozen(known[-1].network)), EVERYTHING))
    assert restored.shape == (TASKS * NEW * EACH, TASKS * NEW)


def test_it_tells_the_classes_of_all_tasks_apart(known: list[Knowledge]) -> None:
    assert accuracy(LEARNER, known[-1]) > 0.9
