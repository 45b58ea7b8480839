"""Handwritten digits of scikit-learn: 1 797 images of 8x8, in the wheel already, so the `tiny` profiles use them.

The values 0..16 become uint8: x <- round(x 255 / 16). The split is stratified, 80/20, and always the same one.
Source: Alpaydin, Kaynak, "Cascading Classifiers", Kybernetika 34(4), 1998; the test part of UCI's "Optical
Recognition of Handwritten Digits", as sklearn.datasets.load_digits has it.
"""

from dataclasses import dataclass

from molebench.cards import dataset
from molebench.rng import stream
from molebench.splits import held_out
from molebench.types import IMAGE, Array, Dataset, Samples
from molebench.workspace import Workspace

BIBTEX = """
@article{alpaydin1998cascading,
  title = {Cascading Classifiers},
  author = {Alpaydin, Ethem and Kaynak, Cenk},
  journal = {Kybernetika}, volume = {34}, number = {4}, pages = {369--374}, year = {1998}
}
"""

CLASSES = tuple("0123456789")
PEAK = 16  # the largest value of a pixel in the source
TEST = 0.2


@dataset(paper="Alpaydin and Kaynak, Kybernetika 1998", licence="CC BY 4.0")
@dataclass(frozen=True)
class Digits:
    """No parameters."""

    def load(self, workspace: Workspace) -> Dataset:
        """Splits train (1 438) and test (359), uint8 [n, 8, 8, 1]."""
        del workspace
        images, labels = read()
        test = held_out(labels, TEST, stream(0, "digits split"))
        splits = {"train": Samples(images[~test], labels[~test]), "test": Samples(images[test], labels[test])}
        return Dataset("digits", splits, CLASSES)


def read() -> tuple[Array, Array]:
    """The images as uint8 [n, 8, 8, 1] and their labels, in scikit-learn's order."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return IMAGE.quantise(found.images * (IMAGE.high / PEAK))[:, :, :, None], found.target
