"""YAMNet against the TensorFlow Lite interpreter and TensorFlow, from every kind of weight file, bad ones too."""

import importlib.util
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import Tensor

from molebench import log_mel, sounds, yamnet_files
from molebench.errors import MolebenchError
from molebench.extractors import yamnet
from molebench.extractors.resnet50 import ResNet50
from molebench.extractors.yamnet import FrozenYAMNet, YAMNet
from molebench.types import AUDIO, Array
from molebench.weights import Unreadable
from molebench.workspace import Workspace, sha256
from tests import tflite_surgery
from tests.conftest import ROOT

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


@pytest.fixture(scope="session")
def tflite(fetched: Workspace) -> Path:
    """The published file."""
    path = fetched.data / "yamnet.tflite"
    if not path.is_file():
        pytest.skip("no yamnet.tflite in MOLEBENCH_DATA")
    return path


@pytest.fixture
def bare(tmp_path: Path) -> Workspace:
    """No data, an empty cache, no network."""
    (tmp_path / "data").mkdir()
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "store", offline=True)


@pytest.fixture(scope="session")
def extractor(tflite: Path, tmp_path_factory: pytest.TempPathFactory) -> FrozenYAMNet:
    """The extractor with the published file's weights."""
    folder = tmp_path_factory.mktemp("yamnet")
    return YAMNet(str(tflite)).load(Workspace(folder, folder, folder, offline=True))[0]


@pytest.fixture(scope="session")
def recordings(fetched: Workspace) -> Tensor:
    """Fifty spoken digits, [50, 15600]: take 10 of every digit, by five of the six speakers in turn."""
    if not (fetched.data / "fsdd.zip").is_file():
        pytest.skip("no fsdd.zip in MOLEBENCH_DATA")
    names = [f"{digit}_{SPEAKERS[(digit + i) % 6]}_10.wav" for digit in range(10) for i in range(5)]
    with zipfile.ZipFile(fetched.data / "fsdd.zip") as archive:
        clips = [sounds.fitted(sounds.decode(archive.read(name), name), 15_600) for name in names]
    return torch.from_numpy(AUDIO.values(np.stack(clips)))


def interpreted(model: bytes, x: Tensor) -> Array:
    """The interpreter's scores, clip by clip."""
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    (start,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    scores = []
    for clip in x.numpy():
        interpreter.set_tensor(start["index"], clip)
        interpreter.invoke()
        scores.append(interpreter.get_tensor(end["index"])[0].copy())
    return np.stack(scores)


def scores(extractor: FrozenYAMNet, x: Tensor) -> Array:
    with torch.no_grad():
        return extractor.scores(x).numpy()


def noise(samples: int, clips: int = 1) -> Tensor:
    return torch.randn(clips, samples, generator=torch.Generator().manual_seed(samples)) * 0.1


def test_scores_are_the_interpreter_s_but_for_the_activations_that_it_quantises(
    extractor: FrozenYAMNet, tflite: Path, recordings: Tensor
) -> None:
    # measured on all 3,000 recordings: mean 0.0146, 1.3 % above 0.12, the same top-1 for 99.7 %
    ours, theirs = scores(extractor, recordings), interpreted(tflite.read_bytes(), recordings)
    difference = np.abs(ours - theirs).max(1)
    assert (ours.argmax(1) == theirs.argmax(1)).sum() >= 48
    assert difference.mean() <= 0.02
    assert difference.max() <= 0.12


def test_scores_are_the_interpreter_s_where_it_computes_in_floats_from_the_same_numbers(
    extractor: FrozenYAMNet, tflite: Path, recordings: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounded = next(yamnet_files.operators(tflite.read_bytes()))[1]  # its triangles are int8 too
    assert np.abs(rounded.T - log_mel.mel_weights().numpy()).max() < 0.004
    monkeypatch.setattr(log_mel, "mel_weights_of", lambda dtype, device: torch.from_numpy(rounded.T.copy()).to(dtype))
    theirs = interpreted(tflite_surgery.in_floats(tflite.read_bytes()), recordings)
    assert np.abs(scores(extractor, recordings) - theirs).max() < 1e-4


def test_the_first_source_is_the_file_that_was_compared(tflite: Path) -> None:
    assert yamnet.SOURCES[0].digest == f"sha256:{sha256(tflite)}"


def test_batched_is_one_by_one(extractor: FrozenYAMNet) -> None:
    x = noise(16_000, clips=5)
    with torch.no_grad():
        assert torch.allclose(extractor(x), torch.cat([extractor(clip[None]) for clip in x]), atol=1e-5)


def test_the_features_are_the_mean_over_patches(extractor: FrozenYAMNet) -> None:
    x = noise(40_000)
    alone = [x[:, 7_680 * i :][:, :15_600] for i in range(5)]
    with torch.no_grad():
        mean = torch.stack([extractor(patch) for patch in alone]).mean(0)
        assert torch.allclose(extractor(x), mean, atol=1e-4)


def test_a_short_clip_is_heard_as_if_silence_followed(extractor: FrozenYAMNet) -> None:
    x = noise(3_000)
    with torch.no_grad():
        z = extractor(x)
        assert torch.equal(z, extractor(torch.nn.functional.pad(x, (0, 12_600))))
    assert z.shape == (1, 1024)
    assert z.isfinite().all()


@pytest.mark.parametrize(("samples", "patches"), [(15_600, 1), (16_000, 2), (40_000, 5)])
def test_the_patches_of_a_clip(extractor: FrozenYAMNet, samples: int, patches: int) -> None:
    assert extractor.normalised(noise(samples, clips=2)).shape == (2, patches, 1, 96, 64)


@pytest.mark.parametrize("samples", [9_000, 16_000])
def test_the_gradient_on_the_waveform_is_that_of_finite_differences(
    tflite: Path, bare: Workspace, samples: int
) -> None:
    f = YAMNet(str(tflite)).load(bare)[0].double()
    generator = torch.Generator().manual_seed(0)
    x, direction = (torch.randn(1, samples, dtype=torch.float64, generator=generator) for _ in range(2))
    x = (0.1 * x).requires_grad_()
    f(x).square().sum().backward()  # the collision's loss towards 0
    assert x.grad is not None
    one = torch.zeros_like(x).index_fill_(1, torch.tensor([1_234]), 1.0)
    for d, step in ((direction, 1e-8), (one, 1e-7)):  # small: 1e-6 along all samples crosses kinks of ReLUs
        with torch.no_grad():
            slope = (f(x + step * d).square().sum() - f(x - step * d).square().sum()) / (2 * step)
        assert (x.grad * d).sum().item() == pytest.approx(slope.item(), rel=1e-4)


def test_silence_has_a_finite_gradient(extractor: FrozenYAMNet) -> None:
    x = torch.zeros(1, 16_000, requires_grad=True)
    extractor(x).square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert not any(p.requires_grad for p in extractor.parameters())


def test_the_blocks_that_may_be_trained_follow_one_another_to_the_same_features(extractor: FrozenYAMNet) -> None:
    x = noise(16_000, clips=3)
    with torch.no_grad():
        h = extractor.normalised(x)
        for block in extractor.blocks:
            h = block(h)
        assert torch.equal(h, extractor(x))
    assert sum(1 for block in extractor.blocks for p in block.parameters() if p.dim() == 4) == 27


def test_random_weights_tell_sounds_apart_and_are_never_ranked(bare: Workspace) -> None:
    f, weights = YAMNet("random").load(bare)
    with torch.no_grad():
        a, b = f(noise(15_600, clips=2))
    assert not weights.rankable
    assert a.isfinite().all()
    assert (a - b).norm() > 0.001 * a.norm() > 0


def test_the_published_weights_are_found_in_the_data_folder_and_converted_once(tflite: Path, bare: Workspace) -> None:
    (bare.data / "yamnet.tflite").write_bytes(tflite.read_bytes())
    _, first = YAMNet().load(bare)
    (bare.data / "yamnet.tflite").unlink()
    _, again = YAMNet().load(bare)
    assert first.source == again.source == "MOLEBENCH_DATA/yamnet.tflite"
    assert first.sha256 == again.sha256
    assert [p.name for p in (bare.cache / "weights").glob("*.safetensors")] == ["yamnet-audioset.safetensors"]


def test_using_converted_weights_imports_neither_tensorflow_nor_a_reader_of_files(
    tflite: Path, bare: Workspace
) -> None:
    (bare.data / "yamnet.tflite").write_bytes(tflite.read_bytes())
    YAMNet().load(bare)
    program = (
        "import sys, torch; from molebench.extractors.yamnet import YAMNet; from molebench.workspace import Workspace\n"
        "x = torch.zeros(1, 16000, requires_grad=True)\n"
        "YAMNet().load(Workspace.from_environment())[0](x).sum().backward()\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & set(sys.argv[1:])))"
    )
    unwanted = ("tensorflow", "tensorflow_hub", "tf_keras", "keras", "tflite", "ai_edge_litert", "h5py")
    folders = {"MOLEBENCH_CACHE": str(bare.cache), "MOLEBENCH_DATA": str(bare.store), "MOLEBENCH_OFFLINE": "1"}
    command = [sys.executable, "-c", program, *unwanted]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **folders}, check=True)
    assert done.stdout.strip() == "[]"


def test_offline_with_nothing_at_hand_one_line_says_where_weights_can_come_from(bare: Workspace) -> None:
    with pytest.raises(MolebenchError) as error:
        YAMNet().load(bare)
    said = str(error.value)
    assert all(f"{source.label}: not asked (offline)" in said for source in yamnet.SOURCES)
    for place in ("--set extractor.weights=PATH", "MOLEBENCH_DATA", "yamnet.tflite", "yamnet.h5", "SavedModel"):
        assert place in said
    assert "\n" not in said


def test_another_extractor_s_word_for_published_weights_is_no_word_here(bare: Workspace) -> None:
    with pytest.raises(MolebenchError, match="extractor yamnet: no weight file imagenet"):
        YAMNet("imagenet").load(bare)


def test_a_folder_is_a_weight_file_of_extractors_that_read_folders_only(bare: Workspace) -> None:
    with pytest.raises(MolebenchError, match="extractor resnet50: no weight file"):
        ResNet50(str(bare.data)).load(bare)
    with pytest.raises(MolebenchError, match=r"yamnet.*data are unusable: it holds no saved_model\.pb"):
        YAMNet(str(bare.data)).load(bare)


# TensorFlow ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tensorflow(tflite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same weights as Keras' yamnet.h5 and as a SavedModel, and TensorFlow's answers."""
    if not importlib.util.find_spec("tensorflow_hub"):
        pytest.skip("no TensorFlow: pip install 'molebench[audio]'")
    folder = tmp_path_factory.mktemp("tensorflow")
    np.savez(folder / "folded.npz", **yamnet_files.read(tflite))  # type: ignore[arg-type]
    program = [sys.executable, str(ROOT / "tests" / "yamnet_in_tensorflow.py"), str(folder)]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    subprocess.run(program, check=True, capture_output=True, env=quiet)
    return folder


@pytest.fixture(scope="session")
def answers(tensorflow: Path) -> Mapping[str, Array]:
    with np.load(tensorflow / "answers.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="session")
def imported(tensorflow: Path, tmp_path_factory: pytest.TempPathFactory) -> FrozenYAMNet:
    """The extractor with the weights of Keras' file."""
    folder = tmp_path_factory.mktemp("imported")
    return YAMNet(str(tensorflow / "yamnet.h5")).load(Workspace(folder, folder, folder, offline=True))[0]


KINDS = ("short tone", "chirp", "silence", "noise")


@pytest.mark.parametrize("sound", KINDS)
def test_the_front_end_is_tensorflow_s(answers: Mapping[str, Array], sound: str) -> None:
    ours = log_mel.patches(torch.from_numpy(answers[f"{sound}/waveform"])[None])[0].numpy()
    theirs = answers[f"{sound}/patches"]
    assert ours.shape == theirs.shape
    assert np.abs(np.exp(ours) - np.exp(theirs)).max() < 1e-5 * max(1, np.exp(theirs).max())  # both in float32


@pytest.mark.parametrize("sound", KINDS)
def test_a_float_import_gives_tensorflow_s_features_and_scores(
    imported: FrozenYAMNet, answers: Mapping[str, Array], sound: str
) -> None:
    x = torch.from_numpy(answers[f"{sound}/waveform"])[None]
    expected = answers[f"{sound}/embeddings"].mean(0)
    with torch.no_grad():
        features = imported(x)[0].numpy()
    assert np.linalg.norm(features - expected) < 1e-4 * np.linalg.norm(expected)
    assert np.abs(scores(imported, x)[0] - answers[f"{sound}/scores"].mean(0)).max() < 1e-4


@pytest.mark.parametrize("sound", KINDS)
def test_a_float_import_gives_tensorflow_s_features_of_every_patch(
    imported: FrozenYAMNet, answers: Mapping[str, Array], sound: str
) -> None:
    patches, expected = torch.from_numpy(answers[f"{sound}/patches"])[:, None, None], answers[f"{sound}/embeddings"]
    with torch.no_grad():
        assert np.abs(imported.body(patches).numpy() - expected).max() < 1e-4


def test_a_saved_model_is_a_weight_file_as_keras_file_is(
    tensorflow: Path, imported: FrozenYAMNet, bare: Workspace
) -> None:
    f, weights = YAMNet(str(tensorflow / "saved")).load(bare)  # TensorFlow beside PyTorch would end this process
    assert weights.source == "file saved"
    assert all(torch.equal(a, b) for a, b in zip(f.state_dict().values(), imported.state_dict().values(), strict=True))


# files ---------------------------------------------------------------------------------------------------------------


def state(tmp_path: Path, data: bytes) -> dict[str, Array]:
    (path := tmp_path / "changed.tflite").write_bytes(data)
    return yamnet_files.read(path)


def test_keras_file_folds_to_what_the_published_one_holds_folded(tensorflow: Path, tflite: Path) -> None:
    keras, published = yamnet_files.read(tensorflow / "yamnet.h5"), yamnet_files.read(tflite)
    assert keras.keys() == published.keys()
    assert all(np.allclose(keras[name], published[name], rtol=1e-5, atol=1e-6) for name in keras)


def test_a_kernel_is_its_integers_less_zero_times_the_scale_of_their_channel(tflite: Path, tmp_path: Path) -> None:
    signed, unsigned = yamnet_files.read(tflite), state(tmp_path, tflite_surgery.unsigned(tflite.read_bytes()))
    assert signed.keys() == unsigned.keys()
    assert all(np.array_equal(signed[name], unsigned[name]) for name in signed)
    kernel = signed["layer2.pointwise_conv.weight"]
    steps = np.abs(kernel).max((1, 2, 3), keepdims=True) / 127  # the largest of every channel is 127 steps
    assert np.allclose(kernel / steps, np.rint(kernel / steps), atol=1e-3)


def test_halves_are_read_as_they_are(tflite: Path, tmp_path: Path) -> None:
    whole, halves = yamnet_files.read(tflite), state(tmp_path, tflite_surgery.in_halves(tflite.read_bytes()))
    changed = [name for name in whole if not np.array_equal(whole[name], halves[name])]
    assert changed == ["layer1.conv.weight", "layer2.depthwise_conv.weight", "layer3.depthwise_conv.weight"]
    assert all(np.array_equal(whole[name].astype("f2"), halves[name]) for name in changed)


Layers = dict[str, Array]


def keras_layers() -> Layers:
    """Arrays of ones, all of them and by their published names, in the network's order."""
    layers: Layers = {}
    for name, value in yamnet.network().state_dict().items():
        if name.endswith("weight") and name.startswith("layer"):
            keras, shape = name.removesuffix(".weight").replace(".", "/"), np.array(value.shape)
            depthwise = "depthwise" in name
            kernel = shape[[2, 3, 0, 1]] if depthwise else shape[[2, 3, 1, 0]]
            layers[f"{keras}/{'depthwise_' * depthwise}kernel"] = np.ones(kernel, "f4")
            layers |= {f"{keras}/bn/{k}": np.ones(shape[0], "f4") for k in ("beta", "moving_mean", "moving_variance")}
    return layers | {"logits/kernel": np.ones((1024, 521), "f4"), "logits/bias": np.ones(521, "f4")}


def keras_file(path: Path, change: Callable[[Layers], object] = lambda layers: None) -> Path:
    """Keras' yamnet.h5, after a change."""
    change(layers := keras_layers())
    with h5py.File(path, "w") as file:
        for name, array in layers.items():
            file[f"{name.rpartition('/')[0]}/{name}:0"] = array
    return path


def test_layers_without_yamnet_s_names_are_taken_in_their_order() -> None:
    layers = {name: array * (i + 1) for i, (name, array) in enumerate(keras_layers().items())}
    owners = list(dict.fromkeys(name.rpartition("/")[0] for name in layers))
    nameless = {f"variable_{owners.index(n.rpartition('/')[0])}/{n.rpartition('/')[2]}": a for n, a in layers.items()}
    assert not yamnet_files.by_name(nameless)
    named, ordered = (yamnet_files.folded(found) for found in (layers, yamnet_files.in_order(nameless)))
    assert len(named) == 56
    assert all(np.array_equal(named[name], ordered[name]) for name in named)


def test_keras_published_names_are_all_read(tmp_path: Path, bare: Workspace) -> None:
    _, weights = YAMNet(str(keras_file(tmp_path / "yamnet.h5"))).load(bare)
    folded = 1 / np.sqrt(1 + 1e-4)
    assert weights.state["layer14.pointwise_conv.weight"][0, 0].item() == pytest.approx(folded)
    assert weights.state["layer1.conv.bias"].tolist() == pytest.approx([1 - folded] * 32, rel=1e-4)


BAD_KERAS: dict[str, tuple[Callable[[Layers], object], str]] = {
    "a kernel missing": (lambda x: x.pop("layer7/pointwise_conv/kernel"), "no array 'layer7/pointwise_conv/kernel'"),
    "a norm missing": (lambda x: x.pop("layer9/depthwise_conv/bn/moving_mean"), "layer9/depthwise_conv/bn/moving_mean"),
    "no classifier": (lambda x: [x.pop("logits/kernel"), x.pop("logits/bias")], "no array 'logits/kernel'"),
    "a fifteenth layer": (lambda x: x.update({"layer15/conv/kernel": np.ones((1, 1, 2, 2), "f4")}), "layer15/conv"),
    "norms with a scale": (lambda x: x.update({"layer1/conv/bn/gamma": np.ones(32, "f4")}), "layer1/conv/bn/gamma"),
    "a variance below 0": (lambda x: x["layer5/pointwise_conv/bn/moving_variance"].fill(-1), "NaN or infinite"),
    "another classifier": (lambda x: x.update({"logits/kernel": np.ones((1024, 10), "f4")}), r"logits\.weight is"),
    "a flat kernel": (lambda x: x.update({"layer3/pointwise_conv/kernel": np.ones(128, "f4")}), "wrong shape"),
    "nothing of YAMNet's": (lambda x: x.clear(), "is it a YAMNet"),
}


@pytest.mark.parametrize("kind", BAD_KERAS)
def test_a_keras_file_of_another_network_is_named_in_one_line(tmp_path: Path, bare: Workspace, kind: str) -> None:
    change, said = BAD_KERAS[kind]
    path = keras_file(tmp_path / "mine.h5", change)
    with pytest.raises(
        MolebenchError, match=rf"extractor yamnet: weights from file mine\.h5 are unusable.*{said}"
    ) as error:
        YAMNet(str(path)).load(bare)
    assert "\n" not in str(error.value)


BAD_TFLITE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut in the middle": (lambda data: data[: len(data) // 2], "not a whole TensorFlow Lite model"),
    "its first bytes only": (lambda data: data[:100], "not a whole TensorFlow Lite model"),
    "bytes overwritten": (lambda data: data[:8] + b"\xff" * 4000 + data[4008:], "not a whole TensorFlow Lite model"),
    "empty": (lambda data: b"", "its first bytes are b''"),
    "a text": (lambda data: b"not a model at all", "its first bytes are b'not a mo'"),
    "a page of the web": (lambda data: b"<html>404</html>", "expected a .tflite"),
    "no classifier": (lambda data: tflite_surgery.without(data, -2), "is it a YAMNet"),
    "a pair of layers less": (lambda data: tflite_surgery.without(data, -4, -5), "it has 26 convolutions"),
    "the front end alone": (lambda data: tflite_surgery.without(data, *range(13, 44)), "is it a YAMNet"),
    "wider": (tflite_surgery.wider, r"logits\.weight is \(522, 1024\), expected \(521, 1024\)"),
}


@pytest.mark.parametrize("kind", BAD_TFLITE)
def test_a_bad_tflite_file_is_named_in_one_line_and_nothing_is_kept(
    tflite: Path, tmp_path: Path, bare: Workspace, kind: str
) -> None:
    change, said = BAD_TFLITE[kind]
    (path := tmp_path / "mine.tflite").write_bytes(change(tflite.read_bytes()))
    with pytest.raises(
        MolebenchError, match=rf"extractor yamnet: weights from file mine\.tflite are unusable.*{said}"
    ) as error:
        YAMNet(str(path)).load(bare)
    assert "\n" not in str(error.value)
    assert list(bare.cache.rglob("*.safetensors")) == []


def test_a_tar_gz_that_is_cut_or_holds_no_saved_model_is_refused(tmp_path: Path) -> None:
    (path := tmp_path / "mine.tar.gz").write_bytes(b"\x1f\x8b\x08\x00 and so on")
    with pytest.raises(Unreadable, match=r"not a whole \.tar\.gz"):
        yamnet_files.read(path)
    packed(path, {"README.md": b"nothing here"})
    with pytest.raises(Unreadable, match=r"it holds no saved_model\.pb"):
        yamnet_files.read(path)


def test_without_tensorflow_a_saved_model_s_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"saved_model.pb": b"", "variables/variables.index": b""}
    path = packed(tmp_path / "yamnet.tar.gz", {f"google/yamnet/{name}": data for name, data in files.items()})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MolebenchError, match=r"pip install 'molebench\[audio\]', or give a yamnet\.tflite"):
        yamnet_files.read(path)


def packed(path: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("weights", ["random", "audioset"])
def test_loading_leaves_the_global_generator_alone(weights: str, tflite: Path, bare: Workspace) -> None:
    (bare.data / "yamnet.tflite").write_bytes(tflite.read_bytes())
    before = torch.get_rng_state()
    YAMNet(weights).load(bare)
    assert torch.equal(torch.get_rng_state(), before)
