"""Filters on updates: what stands in for a removed image."""

import numpy as np
from jaxtyping import Bool, Int

from molebench.types import Array


def refilled(
    index: Int[Array, " m"], keep: Bool[Array, " m"], labels: Int[Array, " p"], rng: np.random.Generator
) -> Int[Array, " m"]:
    """A random image of the same class for each removed one, from outside the update where there are enough.

    labels: of the whole pool.
    """
    found, mine = index.copy(), labels[index]
    for c in np.unique(mine[~keep]):
        gone = ~keep & (mine == c)
        free = np.setdiff1d(np.flatnonzero(labels == c), index)
        few = len(free) < gone.sum()
        found[gone] = rng.choice(np.flatnonzero(labels == c) if few else free, int(gone.sum()), replace=few)
    return found
