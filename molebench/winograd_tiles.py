"""Winograd's transforms F(4x4, 3x3) of tiles: a tile of 4x4 outputs y sees 6x6 inputs d.

    y = A^T [U * V] A    U = G g G^T    V = B^T d B    dg = G^T [V * E] G    E = A dy A^T

g are the nine weights between two channels, * multiplies 36 numbers with 36 others. A transform of a tile is one of its
columns and then one of its rows. Channels are last in memory and sixteen of them are met at once (molebench/lanes.py).

Reference: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, equations 8 and 11, and the
supplement's matrices of F(4x4, 3x3).
"""

from collections.abc import Callable
from typing import Any

from molebench.lanes import Value, load, store

TILE, SEES = 4, 6  # outputs and inputs along a side
TAPS = SEES * SEES
FOURTH, SIXTH, TWELFTH = 1 / 4, 1 / 6, 1 / 12


def b_t(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> tuple[Any, ...]:
    """B^T times a column of six."""
    p, q, r, s = d - 4 * b, e - 4 * c, 2 * (d - b), e - c
    return 4 * a - 5 * c + e, q + d - 4 * b, q - p, s + r, s - r, 4 * b - 5 * d + f


def a_t(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> tuple[Any, ...]:
    """A^T times a column of six."""
    p, q, r, s = b + c, b - c, d + e, d - e
    return a + p + r, q + 2 * s, p + 4 * r, q + 8 * s + f


def a_of(a: Any, b: Any, c: Any, d: Any) -> tuple[Any, ...]:
    """A times a column of four."""
    p, q, r, s = a + c, b + d, a + 4 * c, 2 * b + 8 * d
    return a, p + q, p - q, r + s, r - s, d


def g_of(a: Any, b: Any, c: Any) -> tuple[Any, ...]:
    """G times a column of three."""
    p, q, r, s = SIXTH * (a + c), SIXTH * b, SIXTH * (FOURTH * a + c), TWELFTH * b
    return FOURTH * a, -1 * p - q, q - p, r + s, r - s, c


def g_t(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> tuple[Any, ...]:
    """G^T times a column of six."""
    p, q = SIXTH * (b + c), SIXTH * (d + e)
    return FOURTH * (a + q) - p, SIXTH * (c - b) + TWELFTH * (d - e), q - p + f


def both_ways(transform: Callable[..., tuple[Any, ...]], tile: list[list[Any]]) -> list[tuple[Any, ...]]:
    """M tile M^T, of rows, for a transform that is M times a column."""
    columns = [transform(*column) for column in zip(*tile, strict=True)]
    return [transform(*row) for row in zip(*columns, strict=True)]


def taken(x: Value, sides: int, row: Any, apart: Any) -> list[list[Value]]:
    """A tile's rows, which lie `row` from one another, their numbers `apart`."""
    return [[load(x, i * row + j * apart) for j in range(sides)] for i in range(sides)]


def put(x: Value, tile: list[tuple[Value, ...]], row: Any, apart: Any) -> None:
    """A tile's rows, to lie likewise."""
    for i, each in enumerate(tile):
        for j, value in enumerate(each):
            store(x, i * row + j * apart, value)


def inputs(d: Value, row: Value, c: Value, v: Value, apart: Value) -> None:
    """V = B^T d B of the tile that begins at d."""
    put(v, both_ways(b_t, taken(d, SEES, row, c)), SEES * apart, apart)


def slopes(dy: Value, row: Value, k: Value, e: Value, apart: Value) -> None:
    """E = A dy A^T of the tile that begins at dy."""
    put(e, both_ways(a_of, taken(dy, TILE, row, k)), SEES * apart, apart)


def outputs(m: Value, apart: Value, bias: Value, y: Value, row: Value, k: Value) -> None:
    """y = A^T m A + bias."""
    b = load(bias)
    tile = both_ways(a_t, taken(m, SEES, SEES * apart, apart))
    put(y, [tuple(each + b for each in one) for one in tile], row, k)


def weights(g: Value, k: Value, u: Value, apart: Value) -> None:
    """U = G g G^T of the weights that begin at g, [3, 3, k]."""
    put(u, both_ways(g_of, taken(g, 3, 3 * k, k)), SEES * apart, apart)


def folded(du: Value, apart: Value, dg: Value, k: Value) -> None:
    """dg [3, 3, k] = G^T dU G."""
    put(dg, both_ways(g_t, taken(du, SEES, SEES * apart, apart)), 3 * k, k)
