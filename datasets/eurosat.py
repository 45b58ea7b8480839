"""EuroSAT, 27 000 satellite images of 64x64 in 10 kinds of land use, red, green and blue of Sentinel-2.

Reads EuroSAT.zip, laid out as 2750/Class/Class_number.jpg: in MOLEBENCH_DATA, or downloaded once (94 MB). It has no
test split of its own; a fifth of each class is held out here, always the same one.
Source: Helber, Bischke, Dengel, Borth, "EuroSAT: A Novel Dataset and Deep Learning Benchmark for Land Use and Land
Cover Classification", IEEE JSTARS 2019, arXiv:1709.00029.
"""

import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from molebench.cards import dataset
from molebench.errors import MolebenchError
from molebench.images import decode, stacked
from molebench.originals import Original, converted
from molebench.progress import Progress
from molebench.rng import stream
from molebench.sources import Url
from molebench.splits import held_out
from molebench.types import Array, Dataset, Samples
from molebench.workspace import Workspace

BIBTEX = """
@article{helber2019eurosat,
  title = {{EuroSAT}: A Novel Dataset and Deep Learning Benchmark for Land Use and Land Cover Classification},
  author = {Helber, Patrick and Bischke, Benjamin and Dengel, Andreas and Borth, Damian},
  journal = {IEEE Journal of Selected Topics in Applied Earth Observations and Remote Sensing},
  volume = {12}, number = {7}, pages = {2217--2226}, year = {2019}
}
"""

FILE = "EuroSAT.zip"
SHA256 = "8ebea626349354c5328b142b96d0430e647051f26efc2dc974c843f25ecf70bd"
SIZE = 94_280_567  # bytes
URLS = (
    f"https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/{FILE}",
    f"https://madm.dfki.de/files/sentinel/{FILE}",
)
HINT = f"Put {FILE} (2750/<class>/<image>.jpg, not the one of all bands) into MOLEBENCH_DATA"
FOLDERS = {
    "annual_crop": "AnnualCrop",
    "forest": "Forest",
    "herbaceous_vegetation": "HerbaceousVegetation",
    "highway": "Highway",
    "industrial": "Industrial",
    "pasture": "Pasture",
    "permanent_crop": "PermanentCrop",
    "residential": "Residential",
    "river": "River",
    "sea_lake": "SeaLake",
}
CLASSES = tuple(FOLDERS)
TEST = 0.2


@dataset(paper="Helber et al., IEEE JSTARS 2019, arXiv:1709.00029", licence="MIT", needs=(FILE,))
@dataclass(frozen=True)
class EuroSAT:
    """No parameters."""

    @staticmethod
    def originals() -> tuple[Original, ...]:
        """The published archive."""
        sources = tuple(Url(url, f"sha256:{SHA256}") for url in URLS)
        return (Original("eurosat", (FILE,), (SHA256,), SIZE, sources, HINT),)

    def load(self, workspace: Workspace) -> Dataset:
        """Splits train (21 600) and test (5 400), uint8 [n, 64, 64, 3]."""
        (archive,) = self.originals()
        tag = f"eurosat-{SHA256[:16]}"
        arrays = converted(tag, lambda: read(archive.get(workspace), workspace.progress), workspace)
        test = held_out(arrays["y"], TEST, stream(0, "eurosat split"))
        splits = {s: Samples(arrays["x"][m], arrays["y"][m]) for s, m in (("train", ~test), ("test", test))}
        return Dataset("eurosat", splits, CLASSES, files={FILE: archive.fact})


def read(path: Path, progress: Progress) -> dict[str, Array]:
    """Every image of the zip, in order of class and number."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [sorted(inside(archive, folder), key=number) for folder in FOLDERS.values()]
            x = stacked(decoded(archive, flat := [n for some in names for n in some], progress), flat.__getitem__)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise MolebenchError(f"{path.name} is not a whole zip file ({error}); fetch it again") from error
    return {"x": x, "y": np.repeat(np.arange(len(FOLDERS)), [len(some) for some in names])}


def inside(archive: zipfile.ZipFile, folder: str) -> list[str]:
    """The images of one class, wherever its folder is."""
    paths = ((name, PurePosixPath(name)) for name in archive.namelist())
    found = [name for name, path in paths if path.parent.name == folder and path.suffix == ".jpg"]
    if len(found) < 2:  # one for each split
        raise MolebenchError(f"{FILE} has {len(found)} of {folder}/*.jpg, needed 2 or more; {HINT}")
    return found


def number(name: str) -> int:
    """The number in an image's name: Forest_12.jpg is 12."""
    return int("".join(re.findall(r"[0-9]", PurePosixPath(name).stem)) or 0)


def decoded(archive: zipfile.ZipFile, names: Sequence[str], progress: Progress) -> list[Array]:
    """The pixels of these images."""
    images = []
    with progress("reading images", len(names)) as advance:
        for name in names:
            images.append(decode(archive.read(name), name, size=(64, 64)))
            advance(1)
    return images
