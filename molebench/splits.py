"""Holding data out: the stratified split that datasets without one of their own share."""

import numpy as np
from jaxtyping import Bool, Int

from molebench.types import Array


def held_out(y: Int[Array, " n"], share: float, rng: np.random.Generator) -> Bool[Array, " n"]:
    """True for a random `share` of each class: at least one of its samples, and never all of them."""
    test = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == label))
        test[members[: min(max(1, round(share * len(members))), len(members) - 1)]] = True
    return test
