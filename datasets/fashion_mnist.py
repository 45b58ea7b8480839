"""Fashion-MNIST, 60 000 + 10 000 grey images of 28x28, 10 kinds of clothing; the whole of fashion_mnist_mini.

Four IDX files, gzipped or not: in MOLEBENCH_DATA/fashion-mnist, where Debian's dataset-fashion-mnist puts them, or
downloaded once (31 MB) from their publisher or as that Debian package, which needs no root. Source: Xiao, Rasul,
Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", arXiv:1708.07747.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from molebench.archives import checked, idx
from molebench.cards import dataset
from molebench.errors import MolebenchError
from molebench.originals import Original, converted
from molebench.sources import DebianPackage, Url
from molebench.stages import key
from molebench.types import Array, Dataset, Samples
from molebench.workspace import Workspace

BIBTEX = """
@article{xiao2017fashion,
  title = {Fashion-{MNIST}: a Novel Image Dataset for Benchmarking Machine Learning Algorithms},
  author = {Xiao, Han and Rasul, Kashif and Vollgraf, Roland},
  journal = {arXiv preprint arXiv:1708.07747}, year = {2017},
  eprint = {1708.07747}, archivePrefix = {arXiv}
}
"""


class Digests(NamedTuple):
    """sha256 of one IDX file, unpacked; as its publisher gzipped it; as Debian did. size: unpacked, in bytes."""

    unpacked: str
    publisher: str
    debian: str
    size: int


FILES = {
    "train-images-idx3-ubyte": Digests(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
        47_040_016,
    ),
    "train-labels-idx1-ubyte": Digests(
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
        60_008,
    ),
    "t10k-images-idx3-ubyte": Digests(
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
        7_840_016,
    ),
    "t10k-labels-idx1-ubyte": Digests(
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
        10_008,
    ),
}
URLS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
PACKAGE = "dataset-fashion-mnist"
FOLDER = Path("/usr/share/datasets/fashion-mnist")  # where that package is installed
PLACE = "fashion-mnist"  # below MOLEBENCH_DATA and the downloads, for MNIST's files have the same names
HINT = f"Put {', '.join(f'{name}.gz' for name in FILES)} into MOLEBENCH_DATA/{PLACE}, or use fashion_mnist_mini"
CLASSES = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot")
SPLITS = {"train": "train", "test": "t10k"}


@dataset(paper="Xiao, Rasul and Vollgraf, arXiv:1708.07747", licence="MIT", needs=("its four IDX files, 31 MB",))
@dataclass(frozen=True)
class FashionMNIST:
    """No parameters."""

    @staticmethod
    def originals() -> tuple[Original, ...]:
        """The four IDX files."""
        return tuple(original(name, digests) for name, digests in FILES.items())

    def load(self, workspace: Workspace) -> Dataset:
        """Splits train (60 000) and test (10 000), uint8 [n, 28, 28, 1]."""
        files = dict(zip(FILES, self.originals(), strict=True))
        tag = f"fashion_mnist-{key([file.fact.sha256 for file in files.values()])[:16]}"
        arrays = converted(tag, lambda: read({n: f.get(workspace) for n, f in files.items()}), workspace)
        splits = {s: Samples(arrays[f"{s}.x"], arrays[f"{s}.y"]) for s in SPLITS}
        return Dataset("fashion_mnist", splits, CLASSES, files={n: f.fact for n, f in files.items()})


def original(name: str, digests: Digests) -> Original:
    """One of the IDX files and where it can come from."""
    packed = f"{name}.gz"
    wanted = {f"{n}.gz": d.debian for n, d in FILES.items()}
    return Original(
        "fashion_mnist",
        (f"{PLACE}/{packed}", f"{PLACE}/{name}"),
        digests[:3],
        digests.size,
        (
            *(Url(url + packed, f"sha256:{digests.publisher}") for url in URLS),
            DebianPackage(PACKAGE, FOLDER.as_posix().lstrip("/"), packed, wanted),
        ),
        HINT,
        (FOLDER,),
    )


def read(paths: Mapping[str, Path]) -> dict[str, Array]:
    """The images and labels in the four files."""
    arrays = {}
    for split, start in SPLITS.items():
        images, labels = (f"{start}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
        x, y = (idx(paths[name].read_bytes(), paths[name].name) for name in (images, labels))
        if x.ndim != 3 or y.ndim != 1 or len(x) != len(y):
            raise MolebenchError(f"{images} {list(x.shape)} and {labels} {list(y.shape)} are no images with labels")
        arrays[f"{split}.x"], arrays[f"{split}.y"] = x[..., None], checked(y, labels, len(CLASSES))
    return arrays
