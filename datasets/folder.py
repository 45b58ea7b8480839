"""Your own images or sounds: a folder of class/file, or of train/class/file and test/class/file.

Which files are read, and in which order, says molebench/trees.py. A tree without train and test is split here: a
share of each class, at least one file of it and never all. Images become RGB; a GIF gives its first frame. Sounds, WAV
or FLAC of any rate, become 16 kHz mono and one length: cut at the end, or with silence appended.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath

import numpy as np
from jaxtyping import Bool, Int, UInt8

from molebench import sounds
from molebench.cards import ANY, Count, Path, Share, Whole, dataset
from molebench.errors import MolebenchError
from molebench.images import decode, stacked
from molebench.originals import converted
from molebench.progress import Progress
from molebench.rng import stream
from molebench.sounds import Seconds, count
from molebench.splits import held_out
from molebench.stages import key
from molebench.trees import Tree, labels, ordered, survey
from molebench.types import AUDIO, IMAGE, Array, Dataset, Samples
from molebench.workspace import Workspace

SECONDS = 0.975  # one patch of YAMNet
FOREIGN = {"images": "seconds", "sounds": "size"}  # the parameter that only the other kind has


@dataset(
    paper="yours",
    licence="yours",
    modality=ANY,
    needs=("a folder of images or of sounds, named with --set dataset.path=...",),
)
@dataclass(frozen=True)
class Folder:
    """path: the folder. size: every image is resized to size x size; without it they must share one size.
    seconds: the length of every sound; without it 0.975, one patch of YAMNet. test: share of each class held out, where
    the folder has no train and test. split_seed: which files those are.
    """

    path: Path
    size: Count | None = None
    seconds: Seconds | None = None
    test: Share = 0.2
    split_seed: Whole = 0

    def load(self, workspace: Workspace) -> Dataset:
        """Splits train and test, uint8 [n, h, w, 3] or PCM16 [n, t]; the folder's name and digest, never its place."""
        root = FilePath(self.path).expanduser().resolve()
        trees, classes, kind, fact = survey(root, self.path)
        self.check(root.name, kind, len(trees))
        files = {f.relative_to(root).as_posix(): f for tree in trees.values() for f in ordered(tree)}
        tag = key([fact.sha256, list(files), kind, self.size, self.seconds])[:16]
        x = converted(f"folder-{tag}", lambda: {"x": self.inputs(kind, files, workspace.progress)}, workspace)["x"]
        y = np.concatenate([labels(tree) for tree in trees.values()])
        test = self.test_mask(trees, y)
        splits = {"train": Samples(x[~test], y[~test]), "test": Samples(x[test], y[test])}
        return Dataset("folder", splits, classes, AUDIO if kind == "sounds" else IMAGE, {root.name: fact})

    def check(self, folder: str, kind: str, trees: int) -> None:
        """Refuses parameters that this folder has no use for, or that leave no test split."""
        if trees == 1 and not self.test:
            raise MolebenchError("dataset folder: test = 0, but the folder has no train and test; set 0 < test < 1")
        foreign = FOREIGN[kind]
        if getattr(self, foreign) is not None:  # ignored, it would make two cells of one experiment
            raise MolebenchError(
                f"dataset folder: {folder} has {kind}, which have no parameter {foreign}; leave dataset.{foreign} out"
            )

    def inputs(self, kind: str, files: Mapping[str, FilePath], progress: Progress) -> Array:
        """The pixels or the samples of files by name, in order."""
        if kind == "images":
            return images(files, self.size, progress)
        content = ((name, file.read_bytes()) for name, file in files.items())
        return sounds.read(content, len(files), count(self.seconds or SECONDS), progress, "dataset folder").x

    def test_mask(self, trees: Mapping[str, Tree], y: Int[Array, " n"]) -> Bool[Array, " n"]:
        """Which samples are the test split: the folder's own, or a stratified share."""
        if len(trees) == 1:
            return held_out(y, self.test, stream(self.split_seed, "folder split"))
        return np.arange(len(y)) >= len(ordered(trees["train"]))


def images(files: Mapping[str, FilePath], size: int | None, progress: Progress) -> UInt8[Array, "n h w 3"]:
    """The image of each file, resized where a size is given."""
    read = []
    with progress("reading images", len(files)) as advance:
        for name, file in files.items():
            read.append(decode(file.read_bytes(), name, size=(size, size) if size else None))
            advance(1)
    return stacked(read, list(files).__getitem__)
