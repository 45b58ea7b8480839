"""Tasks: which classes come when, in an order of the seed's, and what cannot be split."""

import numpy as np
import pytest

from molebench.errors import MolebenchError
from molebench.tasks import Tasks, split

SIX = Tasks(((4, 0), (5, 2), (1, 3)))


def test_a_class_is_its_place_in_the_order() -> None:
    assert SIX.order.tolist() == [4, 0, 5, 2, 1, 3]
    assert SIX.position.tolist() == [1, 4, 3, 5, 0, 2]
    assert (SIX.order[SIX.position] == np.arange(6)).all()


def test_the_task_of_a_label_is_that_of_its_group() -> None:
    assert SIX.of(np.array([4, 0, 5, 2, 1, 3])).tolist() == [0, 0, 1, 1, 2, 2]


def test_old_and_seen_classes_add_up() -> None:
    assert [SIX.old(t) for t in range(3)] == [0, 2, 4]
    assert [SIX.seen(t) for t in range(3)] == [2, 4, 6]


def test_every_class_comes_once_in_tasks_of_one_size(rng: np.random.Generator) -> None:
    tasks = split(10, 5, 1, rng)
    assert [len(task) for task in tasks.classes] == [2, 2, 2, 2, 2]
    assert sorted(c for task in tasks.classes for c in task) == list(range(10))


def test_the_order_is_the_generators() -> None:
    orders = [split(10, 5, 1, np.random.default_rng(seed)).classes for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_a_base_is_the_first_tasks_merged_in_the_same_order() -> None:
    one, two = (split(10, 5, base, np.random.default_rng(3)) for base in (1, 2))
    assert [len(task) for task in two.classes] == [4, 2, 2, 2]
    assert one.order.tolist() == two.order.tolist()


@pytest.mark.parametrize(
    ("k", "tasks", "base", "said"),
    [
        (10, 11, 1, "victim.tasks=11, but the dataset has 10 classes; choose 10 or fewer"),
        (10, 4, 1, "victim.tasks=4 splits 10 classes unevenly; choose one of 1, 2, 5, 10"),
        (10, 5, 6, "victim.base=6 of 5 tasks; choose 1 to 5"),
    ],
)
def test_what_cannot_be_split_is_one_clear_line(k: int, tasks: int, base: int, said: str) -> None:
    with pytest.raises(MolebenchError, match="^" + said.replace(".", r"\.")):
        split(k, tasks, base, np.random.default_rng(0))
