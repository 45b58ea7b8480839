"""Parts of data with the same share of every class: held out for tests, or kept as a smaller pool."""

import numpy as np
from jaxtyping import Bool, Int

from molebench.rng import stream
from molebench.types import Array, Samples


def held_out(y: Int[Array, " n"], share: float, rng: np.random.Generator) -> Bool[Array, " n"]:
    """True for a random `share` of each class: at least one of its samples, and never all of them."""
    test = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == label))
        test[members[: min(max(1, round(share * len(members))), len(members) - 1)]] = True
    return test


def some_of_each(y: Int[Array, " n"], count: int, rng: np.random.Generator) -> Int[Array, " m"]:
    """Up to `count` random ones of each class, in random order."""
    chosen = [rng.permutation(np.flatnonzero(y == label))[:count] for label in np.unique(y)]
    return rng.permutation(np.concatenate([np.zeros(0, dtype=np.int64), *chosen]))


def share_of(samples: Samples, most: int | None, seed: int, name: str) -> Samples:
    """The samples, or a random part of them with the same share of every class; `name` is the stream of the draw."""
    if most is None or most >= len(samples):
        return samples
    rng, share = stream(seed, name), most / len(samples)
    members = [np.flatnonzero(samples.y == c) for c in np.unique(samples.y)]
    kept = [rng.permutation(m)[: max(round(share * len(m)), 1)] for m in members]
    return samples[np.sort(np.concatenate(kept))]
