"""What a cell's pictures need and its record does not hold: a few poisons beside their originals, and a map of f(x).

z: features of the clean pool; m, V: their mean and first two principal axes (of at most 1 000 random rows);
    map(z') = (z' - m) V.
The axes are those of clean features alone: poisons are placed on the map, they do not draw it.

Reference: Mueller, Boettinger, "Adversarial Vulnerability of Active Transfer Learning", IDA 2021,
arXiv:2101.10792, Fig. 1 and 2.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from molebench.collision import select_bases
from molebench.rng import stream
from molebench.types import Array, Poison, Samples

SHOWN = 10  # poisons beside their originals
MOST = 1_000  # points of a kind on the map: enough to see, few enough for a quick decomposition
FACTS = ("psnr", "snr", "collision_ratio")  # of the poisons shown

Points = tuple[Float[Array, "_ d"], Int[Array, " _"]]  # features and labels


@dataclass(frozen=True, eq=False)
class Axes:
    """A plane in feature space. share: of the variance of the points it was fitted to, along each axis."""

    mean: Float[Array, " d"]
    axes: Float[Array, "2 d"]
    share: Float[Array, " 2"]

    def placed(self, z: Float[Array, "n d"]) -> Float[Array, "n 2"]:
        """Where features fall on the plane."""
        return ((z - self.mean) @ self.axes.T).astype(np.float32)


def principal(z: Float[Array, "n d"]) -> Axes:
    """The first two principal axes, each pointing where its largest loading is positive."""
    from scipy.linalg import eigh

    n, mean = len(z), z.mean(axis=0, dtype=np.float64)
    centred = z - mean
    gram = centred @ centred.T  # n by n is the smaller, for n is at most MOST
    variance, rows = (found[..., ::-1] for found in eigh(gram, subset_by_index=[n - 2, n - 1]))
    total = max(float(np.trace(gram)), np.finfo(np.float64).tiny)
    axes = rows.T @ centred / np.sqrt(np.maximum(variance, 1e-12 * total))[:, None]
    loudest = axes[np.arange(2), np.abs(axes).argmax(axis=1)]
    return Axes(mean, axes * np.where(loudest < 0, -1.0, 1.0)[:, None], np.maximum(variance, 0) / total)


def illustration(
    base: Samples,
    poison: Poison,
    facts: Mapping[str, Array],
    points: Mapping[str, Points],
    seed: int,
    rate: int | None = None,
) -> dict[str, Array]:
    """The arrays of a cell's pictures; none where there is no poison to show.

    base: what the attacker had. facts: of each poison. points: features and labels of the clean 'pool', and of what
    each arm injects into it. rate: samples a second, kept where there is time.
    """
    if not len(poison):
        return {}
    heard = {} if rate is None else {"rate": np.array([rate])}
    return pairs(base, poison, facts, seed) | heard | plane(points, seed)


def pairs(base: Samples, poison: Poison, facts: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """Some poisons, random within their class and of as many classes as can be, with their originals and facts."""
    order = stream(seed, "illustration", "pairs").permutation(len(poison)).astype(np.float64)
    chosen = select_bases(order, poison.samples.y, SHOWN, balance=True)
    chosen = chosen[np.argsort(poison.samples.y[chosen], kind="stable")]
    shown = {f"fact.{name}": facts[name][chosen] for name in FACTS if name in facts}
    original = base.x[poison.base[chosen]]
    return {"original": original, "poison": poison.samples.x[chosen], "label": poison.samples.y[chosen], **shown}


def plane(points: Mapping[str, Points], seed: int) -> dict[str, Array]:
    """Where the points of every name fall on the plane of the pool's, with their labels."""
    kept = {name: drawn(len(y), seed, name) for name, (_, y) in points.items() if len(y)}
    z = {name: points[name][0][some] for name, some in kept.items()}
    if z["pool"].shape[1] < 2 or not all(np.isfinite(each).all() for each in z.values()):
        return {}
    axes = principal(z["pool"])
    found = {"map.share": axes.share}
    for name, some in kept.items():
        found |= {f"map.{name}": axes.placed(z[name]), f"map.{name}.label": points[name][1][some]}
    return found


def drawn(n: int, seed: int, name: str) -> Int[Array, " m"]:
    """All of n items, or a random `MOST` of them, in order."""
    return np.sort(stream(seed, "illustration", name).permutation(n)[:MOST])
