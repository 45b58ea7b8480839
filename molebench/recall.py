"""What a frozen teacher said of an image, remembered.

Where a task's images are neither cropped nor flipped, a frozen teacher says the same of an image in every epoch. It is
asked when the image first comes up: of E epochs of distillation, E - 1 cost no pass of it. On a graphics processor it
is asked every time: a pass of it costs less than to fetch the image, by which what it said would be found.
"""

from collections.abc import Callable
from hashlib import blake2b

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from molebench.continual_learners import Curriculum, Lesson

Teaching = Callable[[UInt8[Tensor, "n h w c"]], Float[Tensor, "n d"]]


class Recalling:
    """What is asked of a teacher, row by row, remembered by the bytes of the image."""

    def __init__(self, ask: Teaching) -> None:
        self.ask = ask
        self.said: dict[bytes, Tensor] = {}

    def __call__(self, x: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n d"]:
        """As the teacher, up to the order in which floats are added; no gradients."""
        names = [blake2b(image.tobytes(), digest_size=16).digest() for image in x.cpu().numpy()]
        if new := [i for i, name in enumerate(names) if name not in self.said]:
            with torch.no_grad():
                self.said.update(zip((names[i] for i in new), self.ask(x[new]), strict=True))
        return torch.stack([self.said[name] for name in names])


def recalled(ask: Teaching, training: Curriculum, lesson: Lesson) -> Teaching:
    """A teacher that remembers, where a task's images come back as they were."""
    changing = training.recipe(lesson.number, lesson.shape).augment
    return Recalling(ask) if lesson.x.is_cpu and not changing else ask
