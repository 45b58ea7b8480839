"""What published image archives are made of: members of a tar, CIFAR's batches of records, IDX arrays.

Each reader takes bytes and their name, and an error names the file and what is wrong with it.
"""

import gzip
import struct
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int, UInt8

from molebench.errors import MolebenchError
from molebench.types import Array

PIXELS = (3, 32, 32)  # of a CIFAR image: red, green and blue planes, row by row


def members(path: Path, names: Iterable[str], hint: str) -> dict[str, bytes]:
    """The contents of the named files of a tar.gz, whatever folder they are in; read once, front to back."""
    wanted = dict.fromkeys(names, b"")
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                if (name := PurePosixPath(member.name).name) in wanted and (file := archive.extractfile(member)):
                    wanted[name] = file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise MolebenchError(f"{path.name} is not a whole tar.gz archive ({error}); fetch it again") from error
    if missing := [name for name, data in wanted.items() if not data]:
        raise MolebenchError(f"{path.name} has no {missing[0]}; {hint}")
    return wanted


def records(
    data: bytes, name: str, classes: int, labels: int = 1
) -> tuple[UInt8[Array, "n 32 32 3"], Int[Array, " n"]]:
    """The images of a CIFAR batch and the last of each record's label bytes, of which there are `labels`."""
    size = labels + int(np.prod(PIXELS))
    if len(data) % size:
        raise MolebenchError(f"{name} has {len(data)} bytes, no multiple of {size}; fetch its archive again")
    rows = np.frombuffer(data, np.uint8).reshape(-1, size)
    return rows[:, labels:].reshape(-1, *PIXELS).transpose(0, 2, 3, 1), checked(rows[:, labels - 1], name, classes)


def checked(labels: UInt8[Array, " n"], name: str, classes: int) -> Int[Array, " n"]:
    """Labels as int64, each one of 0 .. classes - 1."""
    if len(labels) and labels.max() >= classes:
        raise MolebenchError(f"{name} has label {labels.max()}; allowed: 0..{classes - 1}; fetch it again")
    return labels.astype(np.int64)


def idx(data: bytes, name: str) -> Array:
    """A uint8 array in IDX, gzipped or not: two zeros, 8 for uint8, the number of axes, their lengths, the values."""
    try:
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        axes = data[3] if data[:3] == b"\0\0\x08" else 0
        shape = struct.unpack_from(f">{axes}I", data, 4)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise MolebenchError(f"{name} is not a whole IDX file ({error}); fetch it again") from error
    if not axes or len(data) != 4 + 4 * axes + int(np.prod(shape)):
        raise MolebenchError(
            f"{name} is not a whole IDX file ({len(data)} bytes, axes {list(shape)}, first bytes {data[:4]!r}); "
            "fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)
