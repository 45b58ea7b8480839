"""Tensors of a weight file: safetensors, or what PyTorch has saved, read so that nothing in it can run."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from molebench.errors import first_line
from molebench.weights import Unreadable


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of either format, by name; of a training's checkpoint, those under `state_dict`."""
    with path.open("rb") as file:
        safe = file.read(9)[8:] == b"{"  # behind the length of its header
    found = safetensors(path) if safe else pytorch(path)
    state = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise Unreadable("it holds more than a state dict's tensors")
    return state


def safetensors(path: Path, without: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """The tensors of a safetensors file, those left out whose names begin with one of `without`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in sorted(file.keys()) if not name.startswith(without)}
    except (OSError, SafetensorError) as error:
        raise Unreadable(f"not a readable safetensors file ({first_line(error)})") from error


def pytorch(path: Path) -> Any:
    """What torch.save has written, of tensors and plain values alone."""
    try:
        if zipfile.is_zipfile(path):
            _checked(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Unreadable:
        raise
    except Exception as error:  # torch's reader lets through whatever a broken file makes it stumble over
        raise Unreadable(f"not a readable PyTorch state dict ({type(error).__name__}: {first_line(error)})") from error


def _checked(path: Path) -> None:
    """Refuses an archive with a damaged part, and one that is a program, which would have to be run."""
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise Unreadable(f"its part {damaged} does not match its checksum")
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            raise Unreadable("it is a TorchScript program; give its state dict, as safetensors")
