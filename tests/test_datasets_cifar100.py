"""CIFAR-100: small archives in the real binary format, whole and broken."""

from pathlib import Path

import pytest

from molebench.datasets import cifar100
from molebench.datasets.cifar100 import CIFAR100, CLASSES, FILE, NAMES, read
from molebench.errors import MolebenchError
from molebench.types import Array
from molebench.workspace import Workspace, sha256
from tests.archives import tar_gz
from tests.test_datasets_cifar10 import plain

LIST = "".join(f"{name}\n" for name in CLASSES).encode()


def record(coarse: int, fine: int, image: Array) -> bytes:
    """One record: both labels, then the three planes of an image [32, 32, 3]."""
    return bytes([coarse, fine]) + image.transpose(2, 0, 1).tobytes()


def files() -> dict[str, bytes]:
    """Three training images and one test image; the order is that of the official archive."""
    train = b"".join(record(i, 97 + i, plain(i, 10 + i, 20 + i)) for i in range(3))
    notes = {"coarse_label_names.txt": b"fish\n", NAMES: LIST}
    return {"test.bin": record(19, 1, plain(7, 8, 9)), "train.bin": train, **notes}


def archive(path: Path, **changed: bytes) -> Path:
    contents = files() | {name.replace("_bin", ".bin").replace("_txt", ".txt"): d for name, d in changed.items()}
    return tar_gz(path, "cifar-100-binary", {name: data for name, data in contents.items() if data})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)


def test_the_fine_label_is_the_class_and_the_planes_become_channels(tmp_path: Path) -> None:
    arrays = read(archive(tmp_path / FILE))
    assert arrays["train.y"].tolist() == [97, 98, 99]
    assert arrays["test.y"].tolist() == [1]
    assert arrays["train.x"].shape == (3, 32, 32, 3)
    assert arrays["train.x"][1, 5, 6].tolist() == [1, 11, 21]
    assert arrays["test.x"][0, 31, 0].tolist() == [7, 8, 9]


def test_there_are_a_hundred_classes_and_a_few_are_where_they_should_be() -> None:
    assert len(set(CLASSES)) == 100
    assert [CLASSES[i] for i in (0, 19, 52, 99)] == ["apple", "cattle", "oak_tree", "worm"]


@pytest.mark.parametrize("place", ["data", "cache/downloads"])
def test_the_archive_is_found_and_read_once(
    place: str, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path / place / FILE)
    monkeypatch.setattr(cifar100, "SHA256", sha256(path))
    first = CIFAR100().load(workspace)
    path.unlink()
    again = CIFAR100().load(workspace)  # from the cache
    assert first.fingerprints == again.fingerprints
    assert {name: len(split) for name, split in first.splits.items()} == {"train": 3, "test": 1}
    assert first.files == {FILE: (cifar100.SHA256, cifar100.SIZE)}
    assert first.classes == CLASSES


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"train_bin": b""}, r"has no train\.bin; Put cifar-100-binary\.tar\.gz"),
        ({"test_bin": b"\0" * 3073}, r"test\.bin has 3073 bytes, no multiple of 3074"),
        ({"test_bin": record(0, 100, plain(0))}, r"test\.bin has label 100; allowed: 0\.\.99"),
        ({"fine_label_names_txt": LIST.replace(b"bear", b"bare")}, r"names other classes .* from line 4 on"),
        ({"fine_label_names_txt": LIST[:-5]}, r"names other classes .* from line 100 on"),
    ],
    ids=["no split", "half a record", "no such class", "another class", "a class missing"],
)
def test_an_archive_that_is_not_what_it_should_be_is_named(
    changed: dict[str, bytes], says: str, tmp_path: Path
) -> None:
    with pytest.raises(MolebenchError, match=says):
        read(archive(tmp_path / FILE, **changed))


def test_an_archive_that_is_not_the_published_one_is_refused(workspace: Workspace) -> None:
    archive(workspace.data / FILE)
    with pytest.raises(MolebenchError, match=r"is not the published file: \d+ bytes .* expected 168513733 bytes"):
        CIFAR100().load(workspace)
