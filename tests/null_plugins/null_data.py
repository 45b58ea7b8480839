"""Sixty labels and nothing to see: a dataset for tests of what runs cells, not of what cells compute."""

from dataclasses import dataclass

import numpy as np

from molebench.cards import dataset
from molebench.types import Dataset, Samples
from molebench.workspace import Workspace


@dataset(paper="none", licence="CC0")
@dataclass(frozen=True)
class NullData:
    """missing: stands for data that is not there."""

    missing: bool = False

    def load(self, workspace: Workspace) -> Dataset:
        """Two classes of one-pixel images."""
        if self.missing:
            workspace.file("null.bin", "make one")
        y = np.arange(60) % 2
        x = np.zeros((60, 1, 1, 1), np.uint8)
        return Dataset("null_data", {"train": Samples(x, y), "test": Samples(x, y)}, ("even", "odd"))
