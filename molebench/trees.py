"""Trees of files whose folders are classes: class/file, or train/class/file and test/class/file.

Classes are the sub-folders in sorted order; files come in natural order (img2 before img10); hidden files, other
suffixes and, beside train and test, other folders are left out. A tree holds files of one kind, images or sounds.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from molebench.errors import MolebenchError, listed
from molebench.types import Array, FileFact
from molebench.workspace import file_fact

SPLITS = ("train", "test")
SUFFIXES = {
    "images": (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"),
    "sounds": (".flac", ".wav"),
}
LAYOUT = "expected <class>/<image>, or train/<class>/<image> and test/<class>/<image>, or sounds in their place"

Tree = Mapping[str, Sequence[Path]]  # class -> its files, both in order


class Survey(NamedTuple):
    """What a folder holds: its trees by split (one named 'all' where it has none), their classes, 'images' or 'sounds',
    and the digest and size of all there is.
    """

    trees: Mapping[str, Tree]
    classes: tuple[str, ...]
    kind: str
    fact: FileFact


def survey(root: Path, given: str) -> Survey:
    """What a folder holds, once it is a tree of classes. given: the folder as the user wrote it."""
    try:
        trees, fact = layout(root, given), file_fact(root)
    except OSError as error:
        raise MolebenchError(
            f"dataset folder: cannot read {root.name} ({error.strerror}); mend its permissions"
        ) from error
    kind = one_kind(root, [file for tree in trees.values() for file in ordered(tree)])
    return Survey(trees, common_classes(trees, kind), kind, fact)


def layout(root: Path, given: str) -> dict[str, Tree]:
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


def tree(folder: Path) -> Tree:
    """The images and sounds of each class folder."""
    return {sub.name: members(sub) for sub in subfolders(folder)}


def members(folder: Path) -> list[Path]:
    """The images and sounds in a folder, in natural order."""
    return sorted(filter(kind_of, folder.iterdir()), key=natural)


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder that are not hidden, sorted by name."""
    found = (f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
    return sorted(found, key=lambda f: f.name)


def kind_of(file: Path) -> str:
    """What a file is meant to be, by its name; '' where it is not meant to be read."""
    if file.name.startswith(".") or not file.is_file():
        return ""
    return next((kind for kind, suffixes in SUFFIXES.items() if file.suffix.lower() in suffixes), "")


def natural(file: Path) -> tuple[list[str | int], str]:
    """Sorts img2 before img10; names that read the same (img1, img01) by their letters."""
    parts = re.split(r"([0-9]+)", file.name)  # text, number, text, ...
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], file.name


def ordered(tree: Tree) -> list[Path]:
    """Every file of a tree, class after class."""
    return [file for files in tree.values() for file in files]


def labels(tree: Tree) -> Int[Array, " n"]:
    """The class index of each of these files."""
    return np.repeat(np.arange(len(tree)), [len(files) for files in tree.values()])


def one_kind(root: Path, files: Sequence[Path]) -> str:
    """The kind that all files are of; 'images or sounds' where there are none."""
    first = {kind_of(file): file.relative_to(root).as_posix() for file in reversed(files)}
    if len(first) > 1:
        raise MolebenchError(
            f"dataset folder: {root.name} has both images ({first['images']}) and sounds ({first['sounds']}); one kind "
            "is needed: move the other away"
        )
    return next(iter(first), " or ".join(SUFFIXES))


def common_classes(trees: Mapping[str, Tree], kind: str) -> tuple[str, ...]:
    """The class names, once every tree has the same two or more, each with enough files."""
    for split, tree in trees.items():
        check_tree(tree, kind, "the folder" if split == "all" else split, least=2 if split == "all" else 1)
    names = [set(tree) for tree in trees.values()]
    if differ := names[0] ^ names[-1]:
        raise MolebenchError(
            f"dataset folder: train and test must have the same classes; in one only: {listed(sorted(differ))}; "
            "add them to the other, or remove them"
        )
    return tuple(next(iter(trees.values())))


def check_tree(tree: Tree, kind: str, where: str, least: int) -> None:
    """Refuses a tree with fewer than two classes, or with fewer than `least` files in one."""
    if len(tree) < 2:
        only = f"only one class ({next(iter(tree))})" if tree else "no class folders"
        raise MolebenchError(f"dataset folder: {where} has {only}; two or more are needed; {LAYOUT}")
    suffixes = [s[1:] for name, group in SUFFIXES.items() if name in kind for s in group]
    for name, files in tree.items():
        if len(files) < least:
            raise MolebenchError(
                f"dataset folder: class {name} in {where} has too few {kind}: {len(files)}, needed {least} or more "
                f"({', '.join(suffixes)}); add some, or remove the class"
            )
