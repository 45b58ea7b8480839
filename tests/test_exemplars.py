"""The memory: herding as the paper writes it, only faster; orders that survive; a budget that is never exceeded."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from molebench.continual_learners import Knowledge, plain_network
from molebench.errors import MolebenchError
from molebench.exemplars import Memory, class_means, herded, indices, share, truncated
from molebench.rehearsal import own_images, remembered
from molebench.rng import torch_stream
from molebench.types import Array
from tests.small_lessons import EACH, NEW, QUICK, TASKS, lesson


def features(n: int, d: int, seed: int = 0) -> Tensor:
    """Like those of a network: not negative, of any length."""
    return torch.randn(n, d, generator=torch_stream(seed, "features")).relu() * 7.0


def herded_as_published(f: Array, m: int) -> list[int]:
    """Algorithm 4 of iCaRL, word for word: p_k = argmin over x of |mu - (f(x) + sum of f(p_j)) / k|."""
    f = f / np.linalg.norm(f, axis=1, keepdims=True)
    mu, chosen = f.mean(axis=0), list[int]()
    for k in range(1, m + 1):
        rest = [i for i in range(len(f)) if i not in chosen]
        chosen.append(min(rest, key=lambda i: float(np.linalg.norm(mu - (f[i] + f[chosen].sum(axis=0)) / k))))
    return chosen


def at(*degrees: float) -> Tensor:
    """Unit vectors of the plane."""
    angles = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


@pytest.mark.parametrize(("n", "d", "m"), [(40, 3, 40), (60, 16, 20), (30, 64, 12)])
def test_herding_picks_what_the_published_algorithm_picks(n: int, d: int, m: int) -> None:
    f = features(n, d) + 0.01
    assert herded(f, m).tolist() == herded_as_published(f.double().numpy(), m)


def test_the_first_exemplar_is_nearest_the_mean_and_the_next_one_balances_it() -> None:
    assert herded(at(-60, 60, 50), 3).tolist() == [2, 0, 1]  # the mean points to 25 degrees


def test_the_length_of_a_feature_does_not_count() -> None:
    f = features(20, 5)
    assert np.array_equal(herded(f, 8), herded(f * torch.arange(1.0, 21.0)[:, None], 8))


def test_no_image_is_herded_twice_and_fewer_images_are_all_of_them() -> None:
    assert sorted(herded(features(7, 4), 100).tolist()) == [0, 1, 2, 3, 4, 5, 6]
    assert len(herded(features(7, 4), 0)) == len(herded(features(0, 4), 3)) == 0


@pytest.mark.parametrize("n", [3, 17, 40])
def test_of_equal_images_the_first_comes_first(n: int) -> None:
    order = herded(features(n, 257).repeat(5, 1), 5 * n)
    for image in range(n):
        copies = [row for row in order.tolist() if row % n == image]
        assert copies == sorted(copies)


def test_a_longer_herding_begins_with_the_shorter_one() -> None:
    f = features(50, 8)
    assert np.array_equal(herded(f, 40)[:12], herded(f, 12))


def test_truncating_keeps_the_first_of_each_class_in_order() -> None:
    memory: Memory = (np.array([7, 3, 9]), np.array([4, 8]), np.array([5]))
    assert [each.tolist() for each in truncated(memory, 2)] == [[7, 3], [4, 8], [5]]
    assert indices(truncated(memory, 1)).tolist() == [7, 4, 5]
    assert indices(()).tolist() == []


def test_a_memory_is_shared_equally_and_never_overdrawn() -> None:
    assert [share(2000, seen) for seen in (10, 30, 100)] == [200, 66, 20]
    assert share(7, 7) == 1


def test_a_memory_smaller_than_the_classes_is_refused() -> None:
    with pytest.raises(MolebenchError) as error:
        share(5, 6)
    assert str(error.value) == "victim.memory=5 holds no exemplar of each of 6 classes; choose 6 or more"


def test_class_means_are_means_of_directions_and_directions_themselves() -> None:
    found = class_means(torch.cat([at(0, 90), 5.0 * at(180)]) * torch.tensor([[1.0], [9.0], [1.0]]), [2, 1])
    torch.testing.assert_close(found, at(45, 180))


# ------------------------------------------------------------------ over several tasks


def memories(budget: int) -> list[Memory]:
    """The memory after each task, of networks that grow and are not trained."""
    known, found = None, list[Memory]()
    for t in range(TASKS):
        given = lesson(t, known)
        network = plain_network(QUICK, given)
        known = Knowledge(network, remembered(network, given, budget))
        found.append(known.memory)
    return found


@pytest.mark.parametrize(("budget", "sizes"), [(6, (3, 1, 1)), (17, (8, 4, 2)), (1000, (EACH, EACH, EACH))])
def test_the_memory_never_exceeds_its_budget_over_several_tasks(budget: int, sizes: tuple[int, ...]) -> None:
    for t, memory in enumerate(memories(budget)):
        assert [len(each) for each in memory] == [sizes[t]] * NEW * (t + 1)
        assert len(indices(memory)) <= budget


def test_exemplars_are_different_images_of_their_class_and_old_ones_keep_their_herding_order() -> None:
    first, second, third = memories(17)
    y = lesson().y.numpy()
    for c, each in enumerate(third):
        assert (y[each] == c).all()
        assert len(set(each.tolist())) == 2
    for before, after in ((first, second), (second, third)):
        assert [each.tolist() for each in after[: len(before)]] == [each[: len(after[0])].tolist() for each in before]


def test_new_exemplars_are_herded_class_by_class_from_the_tasks_own_images() -> None:
    given = lesson()
    network = plain_network(QUICK, given).eval()
    for c, chosen in enumerate(remembered(network, given, 10)):
        own = np.flatnonzero(given.y.numpy() == c)
        with torch.no_grad():
            f = network.features(given.x[own]).double().numpy()
        assert np.array_equal(own_images(given)[c], own)
        assert chosen.tolist() == own[herded_as_published(f, 5)].tolist()


def test_remembering_changes_neither_the_network_nor_its_mode() -> None:
    given = lesson()
    network = plain_network(QUICK, given).train()
    before = copy.deepcopy(network.state_dict())
    remembered(network, given, 10)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
