"""LwM: its maps are Grad-CAM's, it keeps them where it can learn from them, and without their gradient it is LwF."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from molebench.continual_learners import Knowledge, Lesson, plain_network
from molebench.distillation import kd, of_task
from molebench.incremental import Incremental, frozen
from molebench.released import Faults
from molebench.victims.cl_finetune import Finetune
from molebench.victims.cl_lwf import LwF
from molebench.victims.cl_lwm import LwM, attention, weights
from tests.small_lessons import NEW, QUICK, batch, gradients, learnt, lesson

LWM = LwM(QUICK, weight=3.0, gamma=5.0)
Pair = tuple[Lesson, Incremental]


@pytest.fixture(scope="module")
def strayed() -> Pair:
    """The second task, and a network in evaluation mode that finetuning on it has moved away from its teacher."""
    second = lesson(1, Knowledge(learnt(LWM, lesson(), epochs=2)))
    network = learnt(Finetune(QUICK), second, epochs=2).eval()
    assert isinstance(network, Incremental)
    return second, network


def grad_cam(network: Incremental, maps: Tensor, b: Tensor) -> Tensor:
    """As published, by a backward pass of its own: the maps weighted by the mean gradient of class b's logit."""
    maps = maps if maps.requires_grad else maps.detach().requires_grad_()
    chosen = network.logits(maps.mean(dim=(2, 3))).gather(1, b[:, None])
    weight = torch.autograd.grad(chosen.sum(), maps, create_graph=True)[0].mean(dim=(2, 3), keepdim=True)
    flat = (weight * maps).sum(dim=1).relu().flatten(1)
    return flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-12)


def spread(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The largest difference of two gradients, in any weight of the backbone."""
    return max(float((a[name] - b[name]).abs().max()) for name in a if name.startswith("backbone."))


def test_attention_is_what_speaks_for_a_class_at_length_one() -> None:
    maps = torch.tensor([[[[3.0, 0.0]], [[0.0, 4.0]]]])  # two channels over two places
    heads = torch.tensor([[1.0, -1.0], [1.0, 1.0], [-1.0, -2.0]])
    found = attention(maps.repeat(3, 1, 1, 1), heads, torch.tensor([0, 1, 2]))
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 0.0]]))


def test_attention_is_grad_cam(strayed: Pair) -> None:
    given, network = strayed
    with torch.no_grad():
        maps = network.maps(given.x)
    for b in range(2 * NEW):
        classes = torch.full((len(maps),), b)
        found = attention(maps, weights(network), classes)
        assert found.shape == (len(given.x), 4)
        torch.testing.assert_close(found, grad_cam(network, maps, classes), atol=1e-5, rtol=1e-5)


def slow_loss(given: Lesson, network: Incremental, x: Tensor, y: Tensor) -> Tensor:
    """The loss by the published Grad-CAM, of the class that the teacher finds likeliest."""
    teacher = given.teacher
    assert isinstance(teacher, Incremental)
    z, believed = network(x), teacher(x)
    b = believed.argmax(dim=1)
    looks, looked = grad_cam(network, network.maps(x), b), grad_cam(teacher, teacher.maps(x), b).detach()
    return of_task(z, y, NEW) + 3.0 * kd(z[:, :NEW], believed, 2.0) + 5.0 * (looks - looked).abs().sum() / len(x)


def test_the_loss_and_its_gradient_are_those_of_the_published_grad_cam(strayed: Pair) -> None:
    given, network = strayed
    x, y = batch(given)
    found, expected = LWM.objective(network, given)(x, y), slow_loss(given, network, x, y)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    by_hand = gradients(network, expected)
    for name, gradient in gradients(network, found).items():
        torch.testing.assert_close(gradient, by_hand[name], atol=1e-3, rtol=1e-3)


def test_both_networks_are_asked_for_the_class_that_the_teacher_finds_likeliest(strayed: Pair) -> None:
    given, network = strayed
    x, y = batch(given)
    other = copy.deepcopy(network)
    with torch.no_grad():
        for value in other.heads[0].parameters():
            value.copy_(value.flip(0))
    assert (other(x)[:, :NEW].argmax(dim=1) != given.teacher(x).argmax(dim=1)).any()  # type: ignore[misc]
    assert LWM.objective(other, given)(x, y).item() == pytest.approx(slow_loss(given, other, x, y).item(), rel=1e-5)


def test_attention_pulls_at_a_network_that_has_strayed_and_with_the_fault_it_does_not(strayed: Pair) -> None:
    given, network = strayed
    x, y = batch(given)
    faulty = replace(given, faults=Faults(attention_grad=True))
    alone = gradients(network, replace(LWM, gamma=0.0).objective(network, given)(x, y))
    assert spread(gradients(network, LWM.objective(network, given)(x, y)), alone) > 1e-3
    assert spread(gradients(network, LWM.objective(network, faulty)(x, y)), alone) == 0.0
    assert LWM.objective(network, faulty)(x, y).item() == LWM.objective(network, given)(x, y).item()


def test_with_the_fault_it_is_lwf(strayed: Pair) -> None:
    given, network = strayed
    faulty, (x, y) = replace(given, faults=Faults(attention_grad=True)), batch(given)
    found = gradients(network, LWM.objective(network, faulty)(x, y))
    expected = gradients(network, LwF(QUICK, weight=3.0).objective(network, given)(x, y))
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-4)


def test_nothing_pulls_back_while_it_is_what_it_was(strayed: Pair) -> None:
    given, _ = strayed
    assert given.before
    given = replace(given, teacher=copy.deepcopy(given.before.network).eval().requires_grad_(False))
    network = plain_network(QUICK, given, freeze_old_heads=True).eval()
    x, y = batch(given)
    found = gradients(network, LWM.objective(network, given)(x, y))
    task = gradients(network, Finetune(QUICK).objective(network, given)(x, y))
    assert max(float(g.abs().max()) for g in task.values()) > 0.1
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, task[name], atol=1e-5, rtol=1e-5)


def test_a_teacher_of_the_same_task_is_asked_for_old_classes_only(strayed: Pair) -> None:
    """With the fault `teacher` the extra epoch is distilled from the model that was just trained."""
    given, network = strayed
    just = copy.deepcopy(network)
    with torch.no_grad():
        just.heads[-1].get_parameter("bias").add_(1e6)
    x, y = batch(given)
    assert isinstance(given.teacher, Incremental)
    z = network(x)
    expected = of_task(z, y, NEW) + 3.0 * kd(z[:, :NEW], z[:, :NEW], 2.0)
    found = LWM.objective(network, replace(given, teacher=just.requires_grad_(False)))(x, y)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_held_out_loss_needs_no_gradients_and_the_teacher_gets_none(strayed: Pair) -> None:
    given, network = strayed
    x, y = batch(given)
    loss = LWM.objective(network, given)
    with torch.no_grad():
        held_out = loss(x, y)
    assert held_out.item() == loss(x, y).item()
    assert given.teacher
    assert not any(w.requires_grad for w in given.teacher.parameters())


def test_its_first_task_is_plain_and_nothing_but_the_network_is_kept(strayed: Pair) -> None:
    first = lesson()
    network = LWM.grown(first).eval()
    x, y = batch(first)
    assert LWM.objective(network, first)(x, y).item() == pytest.approx(of_task(network(x), y, 0).item())
    known = LWM.closed(*reversed(strayed))
    assert (known.memory, dict(known.facts)) == ((), {})
    assert torch.equal(LWM.scores(Knowledge(frozen(known.network)), x), frozen(known.network)(x))
