"""STL-10: small archives in the real binary format, whole and broken."""

from pathlib import Path

import numpy as np
import pytest

from molebench.datasets import stl10
from molebench.datasets.stl10 import CLASSES, FILE, STL10, read
from molebench.errors import MolebenchError
from molebench.types import Array
from molebench.workspace import Workspace, sha256
from tests.archives import tar_gz


def columns(image: Array) -> bytes:
    """The three planes of an image [96, 96, 3], each column by column."""
    return b"".join(image[:, column, plane].tobytes() for plane in range(3) for column in range(96))


def plain(*rgb: int) -> Array:
    return np.full((96, 96, 3), rgb, dtype=np.uint8)


def files() -> dict[str, bytes]:
    """Two training images and a test image in the official archive's order, among what is not read."""
    marked = plain(1, 2, 3)
    marked[4, 5] = (70, 80, 90)  # row 4, column 5
    return {
        "test_X.bin": columns(marked),
        "test_y.bin": bytes([10]),
        "train_X.bin": columns(plain(10, 20, 30)) + columns(plain(11, 21, 31)),
        "train_y.bin": bytes([1, 2]),
        "unlabeled_X.bin": columns(plain(9, 9, 9)),
        "class_names.txt": "\n".join(CLASSES).encode(),
        "fold_indices.txt": b"0 1\n",
    }


def archive(path: Path, **changed: bytes) -> Path:
    return tar_gz(path, "stl10_binary", files() | {f"{name}.bin": data for name, data in changed.items()})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)


def test_columns_become_rows_and_planes_become_channels(tmp_path: Path) -> None:
    arrays = read(archive(tmp_path / FILE))
    assert arrays["test.x"].shape == (1, 96, 96, 3)
    assert arrays["test.x"][0, 4, 5].tolist() == [70, 80, 90]
    assert arrays["test.x"][0, 5, 4].tolist() == [1, 2, 3]
    assert arrays["train.x"][:, 0, 0].tolist() == [[10, 20, 30], [11, 21, 31]]


def test_labels_count_from_zero_and_unlabelled_images_are_left_out(tmp_path: Path) -> None:
    arrays = read(archive(tmp_path / FILE))
    assert arrays["train.y"].tolist() == [0, 1]
    assert arrays["test.y"].tolist() == [9]
    assert set(arrays) == {"train.x", "train.y", "test.x", "test.y"}


def test_the_archive_is_read_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(workspace.data / FILE)
    monkeypatch.setattr(stl10, "SHA256", sha256(path))
    first = STL10().load(workspace)
    path.unlink()
    assert STL10().load(workspace).fingerprints == first.fingerprints
    assert {name: len(split) for name, split in first.splits.items()} == {"train": 2, "test": 1}
    assert first.files == {FILE: (stl10.SHA256, stl10.SIZE)}
    assert first.classes[9] == "truck"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"train_X": b""}, r"has no train_X\.bin; Put stl10_binary\.tar\.gz into MOLEBENCH_DATA"),
        ({"test_X": columns(plain(0))[:-1]}, r"test_X\.bin has 27647 bytes, no multiple of 27648"),
        ({"test_y": bytes([11])}, r"test_y\.bin has label 10; allowed: 0\.\.9"),
        ({"test_y": bytes([0])}, r"test_y\.bin has label 255"),
        ({"train_y": bytes([1])}, r"train has 2 images and 1 labels"),
    ],
    ids=["no images", "half an image", "label 11", "label 0", "a label missing"],
)
def test_an_archive_that_is_not_what_it_should_be_is_named(
    changed: dict[str, bytes], says: str, tmp_path: Path
) -> None:
    with pytest.raises(MolebenchError, match=says):
        read(archive(tmp_path / FILE, **changed))


def test_an_archive_that_is_not_the_published_one_is_refused(workspace: Workspace) -> None:
    archive(workspace.data / FILE)
    with pytest.raises(MolebenchError, match=r"is not the published file: \d+ bytes .* expected 2640397119 bytes"):
        STL10().load(workspace)
