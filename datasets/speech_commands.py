"""Speech Commands v0.02: 38 546 recordings of ten spoken commands by thousands of people, 16 kHz, a second each.

Reads the official archive, speech_commands_v0.02.tar.gz, front to back: in MOLEBENCH_DATA, or downloaded once (2.4 GB).
Of its 35 words only the ten core commands are read. The test split is the archive's testing_list.txt; train is the
rest, so the clips of validation_list.txt join it: the active scenario takes its own test sets from train. No speaker is
in both. The clips are 1 s or less; by default 0.975 s are kept, which is one patch of YAMNet, where 1 s makes two of
them at twice the cost, the second nearly empty.
Source: Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", 2018, arXiv:1804.03209.
"""

import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from molebench import sounds
from molebench.cards import dataset
from molebench.errors import MolebenchError
from molebench.originals import Original, converted
from molebench.progress import Progress
from molebench.sources import Url
from molebench.types import AUDIO, Array, Dataset, Samples
from molebench.workspace import Workspace

BIBTEX = """
@article{warden2018speech,
  title = {Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition},
  author = {Warden, Pete},
  journal = {arXiv preprint arXiv:1804.03209}, year = {2018}
}
"""

FILE = "speech_commands_v0.02.tar.gz"
SHA256 = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
SIZE = 2_428_923_189  # bytes
URLS = (
    f"https://storage.googleapis.com/download.tensorflow.org/data/{FILE}",
    f"http://download.tensorflow.org/data/{FILE}",
)
HINT = f"Put {FILE} into MOLEBENCH_DATA, or use spoken_commands or fsdd"
CLASSES = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
CLIPS = 38_546  # of the ten words
LIST = "testing_list.txt"


@dataset(
    paper="Warden 2018, arXiv:1804.03209",
    licence="CC BY 4.0",
    needs=(FILE,),
    modality="audio",
    cost="minutes to read, once, with 4 GB of memory; 1.2 GB in the cache beside the archive's 2.4 GB",
)
@dataclass(frozen=True)
class SpeechCommands:
    """seconds: how much of a clip is kept; 0.975 is one patch of YAMNet. Shorter clips get silence appended."""

    seconds: Annotated[float, Ge(0.01), Le(1)] = 0.975

    @staticmethod
    def originals() -> tuple[Original, ...]:
        """The published archive."""
        sources = tuple(Url(url, f"sha256:{SHA256}") for url in URLS)
        return (Original("speech_commands", (FILE,), (SHA256,), SIZE, sources, HINT),)

    def load(self, workspace: Workspace) -> Dataset:
        """Splits train (34 472) and test (4 074), PCM16 [n, 16 000 seconds]."""
        (archive,) = self.originals()
        samples = sounds.count(self.seconds)
        tag = f"speech_commands-{SHA256[:16]}-{samples}"
        arrays = converted(tag, lambda: read(archive.get(workspace), samples, workspace.progress), workspace)
        # popped, so that no split is in memory twice for longer than it takes to freeze it
        splits = {s: Samples(arrays.pop(f"{s}.x"), arrays.pop(f"{s}.y")) for s in ("train", "test")}
        return Dataset("speech_commands", splits, CLASSES, AUDIO, {FILE: archive.fact})


def read(path: Path, samples: int, progress: Progress) -> dict[str, Array]:
    """Every clip of the ten words by split, in order of word and file name."""
    listed: list[str] = []
    found = sounds.read(clips(path, listed), CLIPS, samples, progress, "dataset speech_commands")
    if not listed:
        raise MolebenchError(f"{path.name} has no {LIST}; {HINT}")
    words = np.array([CLASSES.index(PurePosixPath(name).parent.name) for name in found.names])
    test = np.isin(np.array(found.names), listed)
    order = np.lexsort((np.array(found.names), words))
    arrays = {}
    for split, chosen in (("train", order[~test[order]]), ("test", order[test[order]])):
        if missing := [word for i, word in enumerate(CLASSES) if i not in words[chosen]]:
            raise MolebenchError(f"{path.name} has no clip of {', '.join(missing)} for {split}; {HINT}")
        arrays[f"{split}.x"], arrays[f"{split}.y"] = found.x[chosen], words[chosen]
    return arrays


def clips(path: Path, listed: list[str]) -> Iterator[tuple[str, bytes]]:
    """Name (word/file.wav) and content of each clip of the ten words; the names of the test split go into `listed`."""
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                place = PurePosixPath(member.name)
                if not (file := archive.extractfile(member)):
                    continue
                if place.name == LIST:
                    listed += file.read().decode("utf-8", "replace").split()
                elif place.parent.name in CLASSES and place.suffix == ".wav":
                    yield f"{place.parent.name}/{place.name}", file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise MolebenchError(f"{path.name} is not a whole tar.gz archive ({error}); fetch it again") from error
