"""Batch anomaly: batches of an update that are harder than honest ones are split up and diluted, not dropped.

By the model's beliefs p before the update, with mu_ca and sigma_ca the mean and the spread of log p(a | x) over the
labelled items of class c, a batch B has two statistics:

    margin         mean over i in B of log p(y_i | x_i) - max over a != y_i of log p(a | x_i),
    concentration  max over pairs (c, a) of sum over i in B_c of (log p(a | x_i) - mu_ca) / (sigma_ca sqrt |B_c|),

how sure the model is of the batch, and how much one class in it, of the items B_c, is taken for one other. Each is
compared with that of `draws` batches of labelled items with the same labels, as a robust z-score (median, 1.4826 MAD).
A batch is outlying where its margin is more than `limit` below the usual, or its concentration above it. Its items are
spread at random over the whole schedule, with `ratio` labelled items each, drawn evenly from all classes; the others
stay in order. Nothing is lost: an honest batch that is judged wrongly is trained on all the same.

Logarithms, for a few hard images make up nearly all of a mean probability: on them robust z-scores raise no alarm for
honest batches and none for moles. Measured on a residual network's digits (20 moles of 200 images, limit 3), 65 % of
batches of 64 are found and 90 % of 128, but 8 % of 20, which hold two moles each; of honest batches about 1 % are.
Where every batch is outlying what is left is replay. Adaptive attack: moles so few in each batch that none stands out.

Reference: molebench; the anomaly of batches after Shumailov et al., NeurIPS 2021, arXiv:2104.09667.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Bool, Float, Int

from molebench.cards import Count, Positive, defense
from molebench.errors import MolebenchError
from molebench.hooks import View
from molebench.types import Array

LEAST = 1e-6  # belief that counts as none
OWN = -1e3  # an item is not taken for what it is


@defense(
    paper="molebench; after Shumailov et al., NeurIPS 2021, arXiv:2104.09667",
    scenarios=("offline", "continual"),
    cost="up to 1 + ratio times the training of an update",
)
@dataclass(frozen=True)
class BatchAnomaly:
    """limit: robust z-score beyond which a batch is outlying. ratio: labelled items for each of an outlying batch.
    draws: batches of labelled items that each batch is compared with.
    """

    limit: Positive = 3.0
    ratio: Annotated[float, Ge(0), Le(7)] = 1.0
    draws: Count = 100

    def schedule(self, view: View, rng: np.random.Generator) -> Array:
        """The update in the order in which it came, but for outlying batches."""
        known = view.labelled_y
        if view.p is None or view.labelled_p is None or known is None or not len(known):
            raise MolebenchError("batch_anomaly needs the model's beliefs of labelled items; this scenario shows none")
        usual = moments(view.labelled_p, known)
        fresh, old = doubts(view.p, view.labels, usual), doubts(view.labelled_p, known, usual)
        outlying = np.zeros(len(view.x), dtype=bool)
        for batch in np.split(np.arange(len(view.x)), range(view.count, len(view.x), view.count)):
            y = view.labels[batch]
            drawn = statistics(old[alike(y, known, self.draws, rng)], y)
            outlying[batch] = anomalous(statistics(fresh[batch][None], y), drawn, self.limit)
        return spread(outlying, even(known, int(self.ratio * outlying.sum()), rng), rng)


def moments(p: Float[Array, "l k"], y: Int[Array, " l"]) -> Float[Array, "2 k k"]:
    """Mean and spread of log p by label (rows) and class; 0 and 1 of labels that are not there."""
    found = np.stack([np.zeros((p.shape[1],) * 2), np.ones((p.shape[1],) * 2)])
    log = np.log(np.maximum(p, LEAST))
    for c in np.unique(y):
        found[:, c] = log[y == c].mean(axis=0), np.maximum(log[y == c].std(axis=0), 1e-3)
    return found


def doubts(p: Float[Array, "n k"], y: Int[Array, " n"], usual: Float[Array, "2 k k"]) -> Float[Array, "n j"]:
    """Of each item how much more than usual it is taken for each other class; in the last column, its log margin."""
    log, own = np.log(np.maximum(p, LEAST)), np.arange(p.shape[1]) == y[:, None]
    margin = log[own] - np.where(own, OWN, log).max(axis=1)
    return np.column_stack([np.where(own, OWN, (log - usual[0, y]) / usual[1, y]), margin])


def statistics(doubt: Float[Array, "r s j"], y: Int[Array, " s"]) -> Float[Array, "r 2"]:
    """Margin and concentration of batches of these labels."""
    classes, counts = np.unique(y, return_counts=True)
    sums = (y == classes[:, None]).astype(np.float64) @ doubt[:, :, :-1]
    pairs = sums / np.sqrt(counts)[:, None]
    return np.stack([doubt[:, :, -1].mean(axis=1), pairs.max(axis=(1, 2))], axis=1)


def alike(y: Int[Array, " s"], known: Int[Array, " l"], draws: int, rng: np.random.Generator) -> Int[Array, "r s"]:
    """Batches of labelled items with these labels; of a class that is not labelled, any."""
    found = np.empty((draws, len(y)), dtype=np.int64)
    for c in np.unique(y):
        mine = np.flatnonzero(known == c)
        found[:, y == c] = rng.choice(mine if len(mine) else len(known), (draws, int((y == c).sum())))
    return found


def anomalous(here: Float[Array, "1 2"], usual: Float[Array, "r 2"], limit: float) -> bool:
    """Whether a batch is of too little margin, or takes one class too much for another."""
    middle = np.median(usual, axis=0)
    scale = 1.4826 * np.median(np.abs(usual - middle), axis=0)
    away = (here[0] - middle) * [-1, 1] > limit * scale + 1e-6
    return bool(away.any())


def even(y: Int[Array, " l"], m: int, rng: np.random.Generator) -> Int[Array, " m"]:
    """m random items, all classes alike; each at most once while there are enough."""
    weight = 1.0 / np.bincount(y)[y]
    return rng.choice(len(y), m, replace=m > len(y), p=weight / weight.sum())


def spread(outlying: Bool[Array, " n"], replayed: Int[Array, " m"], rng: np.random.Generator) -> Int[Array, " s"]:
    """Items in the order in which they are; outlying and replayed ones anywhere among them."""
    n, stay = len(outlying), np.flatnonzero(~outlying)
    place = rng.random(n + len(replayed))
    place[stay] = (np.arange(len(stay)) + 0.5) / max(len(stay), 1)
    return np.concatenate([np.arange(n), n + replayed])[np.argsort(place, kind="stable")]
