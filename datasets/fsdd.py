"""Free Spoken Digit Dataset: 3 000 recordings of ten English digits by six speakers, at 8 kHz, resampled to 16 kHz.

Reads fsdd.zip in MOLEBENCH_DATA: the files <digit>_<speaker>_<take>.wav, at any depth in the zip. The split is the
dataset's own (takes 0 to 4 of each digit and speaker are the test split), or one speaker's recordings are.
Classes are named as in `digits` and in the files, 0 to 9: the shortest to type, and a name is its own index.
Source: Jackson et al., "Free Spoken Digit Dataset", github.com/Jakobovski/free-spoken-digit-dataset, 2018.
"""

import re
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool

from molebench import sounds
from molebench.cards import dataset
from molebench.errors import MolebenchError, unknown
from molebench.originals import converted
from molebench.progress import Progress
from molebench.types import AUDIO, Array, Dataset, Samples
from molebench.workspace import Workspace, file_fact

BIBTEX = """
@misc{jackson2018fsdd,
  title = {Jakobovski/free-spoken-digit-dataset: v1.0.8},
  author = {Jackson, Zohar and Souza, C{\\'e}sar and Flaks, Jason and Pan, Yuxin and Nicolas, Hereman and
            Thite, Adhish},
  howpublished = {Zenodo}, doi = {10.5281/zenodo.1342401}, year = {2018}
}
"""

FILE = "fsdd.zip"
HINT = (
    "it is the recordings of github.com/Jakobovski/free-spoken-digit-dataset as a zip of <digit>_<speaker>_<take>.wav "
    "(GitHub's own zip of the repository, renamed, will do)"
)
CLASSES = tuple("0123456789")
TEST_TAKES = 5  # the first of each digit and speaker


class Recording(NamedTuple):
    """Who said what, the how manieth time: what a file's name says, in the order in which samples come."""

    digit: int
    speaker: str
    take: int


@dataset(
    paper="Jackson et al. 2018, doi:10.5281/zenodo.1342401", licence="CC BY-SA 4.0", needs=(FILE,), modality="audio"
)
@dataclass(frozen=True)
class FSDD:
    """split: recording, the dataset's own (takes 0 to 4 are the test split); or speaker, one speaker held out.
    speaker: who is held out with split=speaker. seconds: length of a clip; 0.975 is one patch of YAMNet, and cuts
    25 of the 3 000 recordings, silence is appended to the others.
    """

    split: Literal["recording", "speaker"] = "recording"
    speaker: str = "yweweler"
    seconds: sounds.Seconds = 0.975

    def load(self, workspace: Workspace) -> Dataset:
        """Splits train (2 700; by speaker 2 500) and test (300; 500), PCM16 [n, 16 000 seconds]."""
        path = workspace.file(FILE, HINT)
        fact = file_fact(path)
        samples = sounds.count(self.seconds)
        tag = f"fsdd-{fact.sha256[:16]}-{samples}"
        arrays = converted(tag, lambda: read(path, samples, workspace.progress), workspace)
        test = self.test_mask(arrays)
        splits = {s: Samples(arrays["x"][m], arrays["digit"][m]) for s, m in (("train", ~test), ("test", test))}
        for name, part in splits.items():
            check_digits(part, name, self.split)
        return Dataset("fsdd", splits, CLASSES, AUDIO, {FILE: fact})

    def test_mask(self, arrays: dict[str, Array]) -> Bool[Array, " n"]:
        """Which recordings are the test split."""
        if self.split == "recording":
            return arrays["take"] < TEST_TAKES
        if self.speaker not in (speakers := arrays["speakers"].tobytes().decode().split("\n")):
            raise unknown("speaker in dataset fsdd", self.speaker, speakers)
        return arrays["speaker"] == speakers.index(self.speaker)


def check_digits(part: Samples, name: str, split: str) -> None:
    """Refuses a split in which a digit is missing."""
    if missing := [c for i, c in enumerate(CLASSES) if i not in part.y]:
        raise MolebenchError(
            f"{FILE}: with split={split}, {name} has no recording of {', '.join(missing)}; replace it: {HINT}"
        )


def read(path: Path, samples: int, progress: Progress) -> dict[str, Array]:
    """Every recording of the zip, with what its name says. speakers: their names, one a line, as UTF-8."""
    try:
        with zipfile.ZipFile(path) as archive:
            there = recordings(archive.namelist())
            files = ((PurePosixPath(name).name, archive.read(name)) for name in there.values())
            x = sounds.read(files, len(there), samples, progress, "dataset fsdd").x
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise MolebenchError(f"{path.name} is not a whole zip file ({error}); fetch it again") from error
    speakers = sorted({r.speaker for r in there})
    return {
        "x": x,
        "digit": np.array([r.digit for r in there]),
        "take": np.array([r.take for r in there]),
        "speaker": np.array([speakers.index(r.speaker) for r in there]),
        "speakers": np.frombuffer("\n".join(speakers).encode(), np.uint8),
    }


def recordings(names: Iterable[str]) -> dict[Recording, str]:
    """The recordings among the files of a zip, by digit, speaker and take, each with its place there."""
    found: dict[Recording, str] = {}
    for name in names:
        if said := re.fullmatch(r"([0-9])_([^._]+)_([0-9]+)\.wav", PurePosixPath(name).name):
            one = Recording(int(said[1]), said[2], int(said[3]))
            if one in found:
                raise MolebenchError(f"{FILE} has {PurePosixPath(name).name} twice, in {found[one]} and {name}")
            found[one] = name
    if not found:
        raise MolebenchError(f"{FILE} has no <digit>_<speaker>_<take>.wav; {HINT}")
    return dict(sorted(found.items()))
