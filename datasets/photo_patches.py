"""Which of ten photographs is a patch from? The colour photographs that scikit-image and scikit-learn carry.

Each photograph is cut into squares of `crop` pixels that do not overlap, so no pixel is shared between two
patches, whatever split they land in; nearly flat squares (standard deviation below `flat`) are dropped, and
the rest is enlarged to 32x32. Classes are balanced by what the smallest photograph gives.
"""

import hashlib
import importlib.resources
from dataclasses import dataclass

import numpy as np
from PIL import Image

from molebench.cards import Count, NonNegative, dataset
from molebench.errors import MolebenchError
from molebench.images import decode
from molebench.rng import stream
from molebench.types import Array, Dataset, FileFact, Samples
from molebench.workspace import Workspace

SIZE = 32
# photograph, its class name; skimage: in scikit-image's data folder, sklearn: in scikit-learn's
PHOTOGRAPHS = {
    "astronaut": "skimage/astronaut.png",
    "cat": "skimage/chelsea.png",
    "coffee": "skimage/coffee.png",
    "galaxies": "skimage/hubble_deep_field.jpg",
    "tissue": "skimage/ihc.png",
    "motorcycle": "skimage/motorcycle_left.png",
    "retina": "skimage/retina.jpg",
    "rocket": "skimage/rocket.jpg",
    "temple": "sklearn/china.jpg",
    "flower": "sklearn/flower.jpg",
}


@dataset(
    paper="molebench; photographs as credited in scikit-image's and scikit-learn's data folders",
    licence="public domain or CC BY, per photograph",
)
@dataclass(frozen=True)
class PhotoPatches:
    """crop: side of a square in pixels, before it is enlarged to 32. flat: least standard deviation kept (0-255).
    per_class: most patches of each photograph.
    """

    crop: Count = 12
    flat: NonNegative = 5.0
    per_class: Count = 600

    def load(self, workspace: Workspace) -> Dataset:
        """One split, train: uint8 [n, 32, 32, 3], as many of each class, in random order."""
        del workspace  # the photographs come with installed packages
        patches = [squares(decode(encoded(w), w), self.crop, self.flat) for w in PHOTOGRAPHS.values()]
        count = min(self.per_class, min(len(p) for p in patches))
        if count < 10:
            raise MolebenchError(
                f"dataset photo_patches(crop={self.crop}, flat={self.flat:g}) leaves {count} patches of a photograph; "
                "10 are needed: choose a smaller crop or a lower flat"
            )
        rng = stream(0, "photo patches")
        chosen = [p[rng.permutation(len(p))[:count]] for p in patches]
        y = np.repeat(np.arange(len(chosen)), count)
        order = rng.permutation(len(y))
        x = np.concatenate([enlarged(p) for p in chosen])
        files = {w: FileFact(hashlib.sha256(data := encoded(w)).hexdigest(), len(data)) for w in PHOTOGRAPHS.values()}
        return Dataset("photo_patches", {"train": Samples(x[order], y[order])}, tuple(PHOTOGRAPHS), files=files)


def encoded(where: str) -> bytes:
    """The file of a photograph, from the package that carries it."""
    package, name = where.split("/")
    folder = {"skimage": "skimage.data", "sklearn": "sklearn.datasets.images"}[package]
    return (importlib.resources.files(folder) / name).read_bytes()


def squares(image: Array, crop: int, flat: float) -> Array:
    """Every whole square of side `crop` on a grid from the top left corner whose standard deviation is enough."""
    h, w = (side // crop for side in image.shape[:2])
    grid = image[: h * crop, : w * crop].reshape(h, crop, w, crop, 3).swapaxes(1, 2).reshape(h * w, crop, crop, 3)
    return grid[grid.astype(np.float32).std(axis=(1, 2)).mean(axis=1) >= flat]


def enlarged(patches: Array) -> Array:
    """Patches at 32x32 (bicubic)."""
    resized = [Image.fromarray(p).resize((SIZE, SIZE), Image.Resampling.BICUBIC) for p in patches]
    return np.stack([np.asarray(p) for p in resized])
