"""Who says P(y = a | x): what a scorer is shown, and what it returns.

A scorer's `load(workspace)` gives a function of a `ScoringView` and the weights that it works with (None where it has
none). Scores are [n, k], over the whole label set of the dataset in its order, and come from the attacker's copy of the
data: no scorer but `victim` meets the learner under attack.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from molebench.progress import Progress, silent
from molebench.types import Array, Samples


@dataclass(frozen=True, eq=False)
class ScoringView:
    """What a scorer sees: images with their true labels, in order, the names of all classes, a generator of its own,
    and where its card says that it knows the victim, what that believes of these images [n, k]."""

    samples: Samples
    classes: tuple[str, ...]
    rng: np.random.Generator
    progress: Progress = silent
    believed: Callable[[], Float[Array, "n k"]] | None = None


Score = Callable[[ScoringView], Float[Array, "n k"]]
