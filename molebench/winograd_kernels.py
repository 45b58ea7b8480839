"""What a convolution by Winograd's tiles is made of, compiled: maps with zeros around them, tiles of them, products.

Arrays of float32 are given by their addresses: maps are [n, h, w, c], a block of tiles is [36, many, c]; c and k are
multiples of sixteen. The sum over channels of U * V is 36 matrix products [tiles, c] x [c, k].

Reference: as molebench/winograd_tiles.py, which has the maths.
"""

from functools import partial
from typing import Any

from molebench import winograd_tiles as transforms
from molebench.compiling import compiled
from molebench.lanes import LANES, SIZE, Value, fused, load, number, repeated, spread, store, written
from molebench.winograd_tiles import SEES, TAPS, TILE

ROWS = 4  # of a product: with more of them, sums would not stay in sixteen registers of 256 bits


def four_rows(
    v: Value, apart: Value, step: Value, n: Value, u: Value, wide: Value, m: Value, far: Value, new: bool
) -> None:
    """m[r, :16] (+)= sum_i v[r, i] u[i, :16] of four rows r, which lie `apart` in v and `far` in m; the next numbers of
    a sum lie `step` on in v and `wide` in u."""

    def term(i: Value, totals: list[Value]) -> list[Value]:
        x = load(u, i * wide)
        return [fused(spread(v, i * step + r * apart), x, totals[r]) for r in range(ROWS)]

    first = [number(v, 0) if new else load(m, r * far) for r in range(ROWS)]
    for r, total in enumerate(repeated(n, term, first)):
        store(m, r * far, total)


def copy(x: Value, y: Value, n: Value) -> None:
    """y[: 16 n] = x[: 16 n]."""

    def piece(i: Value, nothing: list[Value]) -> list[Value]:
        store(y, i * LANES, load(x, i * LANES))
        return nothing

    repeated(n, piece, [])


def add(x: Value, y: Value, n: Value) -> None:
    """y[: 16 n] += x[: 16 n]."""

    def piece(i: Value, nothing: list[Value]) -> list[Value]:
        store(y, i * LANES, load(y, i * LANES) + load(x, i * LANES))
        return nothing

    repeated(n, piece, [])


inputs, slopes, outputs = written(transforms.inputs), written(transforms.slopes), written(transforms.outputs)
weights, folded = written(transforms.weights), written(transforms.folded)
new_rows, more_rows = written(partial(four_rows, new=True)), written(partial(four_rows, new=False))
copied, added = written(copy), written(add)


@compiled
def grid(h: int, w: int) -> Any:
    """Tiles down and across, and pixels of a map with zeros around it, to the last tile's end."""
    down, across = -(-h // TILE), -(-w // TILE)
    return down, across, TILE * down + SEES - TILE, TILE * across + SEES - TILE


@compiled
def place(t: int, down: int, across: int) -> Any:
    """A tile's image, row and column."""
    image, inside = divmod(t, down * across)
    return image, TILE * (inside // across), TILE * (inside % across)


@compiled
def padded(x: int, n: int, h: int, w: int, c: int, into: int, high: int, wide: int, edge: int) -> None:
    """n maps into larger ones, `edge` from their upper left corner."""
    for i in range(n):
        for r in range(h):
            to = ((i * high + r + edge) * wide + edge) * c
            copied(x + SIZE * (i * h + r) * w * c, into + SIZE * to, w * c // LANES)


@compiled
def seen(d: int, h: int, w: int, c: int, first: int, tiles: int, v: int, many: int) -> None:
    """V [36, many, c] of so many tiles of maps d with zeros around them, from the first one on."""
    down, across, high, wide = grid(h, w)
    for t in range(tiles):
        i, r, q = place(first + t, down, across)
        for j in range(0, c, LANES):
            at = ((i * high + r) * wide + q) * c + j
            inputs(d + SIZE * at, wide * c, c, v + SIZE * (t * c + j), many * c)


@compiled
def sloped(dy: int, h: int, w: int, k: int, first: int, tiles: int, e: int, many: int) -> None:
    """E [36, many, k] of so many tiles of maps dy, to whose edges zeros make tiles whole."""
    down, across, _, _ = grid(h, w)
    for t in range(tiles):
        i, r, q = place(first + t, down, across)
        for j in range(0, k, LANES):
            at = ((i * TILE * down + r) * TILE * across + q) * k + j
            slopes(dy + SIZE * at, TILE * across * k, k, e + SIZE * (t * k + j), many * k)


@compiled
def products(v: int, u: int, c: int, k: int, tiles: int, m: int, many: int) -> None:
    """M [36, many, k] = V [36, many, c] U [36, c, k], for so many tiles."""
    for tap in range(TAPS):
        for j in range(0, k, LANES):
            for row in range(tap * many, tap * many + tiles, ROWS):
                new_rows(v + SIZE * row * c, c, 1, c, u + SIZE * (tap * c * k + j), k, m + SIZE * (row * k + j), k)


@compiled
def sums(v: int, e: int, c: int, k: int, tiles: int, du: int, many: int) -> None:
    """dU [36, c, k] += V^T [36, c, many] E [36, many, k], over so many tiles."""
    for tap in range(TAPS):
        for j in range(0, k, LANES):
            for row in range(0, c, ROWS):
                of, to = v + SIZE * (tap * many * c + row), du + SIZE * ((tap * c + row) * k + j)
                more_rows(of, 1, c, tiles, e + SIZE * (tap * many * k + j), k, to, k)


@compiled
def answered(m: int, many: int, bias: int, y: int, h: int, w: int, k: int, r: int, q: int, spare: int) -> None:
    """The outputs of the tile at row r and column q of a map y, as far as there are any."""
    for j in range(0, k, LANES):
        at, to, b = m + SIZE * j, y + SIZE * ((r * w + q) * k + j), bias + SIZE * j
        if h - r >= TILE and w - q >= TILE:
            outputs(at, many * k, b, to, w * k, k)
        else:
            outputs(at, many * k, b, spare, TILE * LANES, LANES)
            for down in range(min(TILE, h - r)):
                for across in range(min(TILE, w - q)):
                    copied(spare + SIZE * (down * TILE + across) * LANES, to + SIZE * (down * w + across) * k, 1)
