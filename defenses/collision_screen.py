"""Collision screen: hides pool items that share a point of feature space with too many that look different.

An attack on the query strategy gives many images nearly the same features; clean images are that near only if they are
nearly the same images. With r = radius * the median distance to the nearest neighbour, and D the median distance of two
random inputs, both over the pool itself, an item's cell holds

    s_i = sum_j max(0, 1 - |z_i - z_j|^2 / r^2) * min(1, |x_i - x_j| / D)^2

strangers, near and unlike; it is dropped when s_i > capacity. No trusted data, no labels, and no matter where the point
lies. s_i is an estimate: distances are those of random projections to 128 dimensions (Johnson and Lindenstrauss), and
where the pool is larger than `witnesses`, only so many of it are asked and the sum is scaled up.

Expected: finds a collision at zero or at the mean feature as long as it is one. Images that an extractor finds empty
(flat patches) have features as short as a collision at zero makes, and go with it. An adaptive attack spreads its
poisons over several points, at most `capacity` at each; diversity_query or a head on trainable features are next.

Reference: molebench, against Mueller and Boettinger, arXiv:2101.10792.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from molebench.cards import Count, Positive, defense
from molebench.filtering import at_peace
from molebench.hooks import View
from molebench.types import Array

WIDTH = 128  # dimensions that distances are measured in: within 12 % of the truth, squared
BLOCK = 1_000  # rows at a time: memory follows it
JUDGES = 1_000  # items whose nearest neighbour says what is near
STEP = 1.0  # the least that two inputs differ by, as stored


@defense(
    paper="molebench; against Mueller and Boettinger, arXiv:2101.10792",
    scenarios=("active",),
    by_modality={"audio": {"radius": 0.6}},
    cost="n x min(n, witnesses) distances a query: 0.4 s for 5 000 items",
)
@dataclass(frozen=True)
class CollisionScreen:
    """radius: size of a cell, as a share of the median distance to the nearest neighbour. capacity: strangers that an
    item may share its cell with. witnesses: most items that each one is compared with.
    """

    radius: Positive = 0.4
    capacity: Positive = 3.0
    witnesses: Count = 2_500

    def screen_pool(self, view: View, rng: np.random.Generator) -> Array:
        """Keeps the items whose cell is not too full; all of them where it is the same cell."""
        crowded = self.suspicion(view, rng) > self.capacity
        return at_peace(crowded, np.zeros(len(crowded), np.int64))

    def suspicion(self, view: View, rng: np.random.Generator) -> Array:
        """How many strangers share each item's cell."""
        z, x = projected(view.z, rng), projected(view.x, rng)
        return strangers(z, x, rng.permutation(len(z))[: self.witnesses], self.radius)


def projected(a: Array, rng: np.random.Generator) -> Float[Array, "n w"]:
    """Rows in at most WIDTH dimensions, about as far from each other as they were."""
    from sklearn.random_projection import GaussianRandomProjection

    rows = a.reshape(len(a), -1)
    if rows.shape[1] <= WIDTH:
        return rows.astype(np.float32)
    onto = GaussianRandomProjection(WIDTH, random_state=int(rng.integers(2**31))).fit(rows[:1].astype(np.float32))
    return np.concatenate([onto.transform(b.astype(np.float32)) for b in blocks(rows)]).astype(np.float32)


def strangers(
    z: Float[Array, "n d"], x: Float[Array, "n e"], who: Int[Array, " m"], radius: float
) -> Float[Array, " n"]:
    """s of each item, from the witnesses `who`; an item is no stranger to itself, nor to its copies."""
    from sklearn.metrics import euclidean_distances

    r, unlike = radius * nearness(z[who]), unlikeness(x[who])
    found = []
    for near, look in zip(blocks(z), blocks(x), strict=True):
        share = np.maximum(0.0, 1.0 - euclidean_distances(near, z[who], squared=True) / r**2)
        s, some = np.zeros(len(near)), share.any(axis=1)
        if some.any():
            other = np.minimum(1.0, euclidean_distances(look[some], x[who], squared=True) / unlike**2)
            s[some] = (share[some] * other).sum(axis=1)
        found.append(s)
    return np.concatenate(found) * (len(z) / max(len(who), 1))


def nearness(z: Float[Array, "m d"]) -> float:
    """The median distance to the nearest neighbour; never zero."""
    from sklearn.neighbors import NearestNeighbors

    least = max(1e-6 * float(np.linalg.norm(z, axis=1).max(initial=0.0)), 1e-12)
    if len(z) < 2:
        return least
    distance, _ = NearestNeighbors(n_neighbors=2).fit(z).kneighbors(z[:JUDGES])
    return max(float(np.median(distance[:, 1])), least)


def unlikeness(x: Float[Array, "m e"]) -> float:
    """The median distance of two random inputs (they come in random order); at least one step."""
    return max(float(np.median(np.linalg.norm(x - np.roll(x, 1, axis=0), axis=1))), STEP)


def blocks(a: Array) -> list[Array]:
    """Consecutive rows, BLOCK at a time."""
    return [a[start : start + BLOCK] for start in range(0, max(len(a), 1), BLOCK)]
