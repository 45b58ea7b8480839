"""IL2M: what a class was when it was new is kept for good, and rectifies its scores where the ratios make sense."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from molebench.continual_learners import Knowledge, Lesson
from molebench.exemplars import indices
from molebench.incremental import frozen
from molebench.released import Faults
from molebench.types import Array
from molebench.victims.cl_finetune import Finetune
from molebench.victims.cl_il2m import IL2M, rectification, rectified
from tests.small_lessons import NEW, QUICK, TASKS, accuracy, course, learnt, lesson, pool

LEARNER = IL2M(QUICK, memory=20)


@pytest.fixture(scope="module")
def known() -> list[Knowledge]:
    """What it knows after each of three tasks."""
    return course(LEARNER)


@pytest.fixture(scope="module")
def third(known: list[Knowledge]) -> Lesson:
    """The third task."""
    return lesson(2, known[1])


def logits(known: Knowledge, index: Array) -> Array:
    """z of images of the pool."""
    with torch.no_grad():
        found: Array = frozen(known.network)(torch.from_numpy(pool()[0][index])).double().numpy()
    return found


def one(value: float) -> Array:
    return np.array([value])


# ------------------------------------------------------------------ by hand


def test_old_scores_are_scaled_where_a_new_class_is_the_best_and_only_there() -> None:
    z = torch.tensor([[1.0, -2.0, 5.0], [4.0, 1.0, 0.0], [1.0, 7.0, 6.0], [3.0, 1.0, 4.0]])
    expected = torch.tensor([[3.0, -1.0, 5.0], [4.0, 1.0, 0.0], [1.0, 7.0, 6.0], [9.0, 0.5, 4.0]])
    assert torch.equal(rectified(z, torch.tensor([3.0, 0.5])), expected)
    assert torch.equal(rectified(z, torch.zeros(0)), z)


def test_a_factor_undoes_what_means_have_lost_and_confidences_have_gained() -> None:
    factor, guarded = rectification(np.array([6.0, -3.0]), np.array([2.0, -6.0]), np.full(2, 4.0), np.array([8.0, 2.0]))
    assert factor.tolist() == [1.5, 1.0]  # 6/2 * 4/8 and 3/6 * 4/2
    assert guarded == 0


@pytest.mark.parametrize(
    ("a", "b"),
    [
        *((6.0, 0.0), (0.0, 0.0), (6.0, 0.009), (-6.0, -0.009)),  # divides by next to nothing
        *((6.0, -2.0), (-6.0, 2.0), (0.0, 2.0)),  # flips a sign, or loses it
        *((math.inf, 2.0), (6.0, math.inf), (math.nan, 2.0), (6.0, math.nan)),
    ],
)
def test_a_ratio_that_means_nothing_leaves_its_class_as_it_is_and_is_counted(a: float, b: float) -> None:
    assert rectification(one(a), one(b), one(4.0), one(8.0)) == (one(1.0), 1)
    assert rectification(one(6.0), one(2.0), one(a), one(b)) == (one(1.0), 1)
    factor, guarded = rectification(np.array([a, 6.0]), np.array([b, 2.0]), np.full(2, 4.0), np.full(2, 8.0))
    assert (factor.tolist(), guarded) == ([1.0, 1.5], 1)


# ------------------------------------------------------------------ statistics


def test_statistics_are_means_over_the_images_that_they_are_said_to_be_of(known: list[Knowledge]) -> None:
    _, y = pool()
    for t, each in enumerate(known):
        z, labels = logits(each, np.flatnonzero(y // NEW == t)), y[y // NEW == t]
        init = [z[labels == c, c].mean() for c in range(NEW * t, NEW * (t + 1))]
        np.testing.assert_allclose(each.facts["init_mean"][-NEW:], init, rtol=1e-4)
        np.testing.assert_allclose(each.facts["confidence"][-NEW:], z.max(axis=1).mean(), rtol=1e-4)


def test_what_was_kept_of_a_class_never_changes(known: list[Knowledge]) -> None:
    for name in ("init_mean", "confidence"):
        first, second, third = (each.facts[name] for each in known)
        assert len(third) == NEW * TASKS
        assert third[: 2 * NEW].tolist() == second.tolist()
        assert second[:NEW].tolist() == first.tolist()


def test_factors_come_from_the_exemplars_that_the_task_was_learnt_with(known: list[Knowledge]) -> None:
    kept, memory = known[-1].facts, known[1].memory
    z = [logits(known[-1], memory[o])[:, o].mean() for o in range(2 * NEW)]
    expected, guarded = rectification(
        kept["init_mean"][: 2 * NEW],
        np.array(z),
        np.full(2 * NEW, kept["confidence"][-1]),
        kept["confidence"][: 2 * NEW],
    )
    np.testing.assert_allclose(kept["factor"], expected, rtol=1e-3)
    assert int(kept["guarded"]) == guarded
    assert (kept["factor"] != 1.0).any()


def test_statistics_are_idempotent(known: list[Knowledge], third: Lesson) -> None:
    once = LEARNER.closed(known[2].network, third)
    twice = LEARNER.closed(known[2].network, replace(third, before=replace(known[1], facts=once.facts)))
    for each in (once, twice):
        assert sorted(each.facts) == ["confidence", "factor", "guarded", "init_mean"]
        assert all(np.array_equal(value, known[2].facts[name]) for name, value in each.facts.items())


def test_with_the_fault_scores_are_plain_and_statistics_are_kept(known: list[Knowledge], third: Lesson) -> None:
    faulty = LEARNER.closed(known[2].network, replace(third, faults=Faults(il2m_statistics=True)))
    assert faulty.facts["factor"].tolist() == [1.0] * 2 * NEW
    assert faulty.facts["init_mean"].tolist() == known[2].facts["init_mean"].tolist()
    x = torch.from_numpy(pool()[0])
    network = frozen(known[2].network)
    plain, sound = (LEARNER.scores(replace(k, network=network), x) for k in (faulty, known[2]))
    assert torch.equal(plain, network(x))
    assert not torch.equal(plain, sound)
    assert torch.equal(sound, rectified(network(x), torch.tensor(known[2].facts["factor"], dtype=torch.float32)))


# ------------------------------------------------------------------ learning


def test_its_loss_is_cross_entropy_over_all_classes_and_nothing_else(third: Lesson) -> None:
    network = LEARNER.grown(third).eval()
    index = np.concatenate([third.index[:6], indices(third.memory)[:6]])
    x, y = third.x[index], third.y[index]
    assert LEARNER.objective(network, third)(x, y).item() == F.cross_entropy(network(x), y).item()


def test_it_keeps_exemplars_within_its_memory_and_remembers_what_finetuning_forgets(known: list[Knowledge]) -> None:
    assert [[len(each) for each in k.memory] for k in known] == [[10, 10], [5] * 4, [3] * 6]
    assert accuracy(LEARNER, known[-1]) > 0.7
    assert accuracy(Finetune(QUICK), course(Finetune(QUICK))[-1]) < 0.7


def test_its_first_task_rectifies_nothing(known: list[Knowledge]) -> None:
    assert len(known[0].facts["factor"]) == 0
    network, x = frozen(known[0].network), torch.from_numpy(pool()[0])
    assert torch.equal(LEARNER.scores(replace(known[0], network=network), x), network(x))
    assert learnt(LEARNER, lesson(), epochs=1)(x).shape == (len(x), NEW)
