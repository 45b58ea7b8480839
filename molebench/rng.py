"""Named, independent random streams: nothing here or above touches a global generator.

A stream is a generator seeded by blake2b over (seed, name, labels). Two names never share draws, so a
new draw in one place changes nothing in another, and arms that must be paired (victim initialisation,
batch order) use the same name whatever the attack or the defense.
"""

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def digest(seed: int, name: str, *labels: int | str) -> bytes:
    """32 bytes that depend on every part; ('a', 'bc') and ('ab', 'c') differ."""
    return hashlib.blake2b(json.dumps([seed, name, *labels]).encode(), digest_size=32).digest()


def stream(seed: int, name: str, *labels: int | str) -> np.random.Generator:
    """The NumPy generator of this name."""
    return np.random.default_rng(int.from_bytes(digest(seed, name, *labels), "big"))


def torch_stream(seed: int, name: str, *labels: int | str) -> "torch.Generator":
    """The PyTorch (CPU) generator of this name."""
    import torch

    word = int.from_bytes(digest(seed, name, *labels)[:8], "big") >> 1
    return torch.Generator().manual_seed(word)


def drawing_on(device: "torch.device", rng: "torch.Generator") -> "torch.Generator":
    """A generator that draws on a graphics processor, seeded by the next draw of one that cannot; elsewhere itself."""
    import torch

    if device.type != "cuda" or rng.device.type == "cuda":
        return rng
    return torch.Generator(device).manual_seed(int(torch.randint(2**62, (1,), generator=rng)))
