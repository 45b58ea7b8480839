"""Distillation: its formula, its gradient, and LwF, which is held by it and by nothing else."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from molebench.continual_learners import Knowledge, Lesson
from molebench.distillation import bce, kd, of_task
from molebench.incremental import Incremental, frozen
from molebench.rng import torch_stream
from molebench.victims.cl_finetune import Finetune
from molebench.victims.cl_lwf import LwF
from tests.small_lessons import NEW, QUICK, batch, gradients, learnt, lesson

LWF = LwF(QUICK, weight=3.0)


def logits(seed: int, n: int = 5, k: int = 4) -> Tensor:
    return (3.0 * torch.randn(n, k, generator=torch_stream(seed, "logits"))).double().requires_grad_()


def slope(loss: Tensor, z: Tensor) -> Tensor:
    """The gradient of a loss in the student's logits."""
    return torch.autograd.grad(loss, z)[0]


@pytest.fixture(scope="module")
def second() -> Lesson:
    """The second task of a learner that has learnt the first."""
    return lesson(1, Knowledge(learnt(LWF, lesson(), epochs=2)))


# ------------------------------------------------------------------ the formulas


def test_kd_of_two_classes_by_hand() -> None:
    z, teacher = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[0.0, math.log(4.0)]])
    assert kd(z, teacher, 1.0).item() == pytest.approx(-0.2 * math.log(0.75) - 0.8 * math.log(0.25))
    # at temperature 2 the odds 3:1 and 1:4 are sqrt(3):1 and 1:2; no factor of 4
    student = math.sqrt(3.0) / (1.0 + math.sqrt(3.0))
    assert kd(z, teacher, 2.0).item() == pytest.approx(-(math.log(student) + 2.0 * math.log(1.0 - student)) / 3.0)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_kd_pulls_by_the_difference_of_softened_beliefs(temperature: float) -> None:
    z, teacher = logits(0), logits(1).detach()
    expected = ((z / temperature).softmax(1) - (teacher / temperature).softmax(1)) / temperature / len(z)
    torch.testing.assert_close(slope(kd(z, teacher, temperature), z), expected.detach())


def test_bce_of_two_classes_by_hand() -> None:
    z, q = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[0.5, 1.0]])  # sigmoids 3/4 and 1/2
    expected = -0.5 * math.log(0.75) - 0.5 * math.log(0.25) - math.log(0.5)
    assert bce(z, q).item() == pytest.approx(expected)
    assert bce(z.repeat(3, 1), q.repeat(3, 1)).item() == pytest.approx(
        expected
    )  # a mean over the batch, a sum over classes


def test_bce_pulls_by_the_difference_of_sigmoids() -> None:
    z, teacher = logits(0), logits(1).detach()
    expected = (z.sigmoid() - teacher.sigmoid()) / len(z)
    torch.testing.assert_close(slope(bce(z, teacher.sigmoid()), z), expected.detach())


def test_the_gradient_is_zero_where_student_and_teacher_agree() -> None:
    z = logits(0)
    for loss in (kd(z, z.detach(), 2.0), bce(z, z.detach().sigmoid())):
        assert loss.item() > 0.1
        torch.testing.assert_close(slope(loss, z), torch.zeros_like(z), atol=1e-15, rtol=0)


def test_the_loss_of_a_task_knows_nothing_of_earlier_classes() -> None:
    z, y = logits(0), torch.tensor([2, 3, 2, 2, 3])
    found = slope(of_task(z, y, 2), z)
    assert (found[:, :2] == 0).all()
    torch.testing.assert_close(found[:, 2:], slope(F.cross_entropy(z[:, 2:], y - 2), z)[:, 2:])


# ------------------------------------------------------------------ LwF


def test_lwf_is_cross_entropy_of_the_task_and_distillation_of_what_was_known(second: Lesson) -> None:
    network = learnt(LWF, second, epochs=1).eval()
    x, y = batch(second)
    with torch.no_grad():
        z, then = network(x), second.teacher(x)  # type: ignore[misc]
        expected = F.cross_entropy(z[:, NEW:], y - NEW) + 3.0 * kd(z[:, :NEW], then, 2.0)
        assert LWF.objective(network, second)(x, y).item() == pytest.approx(expected.item(), rel=1e-5)


def test_lwf_holds_back_nothing_while_it_believes_what_it_believed(second: Lesson) -> None:
    network = LWF.grown(second).eval()
    x, y = batch(second)
    held = gradients(network, LWF.objective(network, second)(x, y))
    free = gradients(network, Finetune(QUICK).objective(network, second)(x, y))
    assert max(float(g.abs().max()) for g in free.values()) > 0.1
    for name, gradient in held.items():
        torch.testing.assert_close(gradient, free[name], atol=1e-4, rtol=1e-4)


def test_lwf_is_held_back_once_it_has_strayed(second: Lesson) -> None:
    network = learnt(Finetune(QUICK), second, epochs=1).eval()
    x, y = batch(second)
    held = gradients(network, LWF.objective(network, second)(x, y))
    free = gradients(network, Finetune(QUICK).objective(network, second)(x, y))
    assert max(float((held[name] - free[name]).abs().max()) for name in held) > 0.01


def test_lwf_asks_a_teacher_of_the_same_task_for_old_classes_only(second: Lesson) -> None:
    """With the fault `teacher` the extra epoch is distilled from the model that was just trained."""
    network = learnt(LWF, second, epochs=1).eval()
    x, y = batch(second)
    itself = replace(second, teacher=frozen(network))
    z = network(x)
    expected = of_task(z, y, NEW) + 3.0 * kd(z[:, :NEW], z[:, :NEW], 2.0)
    assert LWF.objective(network, itself)(x, y).item() == pytest.approx(expected.item(), rel=1e-5)


def test_lwf_learns_its_first_task_as_finetuning_does() -> None:
    given = lesson()
    network = LWF.grown(given).eval()
    x, y = batch(given)
    assert LWF.objective(network, given)(x, y).item() == F.cross_entropy(network(x), y).item()


def test_lwf_keeps_the_heads_of_earlier_tasks_and_no_images(second: Lesson) -> None:
    assert second.before
    before = second.before.network
    network = learnt(LWF, second, epochs=1)
    assert isinstance(network, Incremental)
    assert isinstance(before, Incremental)
    assert all(
        torch.equal(a, b) for a, b in zip(network.heads[0].parameters(), before.heads[0].parameters(), strict=True)
    )
    assert not torch.equal(network.backbone.stem[0].weight, before.backbone.stem[0].weight)  # type: ignore[index]
    assert LWF.closed(network, second).memory == ()
