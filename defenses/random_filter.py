"""Random filter: removes as many items of each class as the defenses before it would, but random ones. Never ranked.

`--defense feature_norm --defense random_filter` asks feature_norm which items it would drop, and drops as many of each
class at random instead: what is left of feature_norm's gain is the gain of having fewer data. Of the pool it drops as
many as were to go at the first screening, the same ones to the end. On its own it drops `share` of each class.

Which items are random is fixed by a hash of their bytes: a draw anew at every query would only delay a poison, and be
no match for a filter, which is of the same opinion every time.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from molebench.cards import Share, defense
from molebench.hooks import View
from molebench.types import Array


@defense(
    paper="molebench: control; the random baseline of Armory",
    scenarios=("active", "offline", "continual"),
    sees=("labels", "dropped"),
    cost="a hash an item and query",
)
@dataclass(frozen=True)
class RandomFilter:
    """share: how much of each class is dropped where no defense stands before this one."""

    share: Share = 0.1

    def screen_pool(self, view: View, rng: np.random.Generator) -> Array:
        """Keeps a random part of the candidates."""
        del rng
        counts = np.bincount(view.labels) * self.share if view.dropped is None else view.dropped
        return spared(view.labels, np.floor(counts), lots(view.x))

    def after_label(self, view: View, rng: np.random.Generator) -> Array:
        """Keeps a random part of what was bought."""
        return self.screen_pool(view, rng)

    def filter_train(self, view: View, rng: np.random.Generator) -> Array:
        """Keeps a random part of the labelled items."""
        return self.screen_pool(view, rng)


def lots(x: Array) -> Float[Array, " n"]:
    """A number in [0, 1) for each item, from its bytes alone."""
    heads = [hashlib.blake2b(item.tobytes(), digest_size=8).digest() for item in x]
    return np.frombuffer(b"".join(heads), dtype=np.uint64) / 2.0**64


def spared(y: Int[Array, " n"], counts: Real[Array, " k"], lot: Float[Array, " n"]) -> Bool[Array, " n"]:
    """False for the counts[c] items of lowest lot in each class c."""
    keep = np.ones(len(y), dtype=bool)
    for c in np.flatnonzero(counts):
        mine = np.flatnonzero(y == c)
        keep[mine[np.argsort(lot[mine], kind="stable")[: int(counts[c])]]] = False
    return keep
