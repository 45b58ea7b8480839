"""Messages between a process and its child: a line of JSON, then the bytes of the arrays that it names.

Nothing in a message can run. Whoever reads one says how large it may be and believes no more of it than that: types and
shapes are checked before a byte of an array is read.
"""

import json
import math
import re
from collections.abc import Mapping
from io import BufferedIOBase
from typing import Any, NamedTuple

import numpy as np

from molebench.errors import MolebenchError, first_line
from molebench.types import Array

LINE = 2**16  # bytes of the longest line
NUMBERS = re.compile(r"[<>|](?:b1|[iu][1248]|f[248])")


class Message(NamedTuple):
    """Plain values and arrays, by name."""

    head: dict[str, Any]
    arrays: dict[str, Array]


def pieces(head: Mapping[str, Any], arrays: Mapping[str, Array] | None = None) -> list[memoryview]:
    """A message in the order in which it is written; arrays that lie in one piece are not copied."""
    arrays = arrays or {}
    described = {name: (a.dtype.str, a.shape) for name, a in arrays.items()}
    line = json.dumps({**head, "arrays": described}).encode() + b"\n"
    return [memoryview(line), *(np.ascontiguousarray(a).reshape(-1).view(np.uint8).data for a in arrays.values())]


def numbers(array: Array) -> bool:
    """Whether a message can hold it."""
    return bool(NUMBERS.fullmatch(array.dtype.str))


def received(stream: BufferedIOBase, most: int | None = None) -> Message | None:
    """The next message; None where the stream ends before it does. MolebenchError where it is none, or holds more than
    `most` bytes of arrays."""
    line = stream.readline(LINE)
    if not line.endswith(b"\n"):
        if len(line) == LINE:
            raise MolebenchError(f"a line of more than {LINE} bytes is no message")
        return None
    head, shapes = read(line)
    sizes = {name: dtype.itemsize * math.prod(shape) for name, (dtype, shape) in shapes.items()}
    if most is not None and sum(sizes.values()) > most:
        raise MolebenchError(f"a message with {sum(sizes.values())} bytes of arrays; {most} are allowed")
    arrays = {}
    for name, (dtype, shape) in shapes.items():
        content = stream.read(sizes[name])
        if len(content) < sizes[name]:
            return None
        arrays[name] = shaped(content, dtype, shape)
    return Message(head, arrays)


def shaped(content: bytes, dtype: np.dtype, shape: tuple[int, ...]) -> Array:
    """An array of these bytes; MolebenchError where there is none of such a shape."""
    try:
        return np.frombuffer(content, dtype).reshape(shape)
    except (ValueError, OverflowError) as error:
        raise MolebenchError(f"{dtype} {first_line(shape)} is no array of numbers") from error


def read(line: bytes) -> tuple[dict[str, Any], dict[str, tuple[np.dtype, tuple[int, ...]]]]:
    """What the line of a message says: plain values, and types and shapes of arrays by name."""
    try:
        head = dict(json.loads(line))
        described = {str(name): (str(dtype), tuple(shape)) for name, (dtype, shape) in head.pop("arrays").items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise MolebenchError(f"{first_line(line[:80])} is no message") from error
    for dtype, shape in described.values():
        if not NUMBERS.fullmatch(dtype) or not all(type(n) is int and n >= 0 for n in shape):
            raise MolebenchError(f"{dtype[:20]} {first_line(shape)} is no array of numbers")
    return head, {name: (np.dtype(dtype), shape) for name, (dtype, shape) in described.items()}


def drawn(rng: np.random.Generator) -> dict[str, Any]:
    """A generator in plain values: where it stands, and what its spawned ones are seeded from."""
    bits: Any = rng.bit_generator
    return {"state": bits.state, "seeds": bits.seed_seq.state}


def drawing(said: Mapping[str, Any]) -> np.random.Generator:
    """The generator that draws and spawns as the one would have that `drawn` was told of."""
    bits = np.random.PCG64(np.random.SeedSequence(**said["seeds"]))
    bits.state = said["state"]
    return np.random.Generator(bits)
