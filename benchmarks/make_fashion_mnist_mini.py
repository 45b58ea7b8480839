"""Makes datasets/fashion_mnist_mini.npz from the four IDX files of Fashion-MNIST (plain, or .gz as published).

    python -m benchmarks.make_fashion_mnist_mini FOLDER OUT.npz      (in the root of a checkout)

A fixed stream picks 500 training and 100 test images of each class, each from its own original set and kept
in its order. Prints the sha256 of the file and of each split's arrays; the first is SHA256 in
datasets/fashion_mnist_mini.py. Another zlib may pack the same arrays into other bytes.
Source: https://github.com/zalandoresearch/fashion-mnist; the licence's whole text travels inside the npz.
"""

import argparse
import gzip
import sys
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Int, Integer

from molebench.errors import MolebenchError
from molebench.rng import stream
from molebench.types import Array, fingerprint
from molebench.workspace import sha256, writing

SPLITS = {"train": ("train", 500), "test": ("t10k", 100)}  # split -> the IDX files' prefix, images a class

LICENCE = """The MIT License (MIT) Copyright (c) 2017 Zalando SE, https://tech.zalando.com

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation
the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and
to permit persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of
the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO
THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF
CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS
IN THE SOFTWARE.
"""


def main() -> None:
    """Reads the folder, writes the npz, prints its digests."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path, help="holds train-images-idx3-ubyte[.gz] and its three companions")
    parser.add_argument("out", type=Path, help="the npz to write")
    given = parser.parse_args()
    try:
        arrays = {name: a for split in SPLITS for name, a in mini(given.folder, split).items()}
        with writing(given.out) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(handle, allow_pickle=False, **arrays, licence=np.array(LICENCE))
    except MolebenchError as error:
        sys.exit(str(error))
    sys.stdout.write(f"{given.out.name}: {given.out.stat().st_size} bytes, sha256 {sha256(given.out)}\n")
    for split in SPLITS:
        sys.stdout.write(f"{split}: {fingerprint(arrays[f'{split}.x'], arrays[f'{split}.y'])}\n")


def mini(folder: Path, split: str) -> dict[str, Array]:
    """The chosen images, uint8 [n, 28, 28, 1], and labels, int64 [n], of one split."""
    prefix, each = SPLITS[split]
    x, y = idx(folder, f"{prefix}-images-idx3-ubyte"), idx(folder, f"{prefix}-labels-idx1-ubyte")
    chosen = balanced(y, each, stream(0, "fashion_mnist_mini", split))
    return {f"{split}.x": x[chosen][:, :, :, None], f"{split}.y": y[chosen].astype(np.int64)}


def balanced(y: Integer[Array, " n"], each: int, rng: np.random.Generator) -> Int[Array, " m"]:
    """The indices of `each` random samples of every class, in increasing order."""
    picks = [rng.permutation(np.flatnonzero(y == label))[:each] for label in np.unique(y)]
    return np.sort(np.concatenate(picks))


def idx(folder: Path, name: str) -> Array:
    """The array of an IDX file of unsigned bytes, packed or not."""
    plain, packed = folder / name, folder / f"{name}.gz"
    if not (plain.is_file() or packed.is_file()):
        raise MolebenchError(f"no {name} or {name}.gz in {folder}; fetch Fashion-MNIST's four IDX files into it")
    try:
        data = plain.read_bytes() if plain.is_file() else gzip.decompress(packed.read_bytes())
        axes = data[3]
        shape = np.frombuffer(data, ">i4", count=axes, offset=4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise MolebenchError(f"{name} is not a whole IDX file ({error}); fetch it again") from error


if __name__ == "__main__":
    main()
