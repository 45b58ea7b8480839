"""Squeezing: stored inputs with less detail than they had, by JPEG, by fewer bits and by a median.

What defenses take away, and what an attack that adapts to them rehearses: both by the same functions.

Reference: Xu, Evans, Qi, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", NDSS 2018,
arXiv:1704.01155.
"""

import io

import numpy as np
from jaxtyping import Int16, UInt8

from molebench.types import AUDIO, IMAGE, Array


def compressed(x: UInt8[Array, "n h w c"], quality: int) -> UInt8[Array, "n h w c"]:
    """Each image after JPEG: of three channels as a colour image, of others channel by channel."""
    if not x.size:
        return x
    if x.shape[3] == 3:
        return np.stack([reread(image, quality) for image in x])
    return np.stack([np.stack([reread(channel, quality) for channel in np.moveaxis(i, 2, 0)], axis=2) for i in x])


def reread(pixels: UInt8[Array, "h w *rgb"], quality: int) -> UInt8[Array, "h w *rgb"]:
    """One image, grey [h, w] or in colour [h, w, 3], written as JPEG into memory and read again."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.array(image)


def shallower(x: Array, bits: int) -> Array:
    """Images or sounds of so many bits a value."""
    return rounded(x, bits) if x.dtype == IMAGE.dtype else rounded_sound(x, bits)


def rounded(x: UInt8[Array, "n ..."], bits: int) -> UInt8[Array, "n ..."]:
    """Each value moved to the nearest of 2^bits levels from 0 to 255."""
    top = 2 ** min(bits, 8) - 1
    level = np.rint(np.arange(256) * (top / IMAGE.high)) * (IMAGE.high / top)
    return np.rint(level).astype(np.uint8)[x]


def rounded_sound(x: Int16[Array, "n ..."], bits: int) -> Int16[Array, "n ..."]:
    """Each value moved to the nearest multiple of 2^(16 - bits) that can be stored."""
    step = 2 ** (16 - bits)
    return np.clip(np.rint(x / step) * step, -(2**15), 2**15 - step).astype(AUDIO.dtype)


def blurred(x: Array, size: int) -> Array:
    """The median of each value's neighbourhood, size x size pixels of a channel or size samples."""
    from scipy.ndimage import median_filter

    return np.asarray(median_filter(x, size=(1, size, size, 1) if x.ndim == 4 else (1, size)))
