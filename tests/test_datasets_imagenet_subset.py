"""ImageNet-Subset: which classes it has and in which order, and hand-made trees of all hundred, whole and broken.

The image of the class with id i is plain grey, 2 i; of a class that is none of the hundred, 255.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from timm.data.imagenet_info import ImageNetInfo

from molebench.datasets import imagenet_subset
from molebench.datasets.imagenet_subset import FOLDER, LIST, TRUTH, TRUTHS, ImageNetSubset, class_names
from molebench.errors import MolebenchError
from molebench.not_run import is_here
from molebench.types import Dataset
from molebench.workspace import Workspace
from tests.commands import one_line, typed

OTHER = "n01440764"  # the tench, id 449
LINES = [line.split() for line in LIST.read_text("utf-8").splitlines()]


def jpeg(grey: int, size: tuple[int, int] = (8, 6)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (grey,) * 3).save(out, "JPEG", quality=95)
    return out.getvalue()


def put(file: Path, data: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)


@pytest.fixture
def root(workspace: Workspace) -> Path:
    """Two training images and a validation image of each class, in folders by class; and of a class more."""
    root = workspace.data / FOLDER
    for place, wnid in [(i, wnid) for i, (_, wnid, _) in enumerate(LINES, start=1)] + [(0, OTHER)]:
        grey = 2 * place or 255
        for i in (10, 2):
            put(root / "train" / wnid / f"{wnid}_{i}.JPEG", jpeg(grey))
        put(root / "val" / wnid / f"ILSVRC2012_val_{101 - place:08d}.JPEG", jpeg(grey))  # 101 is the tench
    return root


def flattened(root: Path, truth: str = TRUTH) -> Path:
    """Takes the validation images out of their folders, and says in the kit's file, whose place this is, what they
    show."""
    for file in list((root / "val").glob("*/*")):
        file.rename(root / "val" / file.name)
    for folder in [f for f in (root / "val").iterdir() if f.is_dir()]:
        folder.rmdir()
    return put(root / truth, "".join(f"{i}\n" for i in [*range(100, 0, -1), 449]).encode())


def loaded(workspace: Workspace, size: int = 8) -> Dataset:
    return ImageNetSubset(size).load(workspace)


# Its classes


def test_the_ids_of_the_list_are_1_to_100_and_its_first_classes_those_of_the_development_kit() -> None:
    assert [int(number) for number, _, _ in LINES] == list(range(1, 101))
    assert list(class_names().items())[:5] == [
        ("n02119789", "kit_fox"),
        ("n02100735", "English_setter"),
        ("n02110185", "Siberian_husky"),
        ("n02096294", "Australian_terrier"),
        ("n02102040", "English_springer"),
    ]
    assert list(class_names()) != sorted(class_names())


def test_every_name_is_one_of_its_synset_s_in_another_list_of_imagenet() -> None:
    info = ImageNetInfo()
    assert set(class_names()) < set(info.label_names())
    for wnid, name in class_names().items():
        assert name in info.label_name_to_description(wnid).replace(" ", "_").split(",_")
    assert len({name.lower() for name in class_names().values()}) == 100


def test_a_list_that_was_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = LIST.read_text("utf-8").replace("1 n02119789 kit_fox\n2 n02100735", "1 n02100735 kit_fox\n2 n02119789")
    monkeypatch.setattr(imagenet_subset, "LIST", put(tmp_path / LIST.name, text.encode()))
    with pytest.raises(MolebenchError, match=r"imagenet_subset_classes\.txt is not the list of classes"):
        class_names()


# Its images


def test_every_image_has_the_label_of_its_id(root: Path, workspace: Workspace) -> None:
    data = loaded(workspace)
    assert data.classes == tuple(name for _, _, name in LINES)
    for split, each in (("train", 2), ("test", 1)):
        samples = data.splits[split]
        assert samples.x.shape == (100 * each, 8, 8, 3)
        assert samples.y.tolist() == [c for c in range(100) for _ in range(each)]
        assert np.abs(samples.x[:, 4, 4, 0].astype(int) - 2 * (samples.y + 1)).max() <= 1  # JPEG


def test_files_come_in_natural_order_and_nothing_else_is_read(root: Path, workspace: Workspace) -> None:
    before = loaded(workspace).fingerprints
    put(root / "train" / LINES[0][1] / ".hidden.JPEG", b"")
    put(root / "train" / LINES[0][1] / "notes.txt", b"")
    put(root / "train" / OTHER / "broken.JPEG", b"no image")
    assert loaded(workspace).fingerprints == before
    put(root / "train" / LINES[0][1] / f"{LINES[0][1]}_3.JPEG", jpeg(250))
    assert loaded(workspace).splits["train"].x[:3, 0, 0, 0].tolist() == [2, 250, 2]  # 2, 3, 10


@pytest.mark.parametrize("truth", TRUTHS)
def test_a_flat_validation_folder_is_read_by_the_kit_s_ground_truth(
    truth: str, root: Path, workspace: Workspace
) -> None:
    by_folder = loaded(workspace)
    flattened(root, truth)
    assert not list((root / "val").glob("*/*"))
    assert loaded(workspace).fingerprints == by_folder.fingerprints


def test_images_are_resized_to_squares(root: Path, workspace: Workspace) -> None:
    left = Image.new("RGB", (40, 20), (0, 0, 0))
    left.paste((200, 200, 200), (20, 0, 40, 20))
    out = io.BytesIO()
    left.save(out, "JPEG", quality=95)
    put(root / "val" / LINES[0][1] / "ILSVRC2012_val_00000100.JPEG", out.getvalue())
    image = loaded(workspace, 4).splits["test"].x[0]
    assert image.shape == (4, 4, 3)
    assert image[:, 0].max() < 20 < 180 < image[:, 3].min()  # both halves are there: nothing is cropped


def test_the_tree_is_read_once_and_again_when_it_changes(root: Path, workspace: Workspace) -> None:
    first = loaded(workspace)
    (kept,) = (workspace.cache / "data").iterdir()
    stamp = kept.stat().st_mtime_ns
    assert loaded(workspace).fingerprints == first.fingerprints
    assert kept.stat().st_mtime_ns == stamp
    put(root / "val" / LINES[0][1] / "ILSVRC2012_val_00000100.JPEG", jpeg(90, (30, 30)))
    changed = loaded(workspace)
    assert changed.fingerprints["train"] == first.fingerprints["train"]
    assert changed.splits["test"].x[0, 0, 0, 0] == 90
    assert changed.files != first.files


def test_a_link_will_do_and_no_path_is_told(root: Path, workspace: Workspace, tmp_path: Path) -> None:
    here = loaded(workspace)
    (tmp_path / "elsewhere").symlink_to(root.rename(tmp_path / "far"))
    root.symlink_to(tmp_path / "elsewhere")
    there = ImageNetSubset(8).load(Workspace(workspace.data, tmp_path / "new", workspace.store))
    assert there.files == here.files
    assert list(here.files) == [FOLDER]
    assert here.files[FOLDER].bytes == sum(f.stat().st_size for f in root.glob("*/*/*.JPEG") if f.parent.name != OTHER)


# What may be wrong


def test_where_there_is_no_folder_it_says_what_to_get_and_where_to_put_it(workspace: Workspace) -> None:
    line = one_line(typed(workspace, "data", "fetch", "split:imagenet_subset"))
    assert "no folder imagenet in MOLEBENCH_DATA" in line
    assert "get ILSVRC2012 from image-net.org, and put or link its folder there as imagenet" in line
    assert not is_here("imagenet_subset", workspace)


def test_where_there_is_a_folder_it_is_here(root: Path, workspace: Workspace) -> None:
    assert is_here("split:imagenet_subset", workspace)


def emptied(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "a class without images": (
        lambda root: emptied(root / "train" / "n02110185"),
        r"imagenet/train has no image of 1 of 100 classes: n02110185 \(Siberian_husky\); get ILSVRC2012",
    ),
    "no val": (
        lambda root: (root / "val").rename(root / "validation"),
        r"imagenet/val has no image of 100 of 100 classes: n02119789 \(kit_fox\), .*, and 97 more",
    ),
    "a flat val without its ground truth": (
        lambda root: flattened(root).unlink(),
        r"imagenet/val has no image of 100 of 100 classes",
    ),
    "no image": (
        lambda root: put(root / "val" / "n02119789" / "x.JPEG", b"no image"),
        r"imagenet/val/n02119789/x\.JPEG is not a readable image",
    ),
    "a ground truth of words": (
        lambda root: flattened(root).write_bytes(b"kit_fox\n"),
        rf"imagenet/{TRUTH} does not hold one id a line",
    ),
    "a ground truth of fewer images": (
        lambda root: flattened(root).write_bytes(b"1\n2\n"),
        r"imagenet/val/ILSVRC2012_val_00000003\.JPEG is none of the 2 images",
    ),
    "an image without a number": (
        lambda root: put(flattened(root).parent / "val" / "fox.JPEG", jpeg(2)),
        r"imagenet/val/fox\.JPEG is none of the 101 images",
    ),
}


@pytest.mark.parametrize(("damage", "says"), WRONG.values(), ids=WRONG)
def test_a_tree_that_is_not_what_it_should_be_is_one_line(
    damage: Callable[[Path], object], says: str, root: Path, workspace: Workspace
) -> None:
    damage(root)
    with pytest.raises(MolebenchError, match=says) as told:
        loaded(workspace)
    assert "\n" not in str(told.value)
