"""Fashion-MNIST, 6 000 of its 70 000 images, 28x28 grey: small enough to travel with the code, so no download.

500 training and 100 test images of each class, each from its own original set; made, byte for byte, by
benchmarks/make_fashion_mnist_mini.py. Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for
Benchmarking Machine Learning Algorithms", arXiv:1708.07747. The MIT License (MIT) Copyright (c) 2017 Zalando SE,
https://tech.zalando.com; its whole text is in the npz, under `licence`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from molebench.cards import dataset
from molebench.errors import MolebenchError
from molebench.types import Array, Dataset, Samples
from molebench.workspace import Workspace, file_fact, sha256

BIBTEX = """
@article{xiao2017fashion,
  title = {Fashion-{MNIST}: a Novel Image Dataset for Benchmarking Machine Learning Algorithms},
  author = {Xiao, Han and Rasul, Kashif and Vollgraf, Roland},
  journal = {arXiv preprint arXiv:1708.07747}, year = {2017},
  eprint = {1708.07747}, archivePrefix = {arXiv}
}
"""

FILE = "fashion_mnist_mini.npz"
SHA256 = "931040d0e8b3b323897e771f27f410c8c80ca8785365b7c8c3f2c1e9dc4a9e1b"
CLASSES = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot")


@dataset(paper="Xiao, Rasul and Vollgraf, arXiv:1708.07747", licence="MIT")
@dataclass(frozen=True)
class FashionMNISTMini:
    """No parameters."""

    def load(self, workspace: Workspace) -> Dataset:
        """Splits train (5 000) and test (1 000), uint8 [n, 28, 28, 1]."""
        del workspace
        arrays = read(path := Path(__file__).with_name(FILE))
        splits = {s: Samples(arrays[f"{s}.x"], arrays[f"{s}.y"]) for s in ("train", "test")}
        return Dataset("fashion_mnist_mini", splits, CLASSES, files={FILE: file_fact(path)})


def read(path: Path) -> dict[str, Array]:
    """The arrays of the npz, once its bytes are known to be the ones we ship."""
    if not path.is_file():
        raise MolebenchError(f"dataset fashion_mnist_mini: {FILE} is not beside its code; install molebench again")
    if (digest := sha256(path)) != SHA256:
        raise MolebenchError(
            f"dataset fashion_mnist_mini: {FILE} is damaged (sha256 {digest[:16]}, expected {SHA256[:16]}); "
            "install molebench again, or git checkout the file"
        )
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
