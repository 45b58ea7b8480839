"""Your own images: a folder of class/image, or of train/class/image and test/class/image.

Classes are the sub-folders in sorted order; files come in natural order (img2 before img10); hidden files, other
suffixes and, beside train and test, other folders are left out. A tree without train and test is split here: the
share `test` of each class, at least one image of it and never all. Images become RGB; a GIF gives its first frame.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

import numpy as np
from jaxtyping import Bool, Int, UInt8

from molebench.cards import Count, Path, Share, Whole, dataset
from molebench.errors import MolebenchError, listed
from molebench.images import decode, stacked
from molebench.progress import Progress
from molebench.rng import stream
from molebench.splits import held_out
from molebench.stages import key, load_arrays, save_arrays
from molebench.types import Array, Dataset, FileFact, Samples
from molebench.workspace import Workspace, file_fact

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SPLITS = ("train", "test")
LAYOUT = "expected <class>/<image>, or train/<class>/<image> and test/<class>/<image>"

Tree = Mapping[str, Sequence[FilePath]]  # class -> its images, both in order


@dataset(paper="yours", licence="yours", needs=("a folder of images, named with --set dataset.path=...",))
@dataclass(frozen=True)
class Folder:
    """path: the folder. size: every image is resized to size x size; without it they must share one size.
    test: share of each class held out, where the folder has no train and test. split_seed: which images those are.
    """

    path: Path
    size: Count | None = None
    test: Share = 0.2
    split_seed: Whole = 0

    def load(self, workspace: Workspace) -> Dataset:
        """Splits train and test, uint8 [n, h, w, 3]; keeps the folder's name and digest, never its place."""
        root = FilePath(self.path).expanduser().resolve()
        trees, fact = survey(root, self.path)
        classes = common_classes(trees)
        if len(trees) == 1 and not self.test:
            raise MolebenchError("dataset folder: test = 0, but the folder has no train and test; set 0 < test < 1")
        x = images(root, [f for tree in trees.values() for f in ordered(tree)], self.size, fact, workspace)
        y = np.concatenate([labels(tree) for tree in trees.values()])
        test = self.test_mask(trees, y)
        splits = {"train": Samples(x[~test], y[~test]), "test": Samples(x[test], y[test])}
        return Dataset("folder", splits, classes, files={root.name: fact})

    def test_mask(self, trees: Mapping[str, Tree], y: Int[Array, " n"]) -> Bool[Array, " n"]:
        """Which samples are the test split: the folder's own, or a stratified share."""
        if len(trees) == 1:
            return held_out(y, self.test, stream(self.split_seed, "folder split"))
        return np.arange(len(y)) >= len(ordered(trees["train"]))


def survey(root: FilePath, given: str) -> tuple[dict[str, Tree], FileFact]:
    """The trees of a folder, and the digest and size of all it holds."""
    try:
        return layout(root, given), file_fact(root)
    except OSError as error:
        raise MolebenchError(
            f"dataset folder: cannot read {root.name} ({error.strerror}); mend its permissions"
        ) from error


def layout(root: FilePath, given: str) -> dict[str, Tree]:
    """The trees of train and test, or one named 'all' where the folder has no splits."""
    if not root.is_dir():
        what = "is a file, not a folder; unpack it first" if root.exists() else "does not exist"
        raise MolebenchError(f"dataset folder: path {given} {what}; {LAYOUT}")
    there = [split for split in SPLITS if (root / split).is_dir()]
    if len(there) == 2:
        return {split: tree(root / split) for split in SPLITS}
    if there and subfolders(root / there[0]):
        raise MolebenchError(
            f"dataset folder: {root.name} has {there[0]} but not {' and '.join(s for s in SPLITS if s not in there)}; "
            f"add it, or give {there[0]} itself as path to have it split"
        )
    return {"all": tree(root)}


def tree(folder: FilePath) -> Tree:
    """The images of each class folder."""
    return {sub.name: sorted(filter(is_image, sub.iterdir()), key=natural) for sub in subfolders(folder)}


def subfolders(folder: FilePath) -> list[FilePath]:
    """The folders in a folder that are not hidden, sorted by name."""
    found = (f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
    return sorted(found, key=lambda f: f.name)


def is_image(file: FilePath) -> bool:
    """Whether a file is meant to be read, by its name."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


def natural(file: FilePath) -> tuple[list[str | int], str]:
    """Sorts img2 before img10; names that read the same (img1, img01) by their letters."""
    parts = re.split(r"([0-9]+)", file.name)  # text, number, text, ...
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], file.name


def ordered(tree: Tree) -> list[FilePath]:
    """Every image of a tree, class after class."""
    return [file for files in tree.values() for file in files]


def labels(tree: Tree) -> Int[Array, " n"]:
    """The class index of each of these images."""
    return np.repeat(np.arange(len(tree)), [len(files) for files in tree.values()])


def common_classes(trees: Mapping[str, Tree]) -> tuple[str, ...]:
    """The class names, once every tree has the same two or more, each with enough images."""
    for split, tree in trees.items():
        check_tree(tree, "the folder" if split == "all" else split, least=2 if split == "all" else 1)
    names = [set(tree) for tree in trees.values()]
    if differ := names[0] ^ names[-1]:
        raise MolebenchError(
            f"dataset folder: train and test must have the same classes; in one only: {listed(sorted(differ))}; "
            "add them to the other, or remove them"
        )
    return tuple(next(iter(trees.values())))


def check_tree(tree: Tree, where: str, least: int) -> None:
    """Refuses a tree with fewer than two classes, or with fewer than `least` images in one."""
    if len(tree) < 2:
        only = f"only one class ({next(iter(tree))})" if tree else "no class folders"
        raise MolebenchError(f"dataset folder: {where} has {only}; two or more are needed; {LAYOUT}")
    for name, files in tree.items():
        if len(files) < least:
            raise MolebenchError(
                f"dataset folder: class {name} in {where} has too few images: {len(files)}, needed {least} or more "
                f"({', '.join(s[1:] for s in SUFFIXES)}); add some, or remove the class"
            )


def images(
    root: FilePath, files: Sequence[FilePath], size: int | None, fact: FileFact, workspace: Workspace
) -> UInt8[Array, "n h w 3"]:
    """The pixels of the files; decoded once, then found in the cache by what the folder holds."""
    names = [file.relative_to(root).as_posix() for file in files]
    kept = workspace.cache / "data" / f"folder-{key([fact.sha256, names, size])[:16]}.safetensors"
    if found := load_arrays(kept):
        return found[0]["x"]
    x = stacked(decoded(files, names, size, workspace.progress), names.__getitem__)
    save_arrays(kept, {"x": x})
    return x


def decoded(files: Sequence[FilePath], names: Sequence[str], size: int | None, progress: Progress) -> list[Array]:
    """Each file's image, resized where a size is given."""
    read = []
    with progress("reading images", len(files)) as advance:
        for file, name in zip(files, names, strict=True):
            read.append(decode(file.read_bytes(), name, size=(size, size) if size else None))
            advance(1)
    return read
