"""Part of an update: weights between those before it and those after it."""

import copy

import torch
from torch import nn


def blended(before: nn.Module, after: nn.Module, share: float) -> nn.Module:
    """A network with new = (1 - share) before + share after; counters, which are whole numbers, are the new ones."""
    if share in (0.0, 1.0):
        return after if share else before
    found, old = copy.deepcopy(after), before.state_dict()
    with torch.no_grad():
        for name, value in found.state_dict().items():
            if value.is_floating_point():
                value.mul_(share).add_(old[name], alpha=1.0 - share)
    return found
