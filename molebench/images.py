"""Image files to arrays: one decoder for every dataset that is made of them, and errors that name the file."""

import io
from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image, UnidentifiedImageError

from molebench.errors import MolebenchError
from molebench.types import Array


def decode(data: bytes, name: str, size: tuple[int, int] | None = None, mode: str = "RGB") -> Array:
    """The pixels of an encoded image, uint8 [h, w, c]; resized (Lanczos) only where `size` (w, h) differs."""
    try:
        with Image.open(io.BytesIO(data)) as file:
            image = file.convert(mode)
            if size and image.size != size:
                image = image.resize(size, Image.Resampling.LANCZOS)
            pixels = np.asarray(image, dtype=np.uint8)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MolebenchError(f"{name} is not a readable image ({type(error).__name__}); mend or remove it") from error
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def stacked(images: Iterable[Array], names: Callable[[int], str]) -> Array:
    """One uint8 array [n, h, w, c] of images that must share a size; the first that differs is named."""
    found = list(images)
    for i, image in enumerate(found):
        if image.shape != found[0].shape:
            raise MolebenchError(
                f"{names(i)} is {image.shape[1]}x{image.shape[0]}, the first image {found[0].shape[1]}x"
                f"{found[0].shape[0]}; give all one size with --set dataset.size=32"
            )
    return np.stack(found)
