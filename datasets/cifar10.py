"""CIFAR-10, 50 000 + 10 000 photographs of 32x32 in 10 classes, the original pixels.

Reads the official binary archive, cifar-10-binary.tar.gz: in MOLEBENCH_DATA, or downloaded once (170 MB).
A batch is records of 3 073 bytes: label, then 32x32 red, green and blue values, row by row.
Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from molebench.cards import dataset
from molebench.errors import MolebenchError
from molebench.sources import Url, first_that_answers
from molebench.stages import load_arrays, save_arrays
from molebench.types import Array, Dataset, FileFact, Samples
from molebench.workspace import Workspace, sha256

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
URL = f"https://www.cs.toronto.edu/~kriz/{FILE}"
HINT = f"Put {FILE} (the binary version, not the Python one) into MOLEBENCH_DATA, or use cifar10_jpeg"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
PIXELS = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32


@dataset(paper="Krizhevsky 2009", licence="none stated; free for research", needs=(FILE,))
@dataclass(frozen=True)
class CIFAR10:
    """No parameters."""

    def load(self, workspace: Workspace) -> Dataset:
        """Splits train (50 000) and test (10 000), uint8 [n, 32, 32, 3]."""
        kept = workspace.cache / "data" / f"cifar10-{SHA256[:16]}.safetensors"
        if not (found := load_arrays(kept)):
            save_arrays(kept, arrays := read(published(workspace)))
            found = (arrays, "")
        splits = {s: Samples(found[0][f"{s}.x"], found[0][f"{s}.y"]) for s in BATCHES}
        return Dataset("cifar10", splits, CLASSES, files={FILE: FileFact(SHA256, SIZE)})


def published(workspace: Workspace) -> Path:
    """The archive: the user's, the one downloaded before, or a fresh download; never another file of its name."""
    places = (workspace.data / FILE, workspace.cache / "downloads" / FILE)
    path = next((place for place in places if place.is_file()), places[-1])
    if not path.is_file():
        first_that_answers(f"dataset cifar10 ({FILE})", [Url(URL, f"sha256:{SHA256}")], path, workspace, HINT)
    if (digest := sha256(path)) != SHA256:
        raise MolebenchError(
            f"dataset cifar10: {path} is not the published archive: {path.stat().st_size} bytes with sha256 "
            f"{digest[:16]}, expected {SIZE} bytes with {SHA256[:16]}; remove it or fetch it again from {URL}"
        )
    return path


def read(path: Path) -> dict[str, Array]:
    """Every image and label of the archive, in the order of the batches."""
    batches = members(path, [name for names in BATCHES.values() for name in names])
    arrays = {}
    for split, names in BATCHES.items():
        parts = [records(batches[name], name) for name in names]
        arrays[f"{split}.x"] = np.concatenate([x for x, _ in parts])
        arrays[f"{split}.y"] = np.concatenate([y for _, y in parts])
    return arrays


def members(path: Path, names: Iterable[str]) -> dict[str, bytes]:
    """The contents of the named files of a tar archive, whatever folder they are in; read once, front to back."""
    wanted = dict.fromkeys(names, b"")
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                if (name := PurePosixPath(member.name).name) in wanted and (file := archive.extractfile(member)):
                    wanted[name] = file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise MolebenchError(f"{path.name} is not a whole tar.gz archive ({error}); fetch it again") from error
    if missing := [name for name, data in wanted.items() if not data]:
        raise MolebenchError(f"{path.name} has no {missing[0]}; {HINT}")
    return wanted


def records(data: bytes, name: str) -> tuple[Array, Array]:
    """The images, uint8 [n, 32, 32, 3], and the labels of one batch."""
    if len(data) % RECORD:
        raise MolebenchError(f"{name} has {len(data)} bytes, no multiple of {RECORD}; fetch {FILE} again")
    rows = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    labels = rows[:, 0].astype(np.int64)
    if labels.max() >= len(CLASSES):
        raise MolebenchError(f"{name} has label {labels.max()}; allowed: 0..{len(CLASSES) - 1}; fetch {FILE} again")
    return rows[:, 1:].reshape(-1, *PIXELS).transpose(0, 2, 3, 1), labels
