"""The active loop's work: synthetic features, rectified, ten classes that overlap; a loop of the paper's head."""

from typing import Any

import numpy as np

from molebench.heads import HeadSpec
from molebench.hooks import Pipeline
from molebench.rng import stream
from molebench.scenarios.query_loop import Budget, Items, Loop, items
from molebench.types import Samples

POOL, WIDE, CLASSES, TEST = 40_000, 2048, 10, 5_000
QUERIES, SEEDS = 500, 20


def features(n: int, name: str, wide: int = WIDE) -> Items:
    """Features as pooled rectified ones are: not negative, about 0.45 in the mean, classes that overlap."""
    rng = stream(0, "bench", name)
    y = rng.integers(0, CLASSES, n)
    centres = stream(0, "bench", "centres").normal(0.0, 0.08, (CLASSES, wide)).astype(np.float32)
    z = rng.standard_normal((n, wide), dtype=np.float32)
    z *= 0.5
    z += 0.35
    z += centres[y]
    np.maximum(z, 0.0, out=z)
    return items(Samples(np.zeros((n, 1, 1, 1), np.uint8), y), z)


def loop_of(kind: type[Loop], pool: Items, test: Items, queries: int = QUERIES, **more: Any) -> Loop:
    """A loop of the paper's head: one linear layer, one label at a time."""
    return kind(HeadSpec(), Budget(queries, 1, SEEDS), pool, test, CLASSES, 0, 0, Pipeline(), **more)
