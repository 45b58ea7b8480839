"""iCaRL: its losses as written, prediction by the nearest mean of exemplars, and a head that nobody asks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from molebench.continual_learners import Knowledge, Lesson
from molebench.errors import MolebenchError
from molebench.exemplars import indices
from molebench.incremental import Incremental, frozen
from molebench.types import Array
from molebench.victims.cl_finetune import Finetune
from molebench.victims.cl_icarl import ICaRL, cosines
from tests.small_lessons import NEW, QUICK, TASKS, accuracy, batch, course, gradients, learnt, lesson, pool

ICARL = ICaRL(QUICK, memory=20, weight=3.0)
PUBLISHED = replace(ICARL, loss="bce")


@pytest.fixture(scope="module")
def known() -> list[Knowledge]:
    """What it knows after each of three tasks."""
    return course(ICARL)


@pytest.fixture(scope="module")
def second(known: list[Knowledge]) -> Lesson:
    """The second task."""
    return lesson(1, known[0])


def with_exemplars(given: Lesson) -> tuple[Tensor, Tensor]:
    """A batch as the scenario mixes it: images of the task and of the memory."""
    index = np.concatenate([given.index[:6], indices(given.memory)[:6]])
    return given.x[index], given.y[index]


def entropy(q: Tensor, z: Tensor) -> Tensor:
    """Of a probability q under that of a logit: -(q log g + (1 - q) log(1 - g)), with 1 - s(z) = s(-z)."""
    return -(q * F.logsigmoid(z) + (1.0 - q) * F.logsigmoid(-z))


def algorithm_3(z: Tensor, then: Tensor, y: Tensor, weight: float) -> Tensor:
    """iCaRL's loss image by image and class by class: one-hot for new classes, the model before for old ones."""
    total = torch.zeros(())
    for row, q, label in zip(z, then.sigmoid(), y.tolist(), strict=True):
        for c, logit in enumerate(row):
            old = c < len(q)
            total = total + (weight * entropy(q[c], logit) if old else entropy(torch.tensor(float(label == c)), logit))
    return total / len(z)


def test_its_loss_is_cross_entropy_over_all_classes_and_distillation_over_old_ones(second: Lesson) -> None:
    network = ICARL.grown(second).eval()
    x, y = with_exemplars(second)
    with torch.no_grad():
        z, then = network(x), second.teacher(x)  # type: ignore[misc]
        held = entropy(then.sigmoid(), z[:, :NEW]).sum(dim=1).mean()
        expected = F.cross_entropy(z, y) + 3.0 * held
        assert ICARL.objective(network, second)(x, y).item() == pytest.approx(expected.item(), rel=1e-5)


def test_with_bce_it_is_the_published_loss(second: Lesson) -> None:
    network = PUBLISHED.grown(second).eval()
    x, y = with_exemplars(second)
    assert set(y.tolist()) == {0, 2, 3}
    with torch.no_grad():
        expected = algorithm_3(network(x), second.teacher(x), y, 3.0)  # type: ignore[misc]
        assert PUBLISHED.objective(network, second)(x, y).item() == pytest.approx(expected.item(), rel=1e-5)


def test_its_first_task_distils_nothing() -> None:
    first = lesson()
    network = ICARL.grown(first).eval()
    x, y = batch(first)
    with torch.no_grad():
        z = network(x)
        assert ICARL.objective(network, first)(x, y).item() == F.cross_entropy(z, y).item()
        expected = algorithm_3(z, z[:, :0], y, 3.0).item()
        assert PUBLISHED.objective(network, first)(x, y).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("learner", [ICARL, PUBLISHED], ids=["ce", "bce"])
def test_distillation_pulls_at_nothing_while_it_believes_what_it_believed(learner: ICaRL, second: Lesson) -> None:
    x, y = with_exemplars(second)
    for network, still in ((learner.grown(second).eval(), True), (learnt(learner, second, epochs=1).eval(), False)):
        held = gradients(network, learner.objective(network, second)(x, y))
        free = gradients(network, replace(learner, weight=0.0).objective(network, second)(x, y))
        pull = max(float((held[name] - free[name]).abs().max()) for name in held)
        assert pull < 1e-3 if still else pull > 1e-2


# ------------------------------------------------------------------ prediction


def prototypes(network: Incremental, memory: tuple[Array, ...]) -> Array:
    """The mean of each class's exemplars on the unit sphere, class by class."""
    found = []
    for exemplars in memory:
        f = network.features(torch.from_numpy(pool()[0][exemplars])).double().numpy()
        mean = (f / np.linalg.norm(f, axis=1, keepdims=True)).mean(axis=0)
        found.append(mean / np.linalg.norm(mean))
    return np.stack(found)


def still(known: Knowledge) -> Incremental:
    """Its network, frozen."""
    network = frozen(known.network)
    assert isinstance(network, Incremental)
    return network


def test_prototypes_are_means_of_exemplars_under_the_current_model(known: list[Knowledge]) -> None:
    for each in known:
        np.testing.assert_allclose(each.facts["prototypes"], prototypes(still(each), each.memory), atol=1e-5)
    assert np.abs(known[1].facts["prototypes"][:NEW] - known[0].facts["prototypes"]).max() > 0.01


def test_it_predicts_the_class_whose_mean_is_nearest(known: list[Knowledge]) -> None:
    last = known[-1]
    network, x = still(last), torch.from_numpy(pool()[0])
    f = network.features(x).double().numpy()
    f /= np.linalg.norm(f, axis=1, keepdims=True)
    distances = np.linalg.norm(f[:, None] - prototypes(network, last.memory)[None], axis=2)
    found = ICARL.scores(replace(last, network=network), x)
    assert found.shape == (len(x), NEW * TASKS)
    assert np.array_equal(found.argmax(dim=1).numpy(), distances.argmin(axis=1))


def test_cosines_by_hand() -> None:
    f, axes = torch.tensor([[3.0, 4.0], [0.0, 9.0]]), torch.eye(2)
    torch.testing.assert_close(cosines(f, axes), torch.tensor([[0.6, 0.8], [0.0, 1.0]]))


def test_prediction_ignores_the_head(known: list[Knowledge]) -> None:
    last = known[-1]
    network, x = still(last), torch.from_numpy(pool()[0])
    before = ICARL.scores(replace(last, network=network), x)
    for value in network.heads.parameters():
        value.fill_(torch.nan)
    assert torch.equal(ICARL.scores(replace(last, network=network), x), before)


# ------------------------------------------------------------------ over the tasks


def test_it_keeps_exemplars_within_its_memory_and_remembers_what_finetuning_forgets(known: list[Knowledge]) -> None:
    assert [[len(each) for each in k.memory] for k in known] == [[10, 10], [5] * 4, [3] * 6]
    assert accuracy(ICARL, known[-1]) > 0.9
    assert accuracy(Finetune(QUICK), course(Finetune(QUICK))[-1]) < 0.7


def test_closing_a_task_twice_gives_the_same_knowledge(known: list[Knowledge], second: Lesson) -> None:
    again = [ICARL.closed(known[1].network, second) for _ in range(2)]
    for each in again:
        assert [m.tolist() for m in each.memory] == [m.tolist() for m in known[1].memory]
        assert np.array_equal(each.facts["prototypes"], known[1].facts["prototypes"])


def test_a_memory_smaller_than_the_classes_is_refused(known: list[Knowledge], second: Lesson) -> None:
    with pytest.raises(MolebenchError) as error:
        replace(ICARL, memory=3).closed(known[1].network, second)
    assert str(error.value) == "victim.memory=3 holds no exemplar of each of 4 classes; choose 4 or more"
