"""The digits dataset: its numbers, its split and its fingerprint."""

from pathlib import Path

import numpy as np
import pytest

from molebench.datasets.digits import Digits, held_out, read
from molebench.rng import stream
from molebench.types import Dataset
from molebench.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)


@pytest.fixture
def digits(workspace: Workspace) -> Dataset:
    data: Dataset = Digits().load(workspace)
    return data


def test_every_digit_of_the_source_is_in_exactly_one_split(digits: Dataset) -> None:
    x, y = read()
    both = np.concatenate([digits.splits["train"].x, digits.splits["test"].x])
    assert x.shape == both.shape == (1797, 8, 8, 1)
    assert sorted(image.tobytes() for image in x) == sorted(image.tobytes() for image in both)
    assert len(digits.splits["train"]) == 1438
    assert len(digits.splits["test"]) == 359
    assert digits.classes[y[0]] == "0"


def test_sixteen_becomes_255_and_eight_becomes_128() -> None:
    x, y = read()
    # the first row of the first image, a zero, is 0 0 5 13 9 1 0 0 in the source
    assert x[0, 0, :, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]
    assert y[:10].tolist() == list(range(10))
    assert set(np.unique(x)) == {round(v * 255 / 16) for v in range(17)}


def test_the_test_split_holds_a_fifth_of_each_class(digits: Dataset) -> None:
    train, test = (np.bincount(digits.splits[s].y, minlength=10) for s in ("train", "test"))
    assert (np.abs(test / (train + test) - 0.2) < 0.003).all()


def test_the_split_is_the_same_everywhere(digits: Dataset) -> None:
    assert digits.fingerprints == {
        "train": "47a6a4c7f654e49e94147949e3b3693e983fcfafaaab68e1b98cc9ebfce7f29a",
        "test": "00b62942a00fa9bd922cf475b59dfa8fd983c0524f35b908acc7626a21e56a50",
    }


def test_nobody_can_write_into_the_digits(digits: Dataset) -> None:
    with pytest.raises(ValueError, match="read-only"):
        digits.splits["train"].x[0] = 0


@pytest.mark.parametrize(("share", "expected"), [(0.01, 1), (0.2, 2), (0.99, 9)])
def test_a_class_is_never_empty_on_either_side_of_a_split(share: float, expected: int) -> None:
    y = np.repeat([0, 1], 10)
    test = held_out(y, share, stream(0, "test"))
    assert np.bincount(y[test]).tolist() == [expected, expected]
