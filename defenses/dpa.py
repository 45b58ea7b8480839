"""Deep Partition Aggregation: many small models, each of its own part of the labels, and a vote that a few cannot turn.

Every labelled item belongs to one of m parts, chosen by a hash of its bytes alone; part i gives a base model g_i, a
softmax regression on features, and
    n_c(x) = |{i: g_i(x) = c}|,    g(x) = argmax_c n_c(x), the lower class of a tie.
One poison more or less changes one part, so one vote: with c = g(x), the prediction withstands
    rho(x) = min over c' != c of floor((n_c - n_c' - [c' < c]) / 2)
items put in or taken out (a changed item counts as two). For that a base model must depend on nothing but its part as
a set: items are sorted by their hash, features are scaled to length 1 one by one, the solver draws nothing. A part
without a label abstains. P(y | x) = (n_c + s) / (sum n + s k), smoothed by s; queries go where the committee disagrees.

Expected: with hundreds of collisions among few labels every part holds some, and the certificate is of one given set of
labels, not of what queries add to it; the price is that each model sees 1 / m of the labels.
Adaptive attack: one poison for each of rho + 1 parts, chosen by their hash, which is public.
Deviations: the paper's parts are of thousands of images with a deep network each.

Reference: Levine, Feizi, "Deep Partition Aggregation: Provable Defenses against General Poisoning Attacks", ICLR 2021,
arXiv:2006.14768.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from molebench.cards import Count, Positive, defense
from molebench.errors import MolebenchError
from molebench.hooks import View
from molebench.types import Array

ABSTAINS = -1
ITERATIONS = 200  # of the solver; it stops long before


@defense(
    paper="Levine and Feizi, ICLR 2021, arXiv:2006.14768",
    scenarios=("active",),
    cost="0.3 s a training on one core, of 6 000 items and 520 labels",
)
@dataclass(frozen=True)
class Dpa:
    """parts: how many models share the labels; few labels bear few. strength: of each model's l2 penalty.
    smoothing: votes that every class is given in advance.
    """

    parts: Count = 5
    strength: Positive = 0.03
    smoothing: Positive = 0.1

    def fit(self, view: View, rng: np.random.Generator) -> Array:
        """The smoothed shares of the votes on each of the view's items."""
        del rng
        if view.labelled_x is None or view.labelled_z is None or view.labelled_y is None:
            raise MolebenchError("defense dpa needs labelled items with features; this moment shows none")
        names = digests(view.labelled_x)
        votes = cast(view.z, view.labelled_z, view.labelled_y, names, self.parts, self.strength)
        n = tallies(votes, view.k) + self.smoothing
        return n / n.sum(axis=1, keepdims=True)


def digests(x: Array) -> list[bytes]:
    """A name for each item, from its bytes alone."""
    return [hashlib.blake2b(item.tobytes(), digest_size=16).digest() for item in x]


def cast(
    z: Float[Array, "n d"],
    own: Float[Array, "l d"],
    y: Int[Array, " l"],
    names: list[bytes],
    parts: int,
    strength: float,
) -> Int[Array, "n m"]:
    """What the base model of each part says of the items z, by the class; ABSTAINS where its part is empty."""
    from sklearn.preprocessing import normalize

    z, own = normalize(z), normalize(own)  # each by its own length: no item moves another's features
    order = np.array(sorted(range(len(y)), key=lambda i: (names[i], int(y[i]))), dtype=np.int64)
    part = np.array([int.from_bytes(names[i], "big") % parts for i in order], dtype=np.int64)
    return np.stack(
        [base(z, own[mine], y[mine], strength) for mine in (order[part == p] for p in range(parts))], axis=1
    )


def base(z: Float[Array, "n d"], own: Float[Array, "l d"], y: Int[Array, " l"], strength: float) -> Int[Array, " n"]:
    """The class of each item z by a softmax regression on one part."""
    from sklearn.linear_model import LogisticRegression

    there = np.unique(y)
    if len(there) < 2:
        return np.full(len(z), there[0] if len(there) else ABSTAINS, dtype=np.int64)
    return LogisticRegression(C=1 / strength, max_iter=ITERATIONS).fit(own, y).predict(z).astype(np.int64)


def tallies(votes: Int[Array, "n m"], k: int) -> Int[Array, "n k"]:
    """How many models are for each class."""
    return (votes[:, :, None] == np.arange(k)).sum(axis=1)


def certificate(votes: Int[Array, "n m"], k: int) -> Int[Array, " n"]:
    """rho: how many items put in or taken out of the labelled set each prediction withstands; all, of one class."""
    if k == 1:
        return np.full(len(votes), votes.shape[1], dtype=np.int64)
    n, rows = tallies(votes, k), np.arange(len(votes))
    first = n.argmax(axis=1)
    gap = n[rows, first][:, None] - n - (np.arange(k) < first[:, None])
    gap[rows, first] = np.iinfo(gap.dtype).max  # nobody is overtaken by himself
    return gap.min(axis=1) // 2
