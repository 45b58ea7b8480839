"""STL-10, 5 000 + 8 000 labelled photographs of 96x96 in 10 classes (its 100 000 unlabelled ones are left out).

Reads the official archive, stl10_binary.tar.gz: in MOLEBENCH_DATA, or downloaded once (2.6 GB). An image is its red,
green and blue planes, each column by column; labels are 1 to 10.
Source: Coates, Lee, Ng, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning", AISTATS 2011.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from molebench.archives import checked, members
from molebench.cards import dataset
from molebench.errors import MolebenchError
from molebench.originals import Original, converted
from molebench.sources import Url
from molebench.types import Array, Dataset, Samples
from molebench.workspace import Workspace

BIBTEX = """
@inproceedings{coates2011analysis,
  title = {An Analysis of Single-Layer Networks in Unsupervised Feature Learning},
  author = {Coates, Adam and Lee, Honglak and Ng, Andrew Y.},
  booktitle = {AISTATS}, pages = {215--223}, year = {2011}
}
"""

FILE = "stl10_binary.tar.gz"
SHA256 = "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866"
SIZE = 2_640_397_119  # bytes
URLS = (f"http://ai.stanford.edu/~acoates/stl10/{FILE}", f"https://cs.stanford.edu/~acoates/stl10/{FILE}")
HINT = f"Put {FILE} into MOLEBENCH_DATA"
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
SPLITS = ("train", "test")
IMAGE = (3, 96, 96)  # planes, columns, rows


@dataset(
    paper="Coates, Lee and Ng, AISTATS 2011",
    licence="none stated; images from ImageNet, for research",
    needs=(FILE,),
    cost="a minute to unpack, once; 0.4 GB in the cache beside the archive's 2.6 GB",
)
@dataclass(frozen=True)
class STL10:
    """No parameters."""

    @staticmethod
    def originals() -> tuple[Original, ...]:
        """The published archive."""
        sources = tuple(Url(url, f"sha256:{SHA256}") for url in URLS)
        return (Original("stl10", (FILE,), (SHA256,), SIZE, sources, HINT),)

    def load(self, workspace: Workspace) -> Dataset:
        """Splits train (5 000) and test (8 000), uint8 [n, 96, 96, 3]."""
        (archive,) = self.originals()
        arrays = converted(f"stl10-{SHA256[:16]}", lambda: read(archive.get(workspace)), workspace)
        splits = {s: Samples(arrays[f"{s}.x"], arrays[f"{s}.y"]) for s in SPLITS}
        return Dataset("stl10", splits, CLASSES, files={FILE: archive.fact})


def read(path: Path) -> dict[str, Array]:
    """Every labelled image of the archive."""
    found = members(path, [f"{split}_{part}.bin" for split in SPLITS for part in "Xy"], HINT)
    arrays = {}
    for split in SPLITS:
        arrays[f"{split}.x"] = x = images(found[f"{split}_X.bin"], f"{split}_X.bin")
        arrays[f"{split}.y"] = y = labels(found[f"{split}_y.bin"], f"{split}_y.bin")
        if len(x) != len(y):
            raise MolebenchError(f"{path.name}: {split} has {len(x)} images and {len(y)} labels; fetch it again")
    return arrays


def images(data: bytes, name: str) -> UInt8[Array, "n 96 96 3"]:
    """Planes of columns to rows of pixels."""
    if len(data) % (size := int(np.prod(IMAGE))):
        raise MolebenchError(f"{name} has {len(data)} bytes, no multiple of {size}; fetch {FILE} again")
    return np.frombuffer(data, np.uint8).reshape(-1, *IMAGE).transpose(0, 3, 2, 1)


def labels(data: bytes, name: str) -> Int[Array, " n"]:
    """Labels from 0, where the file's are from 1."""
    return checked(np.frombuffer(data, np.uint8) - np.uint8(1), name, len(CLASSES))
