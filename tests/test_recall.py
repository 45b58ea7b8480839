"""A teacher that remembers says what it would have said, and is asked no more than it must be."""

from typing import Any

import pytest
import torch
from torch import Tensor

from molebench.continual_learners import Curriculum
from molebench.recall import Recalling, recalled
from tests.small_lessons import lesson


class Sums:
    """Each image's sum and its double; `asked` are the images that it was shown."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, x: Tensor) -> Tensor:
        sums = x.flatten(1).sum(dim=1)
        self.asked += sums.tolist()
        return torch.stack([sums, 2 * sums], dim=1).float()


def images(*levels: int) -> Tensor:
    return torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1)


def test_a_recalling_teacher_says_the_same_in_any_order() -> None:
    teacher = Recalling(Sums())
    assert teacher(images(3, 5)).tolist() == [[3, 6], [5, 10]]
    assert teacher(images(5, 4, 3)).tolist() == [[5, 10], [4, 8], [3, 6]]


def test_a_recalling_teacher_is_asked_about_an_image_once() -> None:
    sums = Sums()
    teacher = Recalling(sums)
    for _ in range(3):
        teacher(images(3, 5))
    teacher(images(7, 3, 7))
    assert sums.asked == [3, 5, 7, 7]  # twice where it comes twice in the first batch that it is in


@pytest.mark.parametrize(("augment", "remembers"), [("auto", True), ("none", True), ("crop_flip", False)])
def test_a_teacher_remembers_only_where_images_come_back_as_they_were(augment: Any, remembers: bool) -> None:
    given = lesson()  # of grey images, which `auto` leaves as they are
    assert isinstance(recalled(Sums(), Curriculum(augment=augment), given), Recalling) == remembers
