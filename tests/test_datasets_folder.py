"""The folder dataset: trees of real image files, how they are ordered and split, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from molebench import trees
from molebench.datasets.folder import Folder
from molebench.errors import MolebenchError
from molebench.trees import natural
from molebench.types import Dataset
from molebench.workspace import Workspace, file_fact


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return tmp_path / "pets"


def draw(path: Path, grey: int, size: tuple[int, int] = (4, 4)) -> Path:
    """A grey image, in the format of its suffix; PNG keeps the value exactly."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey, grey, grey)).save(path)
    return path


def two_classes(root: Path, cats: int = 5, dogs: int = 5) -> None:
    for i in range(cats):
        draw(root / "cat" / f"{i}.png", 10 + i)
    for i in range(dogs):
        draw(root / "dog" / f"{i}.png", 110 + i)


def greys(data: Dataset, split: str) -> list[int]:
    return [int(value) for value in data.splits[split].x[:, 0, 0, 0]]


def test_a_tree_without_splits_gives_a_fifth_of_each_class_to_the_test(pets: Path, workspace: Workspace) -> None:
    two_classes(pets, cats=5, dogs=10)
    data = Folder(str(pets)).load(workspace)
    assert data.classes == ("cat", "dog")
    assert data.splits["test"].y.tolist() == [0, 1, 1]
    assert data.splits["train"].y.tolist() == [0] * 4 + [1] * 8
    assert sorted(greys(data, "train") + greys(data, "test")) == [10, 11, 12, 13, 14, *range(110, 120)]
    assert data.splits["train"].x.shape == (12, 4, 4, 3)


def test_one_split_seed_is_one_split_and_another_is_another(pets: Path, workspace: Workspace) -> None:
    two_classes(pets, cats=20, dogs=20)
    first, again = (Folder(str(pets), split_seed=1).load(workspace) for _ in range(2))
    other = Folder(str(pets), split_seed=2).load(workspace)
    assert first.fingerprints == again.fingerprints
    assert greys(first, "test") != greys(other, "test")


def test_two_images_of_a_class_are_one_to_train_and_one_to_test(pets: Path, workspace: Workspace) -> None:
    two_classes(pets, cats=2, dogs=2)
    for share in (0.01, 0.99):
        data = Folder(str(pets), test=share).load(workspace)
        assert data.splits["train"].y.tolist() == data.splits["test"].y.tolist() == [0, 1]


def test_a_tree_with_splits_keeps_them(pets: Path, workspace: Workspace) -> None:
    two_classes(pets / "train", cats=3, dogs=1)
    two_classes(pets / "test", cats=1, dogs=2)
    draw(pets / "validation" / "cat" / "0.png", 200)
    data = Folder(str(pets), test=0.5).load(workspace)
    assert greys(data, "train") == [10, 11, 12, 110]
    assert greys(data, "test") == [10, 110, 111]
    assert data.splits["test"].y.tolist() == [0, 1, 1]


def test_files_come_in_natural_order_and_hidden_ones_and_notes_are_left_out(pets: Path, workspace: Workspace) -> None:
    for name, grey in {"img10.png": 3, "img2.PNG": 2, "img1.png": 1, ".hidden.png": 9}.items():
        draw(pets / "train" / "cat" / name, grey)
    (pets / "train" / "cat" / "notes.txt").write_text("no image")
    draw(pets / "train" / ".cache" / "0.png", 9)
    draw(pets / "train" / "dog" / "0.png", 4)
    two_classes(pets / "test")
    assert greys(Folder(str(pets)).load(workspace), "train") == [1, 2, 3, 4]


def test_natural_order_survives_names_with_odd_digits() -> None:
    names = ["b", "x²", "10", "9a", "010", "a2b10", "a2b9", "٣"]
    order = [f.name for f in sorted((Path(n) for n in names), key=natural)]
    assert order.index("a2b9") < order.index("a2b10")
    assert order[:3] == ["9a", "010", "10"]


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "bmp", "webp", "gif", "tif", "tiff"])
def test_every_format_is_read_as_rgb(pets: Path, workspace: Workspace, suffix: str) -> None:
    for name in ("cat", "dog"):
        for i in range(2):
            draw(pets / name / f"{i}.{suffix}", 100)
    data = Folder(str(pets)).load(workspace)
    assert data.splits["train"].x.shape == (2, 4, 4, 3)
    assert np.abs(data.splits["train"].x.astype(int) - 100).max() <= 2


def test_a_gif_gives_its_first_frame(pets: Path, workspace: Workspace) -> None:
    two_classes(pets / "train")
    two_classes(pets / "test")
    frames = [Image.new("L", (4, 4), grey) for grey in (33, 99)]
    frames[0].save(pets / "test" / "dog" / "9.gif", save_all=True, append_images=frames[1:])
    assert greys(Folder(str(pets)).load(workspace), "test")[-1] == 33


def test_grey_and_transparent_images_become_rgb(pets: Path, workspace: Workspace) -> None:
    two_classes(pets / "train")
    two_classes(pets / "test", cats=1, dogs=1)
    Image.new("L", (4, 4), 7).save(pets / "test" / "cat" / "1.png")
    Image.new("RGBA", (4, 4), (8, 8, 8, 0)).save(pets / "test" / "cat" / "2.png")
    assert greys(Folder(str(pets)).load(workspace), "test") == [10, 7, 8, 110]


def test_size_makes_images_of_different_sizes_one_size(pets: Path, workspace: Workspace) -> None:
    two_classes(pets)
    draw(pets / "dog" / "wide.png", 50, size=(9, 4))
    data = Folder(str(pets), size=6).load(workspace)
    assert data.splits["train"].x.shape[1:] == (6, 6, 3)
    assert 50 in greys(data, "train") + greys(data, "test")


def test_the_record_gets_the_folder_s_name_and_digest_and_not_its_place(pets: Path, workspace: Workspace) -> None:
    two_classes(pets)
    data = Folder(f"{pets}/../pets/").load(workspace)
    assert data.name == "folder"
    assert data.files == {"pets": file_fact(pets)}
    assert str(pets.parent) not in repr(data)


def test_the_second_load_comes_from_the_cache_and_a_changed_image_does_not(pets: Path, workspace: Workspace) -> None:
    two_classes(pets)
    first = Folder(str(pets)).load(workspace)
    kept = list(workspace.cache.rglob("*.safetensors"))
    again = Folder(str(pets)).load(workspace)
    assert first.fingerprints == again.fingerprints
    assert list(workspace.cache.rglob("*.safetensors")) == kept
    draw(pets / "cat" / "0.png", 77)
    changed = Folder(str(pets)).load(workspace)
    assert 77 in greys(changed, "train") + greys(changed, "test")


def test_nobody_can_write_into_the_images(pets: Path, workspace: Workspace) -> None:
    two_classes(pets)
    with pytest.raises(ValueError, match="read-only"):
        Folder(str(pets)).load(workspace).splits["test"].x[0] = 0


def refused(root: Path, workspace: Workspace, match: str, test: float = 0.2) -> None:
    with pytest.raises(MolebenchError, match=match) as error:
        Folder(str(root), test=test).load(workspace)
    assert "\n" not in str(error.value)


def test_a_missing_path_is_named(pets: Path, workspace: Workspace) -> None:
    refused(pets, workspace, r"path .*pets does not exist; expected <class>/<image>")


def test_a_zip_is_not_a_folder(pets: Path, workspace: Workspace) -> None:
    pets.write_bytes(b"PK")
    refused(pets, workspace, "pets is a file, not a folder; unpack it first")


def test_a_folder_without_class_folders_is_refused(pets: Path, workspace: Workspace) -> None:
    draw(pets / "0.png", 1)
    refused(pets, workspace, "the folder has no class folders; two or more")


def test_a_folder_with_one_class_is_refused_by_name(pets: Path, workspace: Workspace) -> None:
    two_classes(pets / "everything", cats=2, dogs=0)
    refused(pets / "everything", workspace, r"the folder has only one class \(cat\)")


def test_a_class_with_one_image_cannot_be_split(pets: Path, workspace: Workspace) -> None:
    two_classes(pets, cats=1)
    refused(pets, workspace, "class cat in the folder has too few images: 1, needed 2 or more")


def test_a_class_without_images_is_named_where_the_folder_has_splits(pets: Path, workspace: Workspace) -> None:
    two_classes(pets / "train")
    two_classes(pets / "test")
    (pets / "test" / "emu").mkdir()
    refused(pets, workspace, "class emu in test has too few images: 0, needed 1 or more")


def test_train_without_test_is_refused_with_both_ways_out(pets: Path, workspace: Workspace) -> None:
    two_classes(pets / "train")
    refused(pets, workspace, "pets has train but not test; add it, or give train itself as path")


def test_a_class_may_be_called_train(pets: Path, workspace: Workspace) -> None:
    for name in ("boat", "train"):
        for i in range(2):
            draw(pets / name / f"{i}.png", i)
    assert Folder(str(pets)).load(workspace).classes == ("boat", "train")


def test_classes_that_differ_between_train_and_test_are_named(pets: Path, workspace: Workspace) -> None:
    two_classes(pets / "train")
    two_classes(pets / "test")
    draw(pets / "test" / "emu" / "0.png", 1)
    draw(pets / "train" / "yak" / "0.png", 1)
    refused(pets, workspace, "must have the same classes; in one only: emu, yak")


def test_an_unreadable_image_is_named_relative_to_the_folder(pets: Path, workspace: Workspace) -> None:
    two_classes(pets)
    (pets / "dog" / "3.png").write_bytes((pets / "dog" / "3.png").read_bytes()[:50])
    refused(pets, workspace, r"^dog/3\.png is not a readable image")
    assert not list(workspace.cache.rglob("*.safetensors"))


def test_an_empty_file_is_no_image(pets: Path, workspace: Workspace) -> None:
    two_classes(pets)
    (pets / "cat" / "0.png").write_bytes(b"")
    refused(pets, workspace, r"^cat/0\.png is not a readable image")


def test_images_of_two_sizes_need_a_size(pets: Path, workspace: Workspace) -> None:
    two_classes(pets)
    draw(pets / "dog" / "0.png", 1, size=(5, 4))
    refused(pets, workspace, r"dog/0\.png is 5x4, the first image 4x4; .*--set dataset\.size")


def test_no_test_share_is_refused_where_the_folder_has_no_splits(pets: Path, workspace: Workspace) -> None:
    two_classes(pets)
    refused(pets, workspace, "test = 0, but the folder has no train and test", test=0.0)


def test_a_folder_that_may_not_be_read_is_refused(
    pets: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    two_classes(pets)
    monkeypatch.setattr(trees, "file_fact", denied)
    refused(pets, workspace, r"cannot read pets \(Permission denied\); mend its permissions")
