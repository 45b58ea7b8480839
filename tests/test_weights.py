"""Weights: fetched once, converted once, named by what is in them; and every way in which a file can be bad."""

import io
import json
import pickle
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from molebench.errors import MolebenchError
from molebench.extractors import efficientnet_lite0, resnet50
from molebench.extractors.efficientnet_lite0 import EfficientNetLite0
from molebench.extractors.resnet50 import ResNet50
from molebench.progress import Progress, silent
from molebench.sources import SourceFailed
from molebench.weights import Recipe, State, Unreadable
from molebench.workspace import Workspace

RECIPES = {"resnet50": resnet50.RECIPE, "efficientnet_lite0": efficientnet_lite0.RECIPE}


@cache
def network(name: str) -> nn.Module:
    """An extractor's network, made once; nothing here writes into it."""
    return {"resnet50": resnet50.network, "efficientnet_lite0": efficientnet_lite0.network}[name]()


@dataclass(frozen=True)
class Shelf:
    """A source that counts how often it is asked; without content it fails."""

    label: str
    content: bytes | None = None
    asked: list[Path] = field(default_factory=list)

    def fetch(self, target: Path, progress: Progress = silent) -> None:
        del progress
        self.asked.append(target)
        if self.content is None:
            raise SourceFailed("the shelf is empty")
        target.write_bytes(self.content)


def linear() -> nn.Module:
    """A network of three weights."""
    return nn.Linear(2, 1)


def read(path: Path) -> State:
    """A published file is three float32 numbers: two weights and a bias."""
    if len(data := path.read_bytes()) != 12:
        raise Unreadable(f"it has {len(data)} bytes, not 12")
    numbers = np.frombuffer(data, "<f4")
    return {"weight": numbers[:2].reshape(1, 2), "bias": numbers[2:]}


def three(*numbers: float) -> bytes:
    return np.array(numbers, "<f4").tobytes()


def recipe(*sources: Shelf) -> Recipe:
    return Recipe("tiny", ("old.bin", "new.bin"), sources, read, "Ask the librarian")


@pytest.fixture
def bare(tmp_path: Path) -> Workspace:
    """No data, no cache, nothing kept."""
    (tmp_path / "data").mkdir()
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store")


def kept(workspace: Workspace) -> list[str]:
    """What is in the cache, its locks left out."""
    return sorted(p.name for p in workspace.cache.rglob("*") if not p.is_dir() and p.suffix != ".lock")


def test_published_weights_are_fetched_and_converted_once(bare: Workspace) -> None:
    shelf = Shelf("the shelf", three(1, 2, 3))
    first = recipe(shelf).get("imagenet", linear(), bare)
    again = recipe(shelf).get("imagenet", linear(), replace(bare, offline=True))
    third = recipe(shelf).get("imagenet", linear(), bare)
    assert len(shelf.asked) == 1
    assert first.state["weight"].tolist() == again.state["weight"].tolist() == [[1.0, 2.0]]
    assert first.state["bias"].tolist() == again.state["bias"].tolist() == [3.0]
    assert first.sha256 == again.sha256 == third.sha256
    assert first.source == again.source == third.source == "the shelf"
    assert first.rankable
    assert again.rankable
    assert kept(bare) == ["tiny-imagenet.safetensors"]  # the published file itself is not kept


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_real_weights_are_found_in_the_cache_without_a_connection(name: str, fetched: Workspace) -> None:
    body = network(name)
    online = RECIPES[name].get("imagenet", body, fetched)
    nowhere = replace(RECIPES[name], sources=())
    offline = nowhere.get("imagenet", body, replace(fetched, data=fetched.store / "no data", offline=True))
    assert offline.sha256 == online.sha256
    assert offline.source == online.source
    assert online.rankable


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_offline_with_nothing_at_hand_one_error_names_every_source_and_the_alternatives(
    name: str, bare: Workspace
) -> None:
    with pytest.raises(MolebenchError) as error:
        RECIPES[name].get("imagenet", network(name), replace(bare, offline=True))
    said = str(error.value)
    for source in RECIPES[name].sources:
        assert f"{source.label}: not asked (offline)" in said
    assert name in said
    assert "--set extractor.weights=PATH" in said
    assert "MOLEBENCH_DATA" in said
    assert all(file in said for file in RECIPES[name].files)
    assert "\n" not in said
    assert kept(bare) == []


def test_every_source_that_fails_is_named_with_its_reason(bare: Workspace) -> None:
    shelves = Shelf("the first shelf"), Shelf("the second shelf")
    with pytest.raises(
        MolebenchError,
        match=r"the first shelf: the shelf is empty; the second shelf: the shelf is empty\. Ask the librarian",
    ):
        recipe(*shelves).get("imagenet", linear(), bare)
    assert [len(shelf.asked) for shelf in shelves] == [1, 1]
    assert kept(bare) == []


def test_the_next_source_is_asked_where_one_fails_and_the_one_that_answered_is_named(bare: Workspace) -> None:
    shelves = Shelf("empty"), Shelf("full", three(1, 2, 3)), Shelf("spare", three(4, 5, 6))
    weights = recipe(*shelves).get("imagenet", linear(), bare)
    assert weights.source == "full"
    assert weights.state["bias"].tolist() == [3.0]
    assert [len(shelf.asked) for shelf in shelves] == [1, 1, 0]


@pytest.mark.parametrize("name", ["old.bin", "new.bin"])
@pytest.mark.parametrize("offline", [True, False])
def test_a_file_in_the_data_folder_comes_before_any_download(bare: Workspace, name: str, offline: bool) -> None:
    shelf = Shelf("the shelf", three(9, 9, 9))
    (bare.data / name).write_bytes(three(1, 2, 3))
    weights = recipe(shelf).get("imagenet", linear(), replace(bare, offline=offline))
    assert weights.state["bias"].tolist() == [3.0]
    assert weights.source == f"MOLEBENCH_DATA/{name}"
    assert weights.rankable
    assert shelf.asked == []
    assert (bare.data / name).read_bytes() == three(1, 2, 3)  # the user's file stays


@pytest.mark.parametrize("name", ["mine.bin", "mine", "mine.original", "mine.safetensors"])
def test_weights_can_be_given_by_path_and_the_file_stays(bare: Workspace, tmp_path: Path, name: str) -> None:
    (mine := tmp_path / name).write_bytes(three(1, 2, 3))
    weights = recipe().get(str(mine), linear(), replace(bare, offline=True))
    assert weights.state["weight"].tolist() == [[1.0, 2.0]]
    assert weights.source == f"file {name}"
    assert weights.rankable
    assert mine.is_file()
    assert mine.read_bytes() == three(1, 2, 3)


def test_a_path_may_start_at_home(bare: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.bin").write_bytes(three(1, 2, 3))
    assert recipe().get("~/mine.bin", linear(), bare).state["bias"].tolist() == [3.0]


def test_a_file_that_changed_under_its_name_is_read_again(bare: Workspace, tmp_path: Path) -> None:
    (mine := tmp_path / "mine.bin").write_bytes(three(1, 2, 3))
    before = recipe().get(str(mine), linear(), bare)
    mine.write_bytes(three(1, 2, 4))
    after = recipe().get(str(mine), linear(), bare)
    assert after.state["bias"].tolist() == [4.0]
    assert before.sha256 != after.sha256


def test_a_path_does_not_stand_in_for_the_published_weights(bare: Workspace, tmp_path: Path) -> None:
    (mine := tmp_path / "mine.bin").write_bytes(three(1, 2, 3))
    recipe().get(str(mine), linear(), bare)
    shelf = Shelf("the shelf", three(4, 5, 6))
    assert recipe(shelf).get("imagenet", linear(), bare).state["bias"].tolist() == [6.0]


def test_the_same_weights_have_one_sha256_wherever_they_come_from(bare: Workspace, tmp_path: Path) -> None:
    (mine := tmp_path / "mine.bin").write_bytes(three(1, 2, 3))
    by_path = recipe().get(str(mine), linear(), bare)
    by_download = recipe(Shelf("the shelf", three(1, 2, 3))).get("imagenet", linear(), bare)
    other = recipe(Shelf("the shelf", three(1, 2, 4))).get("imagenet", linear(), replace(bare, cache=tmp_path / "c2"))
    assert by_path.source != by_download.source
    assert by_path.sha256 == by_download.sha256
    assert by_path.sha256 != other.sha256


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_path_to_nothing_says_so_and_what_to_give(name: str, bare: Workspace) -> None:
    with pytest.raises(MolebenchError, match=rf"{name}.*no weight file .*gone\.h5.*--set extractor\.weights=PATH"):
        RECIPES[name].get(str(bare.data / "gone.h5"), network(name), bare)


def test_a_folder_is_no_weight_file(bare: Workspace) -> None:
    with pytest.raises(MolebenchError, match="no weight file"):
        recipe().get(str(bare.data), linear(), bare)


def test_weights_that_fit_go_into_the_network(bare: Workspace) -> None:
    body = recipe(Shelf("the shelf", three(1, 2, 3))).get("imagenet", linear(), bare).into(linear())
    assert body(torch.tensor([[10.0, 100.0]])).tolist() == [[213.0]]  # 1 * 10 + 2 * 100 + 3


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (nn.Linear(2, 1, bias=False), "bias"),
        (nn.Sequential(nn.Linear(2, 1)), "0.weight|0.bias|weight|bias"),
        (nn.Linear(3, 1), "weight"),
        (nn.Linear(2, 4), "weight|bias"),
    ],
    ids=["one too many", "other names", "other inputs", "other outputs"],
)
def test_weights_that_do_not_fit_are_an_error_that_names_one(bare: Workspace, body: nn.Module, name: str) -> None:
    weights = recipe(Shelf("the shelf", three(1, 2, 3))).get("imagenet", linear(), bare)
    with pytest.raises(MolebenchError, match=rf"tiny from the shelf do not fit.*({name})"):
        weights.into(body)


def test_random_weights_come_only_when_asked_for(bare: Workspace) -> None:
    with pytest.raises(MolebenchError, match="no source has"):
        recipe(Shelf("empty")).get("imagenet", linear(), bare)
    shelf = Shelf("the shelf", three(1, 2, 3))
    weights = recipe(shelf).get("random", linear(), bare)
    assert weights.source == "random"
    assert not weights.rankable
    assert shelf.asked == []
    assert kept(bare) == []


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_random_weights_are_the_same_every_time(name: str, bare: Workspace) -> None:
    first, again = (RECIPES[name].get("random", network.__wrapped__(name), bare) for _ in range(2))  # initialised twice
    assert first.sha256 == again.sha256
    assert all(np.array_equal(first.state[k], again.state[k]) for k in first.state)


@pytest.mark.parametrize("build", [ResNet50, EfficientNetLite0])
def test_random_extractors_tell_images_apart(build: Callable[[str], Any], bare: Workspace) -> None:
    extractor, weights = build("random").load(bare)
    x = torch.randint(0, 256, (2, 32, 32, 3), generator=torch.Generator().manual_seed(0)).float()
    with torch.no_grad():
        a, b = extractor(x)
    assert not weights.rankable
    assert a.isfinite().all()
    assert (a - b).norm() > 0.01 * a.norm() > 0


@pytest.mark.parametrize("weights", ["random", "imagenet"])
@pytest.mark.parametrize("build", [ResNet50, EfficientNetLite0])
def test_loading_leaves_the_global_generators_alone(
    build: Callable[[str], Any], weights: str, fetched: Workspace
) -> None:
    before, before_numpy = torch.get_rng_state(), pickle.dumps(np.random.get_state())  # noqa: NPY002
    build(weights).load(fetched)
    assert torch.equal(torch.get_rng_state(), before)
    assert pickle.dumps(np.random.get_state()) == before_numpy  # noqa: NPY002


def test_getting_weights_leaves_the_global_generator_alone(bare: Workspace) -> None:
    body = linear()
    before = torch.get_rng_state()
    recipe().get("random", body, bare)
    recipe(Shelf("the shelf", three(1, 2, 3))).get("imagenet", body, bare).into(body)
    assert torch.equal(torch.get_rng_state(), before)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x01]) + data[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut short": cut,
    "empty": lambda data: b"",
    "another format": lambda data: b"<html>404</html>",
    "a number changed": lambda data: flipped(data, len(data) - 1),
    "a name changed": lambda data: data.replace(b'"weight"', b'"weighs"'),
    "a type changed": lambda data: data.replace(b'"F32"', b'"I32"'),
    "an unknown type": lambda data: data.replace(b'"F32"', b'"F33"'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights_in_the_cache_are_made_again(bare: Workspace, damage: str) -> None:
    shelf = Shelf("the shelf", three(1, 2, 3))
    first = recipe(shelf).get("imagenet", linear(), bare)
    file = bare.cache / "weights" / "tiny-imagenet.safetensors"
    whole = file.read_bytes()
    file.write_bytes(DAMAGES[damage](whole))
    assert file.read_bytes() != whole
    again = recipe(shelf).get("imagenet", linear(), bare)
    assert len(shelf.asked) == 2
    assert again.sha256 == first.sha256
    assert again.state.keys() == first.state.keys()
    assert recipe().get("imagenet", linear(), bare).sha256 == first.sha256  # no source is left: it is from the cache


def test_damaged_weights_of_a_file_of_the_user_s_are_made_again(bare: Workspace, tmp_path: Path) -> None:
    (mine := tmp_path / "mine.bin").write_bytes(three(1, 2, 3))
    first = recipe().get(str(mine), linear(), bare)
    (file,) = (bare.cache / "weights").glob("tiny-*.safetensors")
    file.write_bytes(cut(file.read_bytes()))
    assert recipe().get(str(mine), linear(), bare).sha256 == first.sha256


def test_two_runs_that_start_at_once_share_one_download(bare: Workspace) -> None:
    shelf = Shelf("the shelf", three(1, 2, 3))

    def run(_: int) -> str:
        return recipe(shelf).get("imagenet", linear(), bare).sha256

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(run, range(4)))) == 1
    assert len(shelf.asked) == 1
    assert kept(bare) == ["tiny-imagenet.safetensors"]


def noise(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


def shapes(blocks: Sequence[int]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """'layer/kind' and shape of every array of a ResNet with so many blocks a stage, by Keras' new names."""
    yield from pair("conv1", 7, 3, 64)
    inputs = 64
    for stage, count in enumerate(blocks):
        width = 64 * 2**stage
        for block in range(1, count + 1):
            here = f"conv{stage + 2}_block{block}"
            if block == 1:
                yield from pair(f"{here}_0", 1, inputs, 4 * width)
            yield from pair(f"{here}_1", 1, inputs, width)
            yield from pair(f"{here}_2", 3, width, width)
            yield from pair(f"{here}_3", 1, width, 4 * width)
            inputs = 4 * width


def pair(name: str, side: int, inputs: int, outputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A convolution with its bias and its batch norm."""
    yield f"{name}_conv/kernel", (side, side, inputs, outputs)
    yield f"{name}_conv/bias", (outputs,)
    for kind in ("gamma", "beta", "moving_mean", "moving_variance"):
        yield f"{name}_bn/{kind}", (outputs,)


def hdf5(entries: dict[str, tuple[int, ...]]) -> bytes:
    """A Keras weight file of ones; HDF5 stores no array that is all fill value, so it is small."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, shape in entries.items():
            layer, kind = name.split("/")
            file.create_dataset(f"{layer}/{layer}/{kind}:0", shape, "f4", fillvalue=1.0)
    return buffer.getvalue()


def resnet(*blocks: int) -> bytes:
    """A ResNet-50 has 3, 4, 6, 3 blocks; a ResNet-101 has all of its arrays and more."""
    return hdf5(dict(shapes(blocks)))


def vgg() -> bytes:
    return hdf5({"block1_conv1/kernel": (3, 3, 3, 64), "block1_conv1/bias": (64,), "fc2/kernel": (8, 8)})


def slim() -> bytes:
    """A ResNet-50 by its names and a sixteenth as wide."""
    return hdf5({name: tuple(-(-side // 16) for side in shape) for name, shape in shapes((3, 4, 6, 3))})


def flat() -> bytes:
    """A ResNet-50 by its names, with vectors for kernels."""
    return hdf5({name: shape[-1:] for name, shape in shapes((3, 4, 6, 3))})


def nested() -> bytes:
    """Arrays where a layer should be a group of groups."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["conv1_conv"] = np.ones(3)
    return buffer.getvalue()


def wordy() -> bytes:
    """A text where a kernel should be."""
    buffer = io.BytesIO(resnet(3, 4, 6, 3))
    with h5py.File(buffer, "a") as file:
        del file["conv1_conv/conv1_conv/kernel:0"]
        file["conv1_conv/conv1_conv/kernel:0"] = "text"
    return buffer.getvalue()


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def tfjs(manifest: object, shard: bytes = b"") -> bytes:
    """A TensorFlow.js package as npm's, with this model.json and one shard."""
    return archive({"ResNet50/model.json": json.dumps(manifest).encode(), "ResNet50/shard1": shard})


def manifest(**changes: object) -> dict[str, object]:
    weights = [{"name": "dense/kernel", "shape": [2, 2], "dtype": "float32"}]
    topology = {"layers": [{"config": {"epsilon": 0.001}}]}
    return {"weightsManifest": [{"paths": ["shard1"], "weights": weights}], "modelTopology": topology} | changes


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in manifest().items() if key != name}


BAD_RESNETS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "random bytes": lambda: noise(1000),
    "a page of the web": lambda: b"<html>404</html>",
    "random bytes after gzip's mark": lambda: b"\x1f\x8b\x08\x00" + noise(1000),
    "random bytes after HDF5's mark": lambda: b"\x89HDF\r\n\x1a\n" + noise(1000),
    "another package": lambda: archive({"package.json": b"{}", "index.js": b""}),
    "a package of another network": lambda: tfjs(manifest(), three(1, 2, 3, 4)),
    "a shard too short": lambda: tfjs(manifest(), three(1, 2)),
    "a shard missing": lambda: tfjs(manifest(weightsManifest=[{"paths": ["shard9"], "weights": []}])),
    "a manifest without weights": lambda: tfjs(without("weightsManifest")),
    "a manifest without a topology": lambda: tfjs(without("modelTopology"), three(1, 2, 3, 4)),
    "a manifest of another make": lambda: tfjs([1, 2, 3]),
    "a model.json that is no JSON": lambda: archive({"ResNet50/model.json": b"{"}),
    "two epsilons": lambda: tfjs(manifest(modelTopology=[{"epsilon": 1e-3}, {"epsilon": 1e-5}]), three(1, 2, 3, 4)),
    "HDF5 cut short": lambda: cut(resnet(3, 4, 6, 3)),
    "HDF5 less its last bytes": lambda: resnet(3, 4, 6, 3)[:-100],
    "HDF5 of VGG": vgg,
    "HDF5 without arrays": lambda: hdf5({}),
    "HDF5 with an array for a layer": nested,
    "HDF5 of ResNet-101": lambda: resnet(3, 4, 23, 3),
    "HDF5 of a slimmer ResNet-50": slim,
    "HDF5 with flat kernels": flat,
    "HDF5 with a text for a kernel": wordy,
}


DAMAGED_TARBALLS: dict[str, Callable[[bytes], bytes]] = {
    "cut short": cut,
    "a byte changed": lambda data: flipped(data, len(data) // 2),
    "bytes overwritten": lambda data: data[:20_000] + b"\xff" * 2000 + data[22_000:],
}


@pytest.mark.parametrize("damage", DAMAGED_TARBALLS)
def test_a_tarball_whose_arrays_are_damaged_is_refused(tmp_path: Path, damage: str) -> None:
    numbers = np.random.default_rng(0).integers(0, 2**30, 12_500, dtype="<u4")  # finite as float32, hard to compress
    entries = [{"name": "dense/kernel", "shape": [12_500], "dtype": "float32"}]
    whole = tfjs(manifest(weightsManifest=[{"paths": ["shard1"], "weights": entries}]), numbers.tobytes())
    (tmp_path / "whole.tgz").write_bytes(whole)
    arrays, epsilon = resnet50.read_tfjs(tmp_path / "whole.tgz")
    assert arrays["dense/kernel"].tobytes() == numbers.tobytes()
    assert epsilon == 0.001
    (tmp_path / "bad.tgz").write_bytes(DAMAGED_TARBALLS[damage](whole))
    with pytest.raises(Unreadable):
        resnet50.read_tfjs(tmp_path / "bad.tgz")


class Bomb:
    """Unpickled without care, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def lite0(**changes: object) -> dict[str, object]:
    """As many arrays and names as the published state dict has."""
    body = {name: torch.zeros(value.shape) for name, value in efficientnet_lite0.network().state_dict().items()}
    return {**body, "_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000), **changes}


BAD_LITE0S: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "random bytes": lambda: noise(1000),
    "random bytes that end a pickle's stack": lambda: b"q\x00" + noise(1000),
    "random bytes that ask a pickle's memo": lambda: b"jf\x34\x35\x36" + noise(1000),
    "random bytes after a zip's mark": lambda: b"PK\x03\x04" + noise(1000),
    "cut short": lambda: cut(saved(lite0())),
    "less its last bytes": lambda: saved(lite0())[:-10],
    "a number changed": lambda: flipped(data := saved(lite0()), len(data) // 2),
    "of another network": lambda: saved(linear().state_dict()),
    "a tensor": lambda: saved(torch.zeros(3)),
    "a list": lambda: saved([torch.zeros(3)]),
    "a checkpoint around the weights": lambda: saved({"epoch": 3, "state_dict": linear().state_dict()}),
    "a number among the weights": lambda: saved(lite0(**{"conv_stem.weight": 3})),
    "one array too many": lambda: saved(lite0(more=torch.zeros(1))),
    "one array of another shape": lambda: saved(lite0(**{"conv_stem.weight": torch.zeros(32, 1, 3, 3)})),
}
BAD = [("resnet50", kind) for kind in BAD_RESNETS] + [("efficientnet_lite0", kind) for kind in BAD_LITE0S]
MAKE = {"resnet50": BAD_RESNETS, "efficientnet_lite0": BAD_LITE0S}


@pytest.mark.parametrize(("name", "kind"), BAD)
def test_a_bad_weight_file_given_by_path_is_named_and_nothing_is_kept(
    bare: Workspace, tmp_path: Path, name: str, kind: str
) -> None:
    (mine := tmp_path / "mine.dat").write_bytes(MAKE[name][kind]())
    with pytest.raises(MolebenchError, match=rf"{name}.*mine\.dat") as error:
        RECIPES[name].get(str(mine), network(name), bare)
    assert "\n" not in str(error.value)
    assert kept(bare) == []


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_bad_weight_file_in_the_data_folder_is_named_and_nothing_is_kept(bare: Workspace, name: str) -> None:
    file = RECIPES[name].files[-1]
    (bare.data / file).write_bytes(noise(1000))
    with pytest.raises(MolebenchError) as error:
        RECIPES[name].get("imagenet", network(name), bare)
    assert file in str(error.value)
    assert kept(bare) == []
    assert (bare.data / file).read_bytes() == noise(1000)


def test_a_bad_download_is_named_by_its_source_and_fetched_again_next_time(bare: Workspace) -> None:
    shelf = Shelf("the shelf", b"garbage")
    for times in (1, 2):
        with pytest.raises(MolebenchError, match=r"the shelf.*it has 7 bytes, not 12"):
            recipe(shelf).get("imagenet", linear(), bare)
        assert len(shelf.asked) == times
        assert kept(bare) == []


@pytest.mark.parametrize("make", [saved, pickle.dumps], ids=["saved by torch", "a bare pickle"])
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_pickle_with_code_is_refused_and_the_code_does_not_run(
    bare: Workspace, tmp_path: Path, name: str, make: Callable[[object], bytes]
) -> None:
    marker = tmp_path / "it ran"
    pickle.loads(pickle.dumps(Bomb(marker)))
    assert marker.exists()  # so does a pickle that is read without care
    marker.unlink()
    (mine := tmp_path / "mine.pth").write_bytes(make({"weight": Bomb(marker)}))
    with pytest.raises(MolebenchError, match=r"mine\.pth"):
        RECIPES[name].get(str(mine), network(name), bare)
    assert not marker.exists()
    assert kept(bare) == []


def test_the_bad_files_differ_from_good_ones_only_in_what_they_are_named_for(tmp_path: Path) -> None:
    (tmp_path / "good.h5").write_bytes(resnet(3, 4, 6, 3))
    (tmp_path / "good.pth").write_bytes(saved(lite0()))
    for module, file in ((resnet50, "good.h5"), (efficientnet_lite0, "good.pth")):
        expected = {k: v.shape for k, v in module.network().state_dict().items() if "num_batches" not in k}
        assert {k: v.shape for k, v in module.read(tmp_path / file).items()} == expected
