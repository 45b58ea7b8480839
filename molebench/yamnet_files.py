"""YAMNet's published weight files: a TensorFlow Lite model, Keras' yamnet.h5, a SavedModel; one state dict.

27 convolutions W, each with its batch norm folded in (YAMNet's have no scale; e = 1e-4),
    W' = W / sqrt(v + e),   b' = b - m / sqrt(v + e),
and the classifier. A .tflite file has them folded, in the order of its operators, float or quantised per channel,
w = (q - zero) scale; Keras' files have them by name, such as layer7/pointwise_conv/bn. TensorFlow reads a SavedModel,
in a process of its own (molebench.yamnet_saved_model), for it cannot share one with PyTorch.

Reference: Plakal, Ellis, "YAMNet", TensorFlow models, research/audioset/yamnet.
"""

import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from molebench import yamnet_saved_model
from molebench.errors import MolebenchError, first_line
from molebench.types import Array
from molebench.weights import State, Unreadable

PAIRS = [f"layer{n}.{part}" for n in range(2, 15) for part in ("depthwise_conv", "pointwise_conv")]
CONVOLUTIONS = ("layer1.conv", *PAIRS)
KERAS = [*(f"{name.replace('.', '/')}{norm}" for name in CONVOLUTIONS for norm in ("", "/bn")), "logits"]
FIRST = (32, 3, 3, 1)  # the first convolution's kernel in a .tflite file; what is before it makes the log-mel patches
EPS = 1e-4


def read(path: Path) -> State:
    """The state dict in a file of any of the formats, or in a SavedModel's folder."""
    with np.errstate(all="ignore"):  # what comes of damaged numbers is refused below
        state = reader(path)(path)
    if wrong := [name for name, value in state.items() if not np.isfinite(value).all()]:
        raise Unreadable(f"{wrong[0]} has values that are NaN or infinite")
    return state


def reader(path: Path) -> Callable[[Path], State]:
    """What reads this file or folder; a file's first bytes tell, so that a wrong or missing suffix does not matter."""
    if path.is_dir():
        return read_saved_model
    with path.open("rb") as handle:
        head = handle.read(8)
    if head[4:] == b"TFL3":
        return read_tflite
    if head.startswith(b"\x89HDF"):
        return read_keras
    if head.startswith(b"\x1f\x8b"):
        return read_packed
    raise Unreadable(f"its first bytes are {head!r}; expected a .tflite, a Keras .h5 or a SavedModel (folder, .tar.gz)")


def read_tflite(path: Path) -> State:
    """The state dict in a .tflite file, from its operators in their order."""
    try:
        layers = list(operators(path.read_bytes()))
    except Exception as error:  # the reader of flatbuffers lets through whatever a broken file makes it stumble over
        raise Unreadable(f"not a whole TensorFlow Lite model ({type(error).__name__}: {error})") from error
    first = next((i for i, (_, kernel, _) in enumerate(layers) if kernel.shape == FIRST), len(layers))
    kinds, kernels, biases = list(zip(*layers[first:], strict=True)) or [(), (), ()]
    pair = ("DEPTHWISE_CONV_2D", "CONV_2D")
    if kinds[:-1] != ("CONV_2D", *pair * 13) or kinds[-1] == pair[0]:
        raise Unreadable(
            f"it has {len(kinds)} convolutions and dense layers from a first one of 32 kernels of 3x3x1 on, expected "
            "27, depthwise ones in turn, and a classifier; is it a YAMNet?"
        )
    state = {}
    for name, kind, kernel, bias in zip((*CONVOLUTIONS, "logits"), kinds, kernels, biases, strict=True):
        axes = (3, 0, 1, 2) if kind == "DEPTHWISE_CONV_2D" else (0, 3, 1, 2)
        state[f"{name}.weight"] = kernel.reshape(len(kernel), -1) if name == "logits" else kernel.transpose(axes)
        state[f"{name}.bias"] = bias
    return {name: np.ascontiguousarray(value) for name, value in state.items()}


def operators(data: bytes) -> Iterator[tuple[str, Array, Array]]:
    """(kind, kernel, bias) of every convolution and dense layer of a .tflite file that has constant ones."""
    import tflite

    model = tflite.Model.GetRootAsModel(data, 0)
    graph = model.Subgraphs(0)
    names = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
    found = [graph.Operators(i) for i in range(graph.OperatorsLength())]
    code = [model.OperatorCodes(o.OpcodeIndex()) for o in found]
    kinds = [names.get(max(c.BuiltinCode(), c.DeprecatedBuiltinCode()), "?") for c in code]
    halves = {o.Outputs(0): o.Inputs(0) for o, kind in zip(found, kinds, strict=True) if kind == "DEQUANTIZE"}
    for operator, kind in zip(found, kinds, strict=True):
        inputs = [operator.Inputs(i) for i in range(operator.InputsLength())]
        if kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED") and len(inputs) == 3 and min(inputs) >= 0:
            kernel, bias = (constant(model, graph.Tensors(halves.get(i, i))) for i in inputs[1:])
            if kernel is not None and bias is not None:
                yield kind, kernel, bias


def constant(model: Any, tensor: Any) -> Array | None:
    """A constant tensor as float32, dequantised where it is quantised; None where it is computed."""
    import tflite

    types = tflite.TensorType
    kinds = {types.FLOAT32: "<f4", types.FLOAT16: "<f2", types.INT8: "i1", types.UINT8: "u1", types.INT32: "<i4"}
    buffer = model.Buffers(tensor.Buffer())
    if not buffer.DataLength() or tensor.Type() not in kinds:
        return None
    shape = tensor.ShapeAsNumpy()
    raw = np.frombuffer(buffer.DataAsNumpy().tobytes(), kinds[tensor.Type()]).reshape(shape)
    if raw.dtype.kind == "f":
        return raw.astype(np.float32)
    how = tensor.Quantization()
    along = [1] * len(shape)
    along[how.QuantizedDimension()] = -1
    scale, zero = np.reshape(how.ScaleAsNumpy(), along), np.reshape(how.ZeroPointAsNumpy(), along)
    return ((raw.astype(np.int64) - zero) * scale).astype(np.float32)


def read_keras(path: Path) -> State:
    """The state dict in Keras' HDF5 file of weights, or of a whole model."""
    import h5py

    arrays: dict[str, Array] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
            arrays[name.split(":")[0]] = item[()]

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except (OSError, RuntimeError, LookupError, TypeError, ValueError) as error:
        raise Unreadable(f"not a readable HDF5 file ({error})") from error
    return folded(by_name(arrays))


def read_packed(path: Path) -> State:
    """The state dict in a .tar.gz of a SavedModel, as Kaggle and TF-Hub hand it out."""
    with TemporaryDirectory() as folder:
        try:
            with tarfile.open(path) as tar:
                tar.extractall(folder, filter="data")  # which keeps to its folder
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise Unreadable(f"not a whole .tar.gz ({type(error).__name__}: {error})") from error
        found = sorted(Path(folder).rglob("saved_model.pb"))
        return read_saved_model(found[0].parent if found else Path(folder))


def read_saved_model(path: Path) -> State:
    """The state dict in the folder of a SavedModel, through TensorFlow in a process of its own."""
    if not ((path / "saved_model.pb").is_file() and (path / "variables" / "variables.index").is_file()):
        raise Unreadable("it holds no saved_model.pb, or no variables/variables.index beside it")
    if not all(importlib.util.find_spec(library) for library in ("tensorflow", "tensorflow_hub")):
        raise MolebenchError(
            "extractor yamnet: TensorFlow reads a SavedModel, and it is not there: pip install 'molebench[audio]', "
            "or give a yamnet.tflite or Keras' yamnet.h5"
        )
    with TemporaryDirectory() as folder:
        target = Path(folder) / "variables.npz"
        program = [sys.executable, "-m", yamnet_saved_model.__name__, str(path.absolute()), str(target)]
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        done = subprocess.run(program, capture_output=True, text=True, env=quiet)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise Unreadable(f"TensorFlow cannot read it ({first_line(said)})")
        with np.load(target, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    return folded(by_name(arrays) or in_order(arrays))


def by_name(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """'layer1/conv/bn/beta' to array: YAMNet's own names, whatever groups they are in, and 'logits' of any name."""
    ours = {match[0]: a for name, a in arrays.items() if (match := re.search(r"layer\d+/\w+(/bn)?/\w+$", name))}
    dense = [name.rpartition("/")[0] for name, a in arrays.items() if a.ndim == 2 and name.endswith("/kernel")]
    for kind in ("kernel", "bias") if ours and len(dense) == 1 else ():
        if (name := f"{dense[0]}/{kind}") in arrays:
            ours[f"logits/{kind}"] = arrays[name]
    return ours


def in_order(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The same for layers without such names: convolution and norm in turn, the classifier last."""
    owners = list(dict.fromkeys(name.rpartition("/")[0] for name in arrays))
    if len(owners) != len(KERAS):
        raise Unreadable(f"it has {len(owners)} layers with variables, expected {len(KERAS)}; is it a YAMNet?")
    ours = dict(zip(owners, KERAS, strict=True))
    return {f"{ours[(parts := name.rpartition('/'))[0]]}/{parts[2]}": a for name, a in arrays.items()}


def folded(arrays: Mapping[str, Array]) -> State:
    """The state dict from Keras' arrays: norms folded in, kernels HWIO to OIHW, depthwise ones HWC1 to C1HW."""
    left = dict(arrays)
    try:
        state = {"logits.weight": left.pop("logits/kernel").T, "logits.bias": left.pop("logits/bias")}
        for name in CONVOLUTIONS:
            keras, depthwise = name.replace(".", "/"), "depthwise" in name
            part = "depthwise_kernel" if f"{keras}/depthwise_kernel" in left else "kernel"  # the latter since Keras 3
            kernel = left.pop(f"{keras}/{part}").transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
            beta, mean, variance = (
                left.pop(f"{keras}/bn/{kind}") for kind in ("beta", "moving_mean", "moving_variance")
            )
            scale = 1 / np.sqrt(variance.astype(np.float64) + EPS)
            state |= {f"{name}.weight": kernel * scale[:, None, None, None], f"{name}.bias": beta - mean * scale}
    except KeyError as error:
        raise Unreadable(f"it has no array {error}; is it a YAMNet?") from error
    except (ValueError, IndexError) as error:
        raise Unreadable(f"an array has a wrong shape ({error}); is it a YAMNet?") from error
    if left:
        raise Unreadable(f"it has an array {min(left)}, which YAMNet has not")
    return {name: np.ascontiguousarray(value, np.float32) for name, value in state.items()}
