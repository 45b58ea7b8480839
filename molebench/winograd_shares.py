"""Convolutions by Winograd's tiles as work for a team: whoever is free draws the next share.

Each function takes a row of whole numbers: the ticket, addresses of float32, sizes (molebench/teams.py). GROUP images
are met together and some of their tiles at a time, so that what is multiplied stays in the nearest caches. No number
depends on who drew a share, or on how many drew. Everything here lets go of the interpreter.
"""

from typing import Any

import numpy as np

from molebench.compiling import compiled
from molebench.lanes import LANES, SIZE, ticket
from molebench.types import Array
from molebench.winograd_kernels import (
    added,
    answered,
    folded,
    grid,
    padded,
    place,
    products,
    seen,
    sloped,
    sums,
    weights,
)
from molebench.winograd_tiles import TAPS, TILE

GROUP = 4  # images
BLOCK = 12  # tiles at a time: a power of two would bring all taps to the same places of a cache
MANY = 28  # tiles at a time where their products are summed: more of them for each time that a sum is fetched and kept


@compiled
def spectrum(row: Array) -> None:
    """row: [ticket, g, U, c, k]. U [36, c, k] = G g G^T of weights g [c, 3, 3, k]; a share is one of c."""
    g, u, c, k, draws = row[1], row[2], row[3], row[4], row.ctypes.data
    i = ticket(draws)
    while i < c:
        for j in range(0, k, LANES):
            weights(g + SIZE * (i * 9 * k + j), k, u + SIZE * (i * k + j), c * k)
        i = ticket(draws)


@compiled
def convolved(row: Array) -> None:
    """row: [ticket, x, U, bias, y, n, h, w, c, k]. y [n, h, w, k] = x [n, h, w, c] convolved with U, and a bias [k]; a
    share is GROUP images."""
    x, u, bias, y, draws = row[1], row[2], row[3], row[4], row.ctypes.data
    n, h, w, c, k = row[5], row[6], row[7], row[8], row[9]
    down, across, high, wide = grid(h, w)
    (maps, d), (aside, spare) = zeros(GROUP * high * wide * c), zeros(TILE * TILE * LANES)
    (before, v), (after, m) = zeros(TAPS * BLOCK * c), zeros(TAPS * BLOCK * k)
    start = ticket(draws) * GROUP
    while start < n:
        images = min(GROUP, n - start)
        padded(x + SIZE * start * h * w * c, images, h, w, c, d, high, wide, 1)
        for first in range(0, images * down * across, BLOCK):
            tiles = min(BLOCK, images * down * across - first)
            seen(d, h, w, c, first, tiles, v, BLOCK)
            products(v, u, c, k, tiles, m, BLOCK)
            for t in range(tiles):
                i, r, q = place(first + t, down, across)
                answered(m + SIZE * t * k, BLOCK, bias, y + SIZE * (start + i) * h * w * k, h, w, k, r, q, spare)
        start = ticket(draws) * GROUP
    needed(maps, aside, before, after)


@compiled
def gradients(row: Array) -> None:
    """row: [ticket, x, dy, dU, share, n, h, w, c, k]. dU [parts, 36, c, k] += the gradients of each part of the images,
    `share` of them, from x [n, h, w, c] and dy [n, h, w, k]."""
    x, dy, du, share, draws = row[1], row[2], row[3], row[4], row.ctypes.data
    n, h, w, c, k = row[5], row[6], row[7], row[8], row[9]
    down, across, high, wide = grid(h, w)
    tall, broad = TILE * down, TILE * across
    (maps, d), (edged, s) = zeros(GROUP * high * wide * c), zeros(GROUP * tall * broad * k)
    (before, v), (after, e) = zeros(TAPS * MANY * c), zeros(TAPS * MANY * k)
    part = ticket(draws)
    while part * share < n:
        end = min(n, (part + 1) * share)
        for start in range(part * share, end, GROUP):
            images = min(GROUP, end - start)
            padded(x + SIZE * start * h * w * c, images, h, w, c, d, high, wide, 1)
            padded(dy + SIZE * start * h * w * k, images, h, w, k, s, tall, broad, 0)
            for first in range(0, images * down * across, MANY):
                tiles = min(MANY, images * down * across - first)
                seen(d, h, w, c, first, tiles, v, MANY)
                sloped(s, h, w, k, first, tiles, e, MANY)
                sums(v, e, c, k, tiles, du + SIZE * part * TAPS * c * k, MANY)
        part = ticket(draws)
    needed(maps, edged, before, after)


@compiled
def totalled(row: Array) -> None:
    """row: [ticket, dU, parts, dg, c, k]. dg [c, 3, 3, k] = G^T dU G of the sum over parts of dU [parts, 36, c, k],
    which is left in the first; a share is one of c."""
    du, parts, dg, c, k, draws = row[1], row[2], row[3], row[4], row[5], row.ctypes.data
    i = ticket(draws)
    while i < c:
        for tap in range(TAPS):
            first = du + SIZE * (tap * c + i) * k
            for part in range(1, parts):
                added(first + SIZE * part * TAPS * c * k, first, k // LANES)
        for j in range(0, k, LANES):
            folded(du + SIZE * (i * k + j), c * k, dg + SIZE * (i * 9 * k + j), k)
        i = ticket(draws)


@compiled
def zeros(n: int) -> Any:
    """So many, and where they are."""
    made = np.zeros(n, np.float32)
    return made, made.ctypes.data


@compiled
def needed(a: Array, b: Array, c: Array, d: Array) -> None:
    """Nothing, to arrays whose addresses were used until here: what is not named any more is freed."""
