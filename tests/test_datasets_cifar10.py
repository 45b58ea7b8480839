"""CIFAR-10: small archives in the real binary format, whole and broken, and where the real one is looked for."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from molebench.datasets import cifar10
from molebench.datasets.cifar10 import BATCHES, CIFAR10, FILE, read
from molebench.errors import MolebenchError
from molebench.types import Array
from molebench.workspace import Workspace, sha256
from tests.archives import tar_gz

NAMES = [name for names in BATCHES.values() for name in names]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)


def record(label: int, image: Array) -> bytes:
    """One record: the label, then the three planes of an image [32, 32, 3]."""
    return bytes([label]) + image.transpose(2, 0, 1).tobytes()


def plain(*rgb: int) -> Array:
    return np.full((32, 32, 3), rgb, dtype=np.uint8)


def batches() -> dict[str, bytes]:
    """Two records a batch; batch i has labels i and i + 1, and grey images 10 i and 10 i + 1."""
    return {n: record(i, plain(10 * i)) + record(i + 1, plain(10 * i + 1)) for i, n in enumerate(NAMES)}


def archive(path: Path, contents: Mapping[str, bytes]) -> Path:
    """Laid out as the official one: a folder, its notes, and the batches in an order of their own."""
    files = {"batches.meta.txt": b"airplane\n", **dict(reversed(list(contents.items())))}
    return tar_gz(path, "cifar-10-batches-bin", files)


def test_batches_are_read_in_their_numbers_order_whatever_the_archive_s(tmp_path: Path) -> None:
    arrays = read(archive(tmp_path / FILE, batches()))
    assert arrays["train.y"].tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    assert arrays["train.x"][:, 0, 0, 0].tolist() == [0, 1, 10, 11, 20, 21, 30, 31, 40, 41]
    assert arrays["test.y"].tolist() == [5, 6]
    assert arrays["test.x"].shape == (2, 32, 32, 3)


def test_the_three_planes_become_the_channels_of_a_pixel(tmp_path: Path) -> None:
    image = plain(1, 2, 3)
    image[4, 5] = (70, 80, 90)  # row 4, column 5
    contents = batches() | {"test_batch.bin": record(7, image)}
    arrays = read(archive(tmp_path / FILE, contents))
    assert arrays["test.x"][0, 4, 5].tolist() == [70, 80, 90]
    assert arrays["test.x"][0, 5, 4].tolist() == [1, 2, 3]
    assert arrays["test.y"].tolist() == [7]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_an_archive_that_is_cut_short_is_refused_by_name(tmp_path: Path, share: float) -> None:
    rng = np.random.default_rng(0)
    noise = {n: record(0, rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for n in NAMES}
    path = archive(tmp_path / FILE, noise)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(MolebenchError, match=r"cifar-10-binary\.tar\.gz (is not a whole tar\.gz archive|has no)"):
        read(path)


def test_an_archive_with_flipped_bytes_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / FILE, batches())
    data = bytearray(path.read_bytes())
    for i in range(20, len(data), 7):
        data[i] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(MolebenchError, match="is not a whole"):
        read(path)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("<html>404</html>")
    with pytest.raises(MolebenchError, match="is not a whole"):
        read(tmp_path / FILE)


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    contents = batches()
    del contents["data_batch_3.bin"]
    with pytest.raises(MolebenchError, match=r"has no data_batch_3\.bin"):
        read(archive(tmp_path / FILE, contents))


def test_the_pickled_python_archive_is_refused_for_want_of_batches(tmp_path: Path) -> None:
    with pytest.raises(MolebenchError, match="the binary version, not the Python one"):
        read(archive(tmp_path / FILE, {"data_batch_1": b"\x80\x02"}))


def test_half_a_record_is_refused(tmp_path: Path) -> None:
    contents = batches() | {"data_batch_2.bin": record(0, plain(0))[:-1]}
    with pytest.raises(MolebenchError, match=r"data_batch_2\.bin has 3072 bytes, no multiple of 3073"):
        read(archive(tmp_path / FILE, contents))


def test_a_label_of_no_class_is_refused(tmp_path: Path) -> None:
    contents = batches() | {"test_batch.bin": record(10, plain(0))}
    with pytest.raises(MolebenchError, match=r"test_batch\.bin has label 10; allowed: 0\.\.9"):
        read(archive(tmp_path / FILE, contents))


@pytest.mark.parametrize("place", ["data", "cache/downloads"])
def test_the_archive_is_found_in_the_data_folder_and_among_the_downloads(
    workspace: Workspace, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path / place / FILE, batches())
    monkeypatch.setattr(cifar10, "SHA256", sha256(path))
    first = CIFAR10().load(workspace)
    path.unlink()
    again = CIFAR10().load(workspace)  # from the cache
    assert first.fingerprints == again.fingerprints
    assert first.files == {FILE: (cifar10.SHA256, cifar10.SIZE)}
    assert len(first.splits["train"]) == 10
    assert not first.splits["test"].x.flags.writeable


def test_an_archive_that_is_not_the_published_one_is_refused(workspace: Workspace) -> None:
    archive(workspace.data / FILE, batches())
    with pytest.raises(MolebenchError, match=r"is not the published file: \d+ bytes .* expected 170052171 bytes"):
        CIFAR10().load(workspace)


def test_offline_without_the_archive_says_where_to_get_it(workspace: Workspace) -> None:
    with pytest.raises(MolebenchError, match=r"no source has dataset cifar10 .*not asked \(offline\).*MOLEBENCH_DATA"):
        CIFAR10().load(workspace)
    assert not list(workspace.cache.rglob("*"))
