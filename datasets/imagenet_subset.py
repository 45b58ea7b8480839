"""ImageNet-Subset: the first 100 classes of ILSVRC2012, those of ids 1 to 100 in its development kit, as small squares.

Reads the folder `imagenet` of MOLEBENCH_DATA, or what a link of that name leads to: train/<wnid>/*.JPEG, and either
val/<wnid>/*.JPEG or val/*.JPEG with the development kit's ILSVRC2012_validation_ground_truth.txt beside it. Nothing is
downloaded: ImageNet is given to those who agree to its terms at image-net.org. Other classes are not looked at.

Ids are not in the order of wnids. imagenet_subset_classes.txt has id, wnid and name as the kit's map_clsloc.txt lists
them. Images are resized to size x size whatever their shape, as in Chrabaszcz, Loshchilov, Hutter, "A Downsampled
Variant of ImageNet as an Alternative to the CIFAR Datasets", arXiv:1707.08819.
Source: Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015, arXiv:1409.0575.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from molebench.cards import Count, dataset
from molebench.errors import MolebenchError, listed
from molebench.images import decode
from molebench.originals import converted
from molebench.progress import Progress
from molebench.stages import key
from molebench.trees import Tree, labels, members, ordered
from molebench.types import Array, Dataset, FileFact, Samples
from molebench.workspace import Workspace

BIBTEX = """
@article{russakovsky2015imagenet,
  title = {{ImageNet} Large Scale Visual Recognition Challenge},
  author = {Russakovsky, Olga and Deng, Jia and Su, Hao and Krause, Jonathan and Satheesh, Sanjeev and Ma, Sean and
    Huang, Zhiheng and Karpathy, Andrej and Khosla, Aditya and Bernstein, Michael and Berg, Alexander C. and Fei-Fei,
    Li},
  journal = {International Journal of Computer Vision}, volume = {115}, number = {3}, pages = {211--252}, year = {2015}
}
"""

WHO = "dataset imagenet_subset"
LIST = Path(__file__).with_name("imagenet_subset_classes.txt")
LIST_SHA256 = "1f1fa57ec1c584aea2e2b7170aa67ed5258404eb809ac3cbceb441c829a3fd73"
FOLDER = "imagenet"
SPLITS = {"train": "train", "test": "val"}  # ours to the folder's
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
TRUTHS = (TRUTH, f"ILSVRC2012_devkit_t12/data/{TRUTH}")
HINT = (
    f"get ILSVRC2012 from image-net.org, and put or link its folder there as {FOLDER}, with train/<wnid>/*.JPEG and "
    "val/<wnid>/*.JPEG"
)


@dataset(
    paper="Russakovsky et al., IJCV 2015, arXiv:1409.0575",
    licence="ImageNet's terms of access: research and education, not to be passed on",
    needs=tuple(f"{FOLDER}/{folder}" for folder in SPLITS.values()),
    cost="134 000 images are decoded once (10 minutes); at 64 pixels they fill 1.7 GB of memory and disk, at 224 20 GB",
)
@dataclass(frozen=True)
class ImageNetSubset:
    """size: pixels of a side; memory grows with its square, and three times as much is needed while images are read."""

    size: Count = 64

    def load(self, workspace: Workspace) -> Dataset:
        """Splits train (about 129 000) and test (5 000), uint8 [n, size, size, 3]."""
        names, root = class_names(), workspace.data / FOLDER
        if not root.is_dir():
            raise MolebenchError(f"{WHO}: no folder {FOLDER} in MOLEBENCH_DATA ({workspace.data}); {HINT}")
        try:
            trees = {"train": by_folder(root / "train", names), "test": validation(root, names)}
            sizes = [
                (f.relative_to(root).as_posix(), f.stat().st_size) for tree in trees.values() for f in ordered(tree)
            ]
            tag = f"imagenet_subset-{self.size}-{key([sizes, LIST_SHA256])[:16]}"
            found = converted(tag, lambda: read(root, trees, self.size, workspace.progress), workspace)
        except OSError as error:
            raise MolebenchError(f"{WHO}: cannot read {FOLDER} ({error.strerror}); mend its permissions") from error
        splits = {split: Samples(found[f"{split}.x"], found[f"{split}.y"]) for split in SPLITS}
        fact = FileFact(found["sha256"].tobytes().hex(), sum(size for _, size in sizes))
        return Dataset("imagenet_subset", splits, tuple(names.values()), files={FOLDER: fact})


def class_names() -> dict[str, str]:
    """wnid to name, in order of ids; refused where the list is not the one that came with molebench."""
    text = LIST.read_bytes()
    if hashlib.sha256(text).hexdigest() != LIST_SHA256:
        raise MolebenchError(
            f"{WHO}: {LIST.name} is not the list of classes that molebench has; install molebench again"
        )
    return dict(line.split()[1:] for line in text.decode().splitlines())


def by_folder(folder: Path, names: Mapping[str, str]) -> Tree:
    """The images of each class, by its folder."""
    there = {wnid: members(folder / wnid) if (folder / wnid).is_dir() else [] for wnid in names}
    return complete(there, folder.name, names)


def complete(tree: Tree, where: str, names: Mapping[str, str]) -> Tree:
    """The same, once no class lacks images."""
    if lacking := [f"{wnid} ({names[wnid]})" for wnid, files in tree.items() if not files]:
        raise MolebenchError(
            f"{WHO}: {FOLDER}/{where} has no image of {len(lacking)} of {len(names)} classes: {listed(lacking, 3)}; "
            f"{HINT}"
        )
    return tree


def validation(root: Path, names: Mapping[str, str]) -> Tree:
    """The validation images of each class: by its folder, or by their numbers in a flat folder."""
    folder = root / "val"
    truth = next((file for name in TRUTHS if (file := root / name).is_file()), None)
    if truth is None or any((folder / wnid).is_dir() for wnid in names):
        return by_folder(folder, names)
    ids, tree = ground_truth(truth), {wnid: list[Path]() for wnid in names}
    wnids = list(names)
    for file in members(folder) if folder.is_dir() else ():
        if (place := id_of(file, ids)) <= len(wnids):
            tree[wnids[place - 1]].append(file)
    return complete(tree, folder.name, names)


def ground_truth(file: Path) -> list[int]:
    """The id of each validation image, in order of their numbers."""
    words = file.read_text("utf-8", "replace").split()
    if not words or not all(word.isdecimal() and int(word) > 0 for word in words):
        raise MolebenchError(
            f"{WHO}: {FOLDER}/{file.name} does not hold one id a line; take it from the development kit"
        )
    return [int(word) for word in words]


def id_of(file: Path, ids: list[int]) -> int:
    """The id of a validation image: ILSVRC2012_val_00000001.JPEG is the first."""
    number = file.stem.rpartition("_")[2]
    if not number.isdecimal() or not 1 <= int(number) <= len(ids):
        raise MolebenchError(
            f"{WHO}: {FOLDER}/val/{file.name} is none of the {len(ids)} images that {TRUTH} is about, such as "
            "ILSVRC2012_val_00000001.JPEG; move it away"
        )
    return ids[int(number) - 1]


def read(root: Path, trees: Mapping[str, Tree], size: int, progress: Progress) -> dict[str, Array]:
    """Every image, class after class, its label, and the sha256 over all files' names and contents."""
    arrays, digest = dict[str, Array](), hashlib.sha256()
    for split, tree in trees.items():
        files = ordered(tree)
        x = np.empty((len(files), size, size, 3), dtype=np.uint8)
        with progress(f"reading images ({split})", len(files)) as advance:
            for i, file in enumerate(files):
                name, data = file.relative_to(root).as_posix(), file.read_bytes()
                digest.update(f"{name}\0{hashlib.sha256(data).hexdigest()}\n".encode())
                x[i] = decode(data, f"{FOLDER}/{name}", size=(size, size))
                advance(1)
        arrays |= {f"{split}.x": x, f"{split}.y": labels(tree)}
    return {**arrays, "sha256": np.frombuffer(digest.digest(), dtype=np.uint8)}
