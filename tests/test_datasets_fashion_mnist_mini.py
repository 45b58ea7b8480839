"""The embedded Fashion-MNIST: what travels in the npz, that damage is noticed, and that it can be made again."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from molebench.benchmarks.make_fashion_mnist_mini import balanced, idx
from molebench.datasets import fashion_mnist_mini
from molebench.datasets.fashion_mnist_mini import FILE, FashionMNISTMini, read
from molebench.errors import MolebenchError
from molebench.rng import stream
from molebench.types import Dataset
from molebench.workspace import Workspace

NPZ = Path(fashion_mnist_mini.__file__).with_name(FILE)


@pytest.fixture
def fashion(tmp_path: Path) -> Dataset:
    data: Dataset = FashionMNISTMini().load(
        Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)
    )
    return data


def test_every_class_has_500_training_and_100_test_images(fashion: Dataset) -> None:
    assert fashion.splits["train"].x.shape == (5000, 28, 28, 1)
    assert fashion.splits["test"].x.shape == (1000, 28, 28, 1)
    assert np.bincount(fashion.splits["train"].y).tolist() == [500] * 10
    assert np.bincount(fashion.splits["test"].y).tolist() == [100] * 10
    assert len(fashion.classes) == 10


def test_the_images_are_these_and_no_others(fashion: Dataset) -> None:
    assert fashion.fingerprints == {
        "train": "9176426623803d532364234622f6312c23d7c17b1b7d43164d46c12d884341c3",
        "test": "3d6f286033fccb56a7a37870cda45f87c83a44d324d8af9a0a1a4f1596bcd38d",
    }


def test_trousers_have_a_gap_between_the_legs_and_tops_have_none(fashion: Dataset) -> None:
    train = fashion.splits["train"]
    hem = {name: train.x[train.y == i].mean(axis=0)[22, 12:16, 0] for i, name in enumerate(fashion.classes)}
    assert hem["trouser"].min() < 60 < 120 < hem["top"].min()


def test_no_image_is_in_both_splits(fashion: Dataset) -> None:
    train, test = ({image.tobytes() for image in fashion.splits[s].x} for s in ("train", "test"))
    assert not train & test


def test_nobody_can_write_into_the_images(fashion: Dataset) -> None:
    with pytest.raises(ValueError, match="read-only"):
        fashion.splits["train"].x[0] = 0


def test_the_file_is_under_four_megabytes_and_carries_its_licence() -> None:
    assert NPZ.stat().st_size < 4_000_000
    licence = str(read(NPZ)["licence"])
    assert "Copyright (c) 2017 Zalando SE" in licence
    assert "Permission is hereby granted" in licence


def test_one_changed_byte_is_noticed(tmp_path: Path) -> None:
    data = bytearray(NPZ.read_bytes())
    data[1_000_000] ^= 1
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(MolebenchError, match=r"fashion_mnist_mini\.npz is damaged .*install molebench again"):
        read(tmp_path / FILE)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MolebenchError, match=r"fashion_mnist_mini\.npz is not beside its code"):
        read(tmp_path / FILE)


def test_the_maker_picks_as_many_of_each_class_in_their_order() -> None:
    y = np.array([1, 0, 1, 0, 0, 1], dtype=np.uint8)
    chosen = balanced(y, 2, stream(0, "test"))
    assert np.bincount(y[chosen]).tolist() == [2, 2]
    assert chosen.tolist() == sorted(chosen.tolist())


def test_the_maker_reads_idx_files_plain_and_packed(tmp_path: Path) -> None:
    data = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])  # two axes, 2 x 3
    (tmp_path / "plain").write_bytes(data)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(data))
    assert idx(tmp_path, "plain").tolist() == idx(tmp_path, "packed").tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("cut", [2, 6, 17])
def test_the_maker_names_an_idx_file_that_is_cut_short(tmp_path: Path, cut: int) -> None:
    (tmp_path / "short").write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])[:cut])
    with pytest.raises(MolebenchError, match="short is not a whole IDX file"):
        idx(tmp_path, "short")
