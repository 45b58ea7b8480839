"""A stand-in for a graphics processor where there is none: PyTorch's device `meta`, whose tensors hold no numbers.

Reading one (`.item()`, `.cpu()`, `.numpy()`, `if tensor`, a mask as an index) raises; gradients work. `nothing_else`
also raises where an operation takes or makes a tensor of the processor's: a copy that a card would have to wait for. Of
a single number it does not: a card is told those with the operation.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CARD = torch.device("meta")


class Elsewhere(AssertionError):
    """A tensor that does not lie on the card."""


class Watching(TorchDispatchMode):
    """Raises where an operation takes or makes a tensor that lies elsewhere."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for each in tree_leaves((args, kwargs, found)):
            if isinstance(each, Tensor) and each.device != CARD and each.dim():
                raise Elsewhere(f"{func} has a tensor on {each.device}, of shape {list(each.shape)}")
        return found


@contextmanager
def nothing_else() -> Iterator[None]:
    """Nothing but the card's tensors within the block."""
    with Watching():
        yield
