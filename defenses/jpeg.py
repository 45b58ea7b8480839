"""JPEG: every image is compressed and decompressed before the learner sees it, in training and in testing.

JPEG rounds the 8x8 cosine coefficients of an image to multiples of a table that grows as `quality` falls:
    x <- decode(encode(x, quality)).
Noise that was fitted to a network, value by value, lies in the coefficients that are rounded away first; what is left
of a feature collision is what survives that. Three channels are compressed as one colour image (chroma at half the
resolution, Pillow's way), any other number as that many grey ones. Moles are natural images: nothing was added to
them, so nothing can be taken away. Expect no effect on them: there this is a negative control.

Measured on photo patches, EfficientNet-Lite0, the poisons' feature norm as a share of clean images' and the accuracy
of a head on 120 clean labels: 0.004 and 0.65 without, 0.38 and 0.64 at quality 75, 0.44 and 0.62 at 50,
0.66 and 0.38 at 10.

Adaptive attack: perturb in expectation over transforms, JPEG among them (Athalye et al., ICML 2018, arXiv:1707.07397).
Deviations: Liu et al. compress training images only, to quality 10; here the test images too, as a learner's own reader
would, and quality is higher, for patches of 32x32 do not stand 10.

Reference: Liu, Zhao, Larson, "Image Shortcut Squeezing: Countering Perturbative Availability Poisons with Compression",
ICML 2023, arXiv:2301.13838; of adversarial images, Dziugaite, Ghahramani, Roy, "A study of the effect of JPG
compression on adversarial images", 2016, arXiv:1608.00853.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from molebench.cards import defense
from molebench.errors import MolebenchError
from molebench.hooks import View
from molebench.squeezing import compressed
from molebench.types import IMAGE, Array

Quality = Annotated[int, Ge(1), Le(95)]


@defense(
    paper="Liu, Zhao and Larson, ICML 2023, arXiv:2301.13838",
    scenarios=("active", "offline", "continual"),
    cost="0.16 ms an image of 32x32, and a second extraction",
)
@dataclass(frozen=True)
class Jpeg:
    """quality: of the compression as Pillow counts it; 75 is its own default, 95 nearly lossless."""

    quality: Quality = 50

    def transform(self, view: View, rng: np.random.Generator) -> Array:
        """The same images, compressed and read again."""
        del rng
        if view.x.dtype != IMAGE.dtype or view.x.ndim != 4:
            raise MolebenchError(
                f"defense jpeg compresses images, uint8 [n, h, w, c]; it was given {view.x.dtype} "
                f"{list(view.x.shape)}: for sounds try bit_depth"
            )
        return compressed(view.x, self.quality)
