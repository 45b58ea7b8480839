"""EuroSAT: small zips laid out as the real one, whole and broken, and the split that is made of them."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from molebench.datasets import eurosat
from molebench.datasets.eurosat import CLASSES, FILE, FOLDERS, EuroSAT, read
from molebench.errors import MolebenchError
from molebench.progress import silent
from molebench.workspace import Workspace, sha256


def jpeg(grey: int, size: int = 64) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), grey, np.uint8)).save(out, "JPEG", quality=95)
    return out.getvalue()


def archive(path: Path, each: int = 10, without: str = "", **more: bytes) -> Path:
    """2750/Class/Class_i.jpg: image i of class c is plain grey, 20 c + i. In the order of a folder's listing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("2750/", "")
        for c, folder in enumerate(FOLDERS.values()):
            for i in sorted(range(1, each + 1), key=str):
                if folder != without:
                    zipped.writestr(f"2750/{folder}/{folder}_{i}.jpg", jpeg(20 * c + i))
        for name, data in more.items():
            zipped.writestr(f"2750/{name.replace('__', '/')}.jpg", data)
    return path


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)


def test_images_come_by_class_and_number(tmp_path: Path) -> None:
    arrays = read(archive(tmp_path / FILE), silent)
    assert arrays["x"].shape == (100, 64, 64, 3)
    assert arrays["y"].tolist() == [c for c in range(10) for _ in range(10)]
    expected = [20 * c + i for c in range(10) for i in range(1, 11)]
    assert np.abs(arrays["x"][:, 30, 30, 1].astype(int) - expected).max() <= 1  # JPEG


def test_a_fifth_of_each_class_is_held_out_always_the_same(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(workspace.data / FILE)
    monkeypatch.setattr(eurosat, "SHA256", sha256(path))
    first = EuroSAT().load(workspace)
    path.unlink()
    again = EuroSAT().load(workspace)  # from the cache
    assert first.fingerprints == again.fingerprints
    assert np.bincount(first.splits["train"].y).tolist() == [8] * 10
    assert np.bincount(first.splits["test"].y).tolist() == [2] * 10
    train, test = ({image.tobytes() for image in first.splits[s].x} for s in ("train", "test"))
    assert not train & test
    assert first.files == {FILE: (eurosat.SHA256, eurosat.SIZE)}
    assert first.classes == CLASSES


@pytest.mark.parametrize(
    ("without", "more", "says"),
    [
        ("River", {}, r"EuroSAT\.zip has 0 of River/\*\.jpg, needed 2 or more; Put EuroSAT\.zip"),
        ("", {"Forest__Forest_11": b"no image"}, r"2750/Forest/Forest_11\.jpg is not a readable image"),
    ],
    ids=["a class missing", "no image"],
)
def test_a_zip_that_is_not_what_it_should_be_is_named(
    without: str, more: dict[str, bytes], says: str, tmp_path: Path
) -> None:
    with pytest.raises(MolebenchError, match=says):
        read(archive(tmp_path / FILE, 2, without, **more), silent)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_zip_that_is_cut_short_is_refused(share: float, tmp_path: Path) -> None:
    path = archive(tmp_path / FILE, 2)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(MolebenchError, match=r"EuroSAT\.zip is not a whole zip file"):
        read(path, silent)


def test_a_zip_that_is_not_the_published_one_is_refused(workspace: Workspace) -> None:
    archive(workspace.data / FILE, 2)
    with pytest.raises(MolebenchError, match=r"is not the published file: \d+ bytes .* expected 94280567 bytes"):
        EuroSAT().load(workspace)
