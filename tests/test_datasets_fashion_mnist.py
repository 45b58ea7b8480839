"""Fashion-MNIST: small IDX files, gzipped and not, in every place where the real ones may be."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from molebench.datasets import fashion_mnist
from molebench.datasets.fashion_mnist import FILES, Digests, FashionMNIST
from molebench.datasets.fashion_mnist_mini import CLASSES as MINI
from molebench.datasets.fashion_mnist_mini import FashionMNISTMini
from molebench.errors import MolebenchError
from molebench.types import Array
from molebench.workspace import Workspace


def idx(array: Array) -> bytes:
    """A uint8 array in the IDX format."""
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def contents() -> dict[str, bytes]:
    """Four training images and two test images; image i is plain i, its label i."""
    made = {}
    for start, n in (("train", 4), ("t10k", 2)):
        labels = np.arange(n, dtype=np.uint8)
        made[f"{start}-images-idx3-ubyte"] = idx(np.broadcast_to(labels[:, None, None], (n, 28, 28)))
        made[f"{start}-labels-idx1-ubyte"] = idx(labels)
    return made


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def publisher(data: bytes) -> bytes:
    return gzip.compress(data, mtime=1)


def debian(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """No file anywhere, and the small files being the published ones."""
    known = {n: Digests(digest(d), digest(publisher(d)), digest(debian(d)), len(d)) for n, d in contents().items()}
    monkeypatch.setattr(fashion_mnist, "FILES", known)
    monkeypatch.setattr(fashion_mnist, "FOLDER", tmp_path / "usr")
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)


FORMS = {"raw": lambda data: data, "publisher's": publisher, "Debian's": debian}


def written(folder: Path, form: str, **changed: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (contents() | changed).items():
        (folder / (name if form == "raw" else f"{name}.gz")).write_bytes(FORMS[form](data))
    return folder


@pytest.mark.parametrize(
    ("place", "form"),
    [
        ("data/fashion-mnist", "raw"),
        ("data/fashion-mnist", "publisher's"),
        ("data/fashion-mnist", "Debian's"),
        ("usr", "Debian's"),
        ("cache/downloads/fashion-mnist", "publisher's"),
    ],
)
def test_the_files_are_found_in_every_place_and_form(
    place: str, form: str, workspace: Workspace, tmp_path: Path
) -> None:
    written(tmp_path / place, form)
    data = FashionMNIST().load(workspace)
    assert data.splits["train"].x.shape == (4, 28, 28, 1)
    assert data.splits["train"].x[:, 3, 4, 0].tolist() == data.splits["train"].y.tolist() == [0, 1, 2, 3]
    assert data.splits["test"].y.tolist() == [0, 1]
    assert {name: fact.sha256 for name, fact in data.files.items()} == {n: digest(d) for n, d in contents().items()}
    assert len(list((workspace.cache / "data").glob("fashion_mnist-*.safetensors"))) == 1


def test_once_read_the_files_are_not_needed(workspace: Workspace) -> None:
    folder = written(workspace.data / "fashion-mnist", "raw")
    first = FashionMNIST().load(workspace)
    for file in folder.iterdir():
        file.unlink()
    assert FashionMNIST().load(workspace).fingerprints == first.fingerprints


LABELS = {"train-labels-idx1-ubyte": idx(np.array([3, 2, 1, 0], dtype=np.uint8))}  # as MNIST's would be


def test_another_datasets_files_of_the_same_names_are_refused_in_our_folder(workspace: Workspace) -> None:
    written(workspace.data / "fashion-mnist", "publisher's", **LABELS)
    with pytest.raises(MolebenchError, match=r"train-labels-idx1-ubyte\.gz is not the published file: .*fashion-mnist"):
        FashionMNIST().load(workspace)


def test_another_datasets_files_of_the_same_names_are_in_nobodys_way_elsewhere(workspace: Workspace) -> None:
    written(workspace.data, "publisher's", **LABELS)
    written(workspace.data / "fashion-mnist", "publisher's")
    assert len(FashionMNIST().load(workspace).splits["train"]) == 4


def test_offline_without_the_files_every_source_and_the_small_one_are_named(workspace: Workspace) -> None:
    with pytest.raises(MolebenchError) as error:
        FashionMNIST().load(workspace)
    for said in (
        "fashion-mnist.s3-website",
        "github.com/zalandoresearch",
        "Debian package",
        "or use fashion_mnist_mini",
    ):
        assert said in str(error.value)
    assert not workspace.cache.exists()


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("train-labels-idx1-ubyte", idx(np.arange(4, dtype=np.uint8))[:-1], "not a whole IDX file"),
        ("train-labels-idx1-ubyte", b"\0\0\x09\x01", "not a whole IDX file"),
        ("train-labels-idx1-ubyte", b"", "not a whole IDX file"),
        ("train-labels-idx1-ubyte", gzip.compress(b"cut")[:-4], "not a whole IDX file"),
        ("train-labels-idx1-ubyte", idx(np.array([0, 1, 2, 10], np.uint8)), r"has label 10; allowed: 0\.\.9"),
        ("train-labels-idx1-ubyte", idx(np.arange(3, dtype=np.uint8)), "are no images with labels"),
        ("t10k-images-idx3-ubyte", idx(np.zeros((2, 784), np.uint8)), "are no images with labels"),
    ],
    ids=["cut", "int8", "empty", "gzip cut", "no such class", "a label missing", "flat images"],
)
def test_files_that_are_not_what_they_should_be_are_named(name: str, data: bytes, says: str, tmp_path: Path) -> None:
    folder = written(tmp_path, "raw", **{name: data})
    with pytest.raises(MolebenchError, match=says):
        fashion_mnist.read({n: folder / n for n in FILES})


def test_the_classes_are_those_of_the_small_one() -> None:
    assert fashion_mnist.CLASSES == MINI


@pytest.mark.slow
@pytest.mark.enable_socket
def test_the_real_files_are_fetched_and_hold_the_small_one(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store")
    data, mini = FashionMNIST().load(workspace), FashionMNISTMini().load(workspace)
    for split, n in (("train", 60_000), ("test", 10_000)):
        assert data.splits[split].x.shape == (n, 28, 28, 1)
        assert np.bincount(data.splits[split].y).tolist() == [n // 10] * 10
        there = {image.tobytes(): y for image, y in zip(data.splits[split].x, data.splits[split].y, strict=True)}
        small = mini.splits[split]
        assert all(there[image.tobytes()] == y for image, y in zip(small.x, small.y, strict=True))
