"""Updates tried many at once on a graphics processor: what trying them one by one would find, sooner."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from molebench.offline_learners import update_of
from molebench.rng import torch_stream
from molebench.scenarios.trained import BATCH, Trained, device_of, tensors
from molebench.types import Array, Samples
from molebench.updates import Update, order_of
from molebench.variants import train_together

AT_ONCE = 10  # copies of a ResNet-18 with batches of 512 fit a card of 16 GB


@dataclass(frozen=True, eq=False)
class Together:
    """Predictions after each of some updates, by number; asked for one, it also finds the next few of its size."""

    victim: Trained
    pool: Samples
    images: UInt8[Tensor, "m h w c"]
    updates: Sequence[Update]
    seed: int
    at_once: int = AT_ONCE
    found: dict[int, Array] = field(default_factory=dict)

    def predicted(self, number: int) -> Int[Array, " m"]:
        """The class of each test image after this update."""
        if number not in self.found:
            self.find(self.like(number))
        return self.found.pop(number)

    def like(self, number: int) -> list[int]:
        """This update and those after it that are as large, as many as go at once."""
        size = len(self.updates[number])
        return [i for i in range(number, len(self.updates)) if len(self.updates[i]) == size][: self.at_once]

    def find(self, numbers: Sequence[int]) -> None:
        """Trains and asks one copy for each of these updates."""
        chosen = [self.updates[i] for i in numbers]
        device = device_of(self.victim.network)
        x, y = zip(*(tensors(self.pool[u.index], device) for u in chosen), strict=True)
        rngs = [torch_stream(self.seed, "update order", *order_of(u)) for u in chosen]
        copies = train_together(
            self.victim.network, torch.stack(x), torch.stack(y), update_of(self.victim.recipe), rngs
        )
        predicted = copies.predict(self.images, BATCH).cpu().numpy()
        self.found.update(zip(numbers, predicted, strict=True))
