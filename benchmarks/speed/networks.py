"""Extractors as benchmarks compare them: timm's as it comes, folded, ours, ours in bfloat16; and images for them."""

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from molebench import registry
from molebench.collision import Extractor
from molebench.extractors import efficientnet_lite0, resnet50
from molebench.nets import FrozenExtractor, folded
from molebench.types import Array
from molebench.workspace import Workspace

NETWORKS: Mapping[str, Any] = {"resnet50": resnet50, "efficientnet_lite0": efficientnet_lite0}


class Rough(nn.Module):
    """An extractor with weights and maps in bfloat16."""

    def __init__(self, extractor: FrozenExtractor) -> None:
        super().__init__()
        self.inner = copy.deepcopy(extractor)
        self.inner.body.to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.inner.body(self.inner.normalised(x).bfloat16())
        return features.float()


@cache
def published(name: str) -> nn.Module:
    """timm's network with the published weights, as it comes."""
    network: nn.Module = NETWORKS[name].network()
    given: nn.Module = NETWORKS[name].RECIPE.get("imagenet", network, Workspace.from_environment()).into(network)
    return given.eval()


@cache
def ours(name: str) -> FrozenExtractor:
    """What molebench loads."""
    plugin = registry.find("extractors", name)
    extractor: FrozenExtractor = plugin.build(plugin.resolve({}, "small")).load(Workspace.from_environment())[0]
    return extractor


def wrapped(name: str, body: nn.Module) -> FrozenExtractor:
    """Another network of the same weights as an extractor."""
    extractor = copy.deepcopy(ours(name))
    extractor.body = body.requires_grad_(False)
    return extractor


def variants(name: str) -> dict[str, Extractor]:
    """The network in the ways that are compared."""
    quicker = folded(copy.deepcopy(published(name))).to(memory_format=torch.channels_last)
    eager = wrapped(name, copy.deepcopy(published(name)))
    return {"eager": eager, "folded": wrapped(name, quicker), "ours": ours(name), "bfloat16": Rough(ours(name))}


def stored(n: int, side: int) -> UInt8[Array, "n h w 3"]:
    """Pixels of no picture: how long a step takes does not depend on them."""
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def images(n: int, side: int) -> Tensor:
    """The same as numbers."""
    return torch.from_numpy(stored(n, side).astype(np.float32))
