"""The images behind a cell's pictures of moles: one pair's, beside images of its classes that the scorer is sure of.

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment", arXiv:2303.17080, Fig. 2.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int, Integer

from molebench.trial import UpdateArm
from molebench.types import Array, Samples
from molebench.updates import Update

SHOWN = 25  # images of each kind


def gallery(
    updates: Sequence[Update],
    arms: Mapping[str, UpdateArm],
    scores: Float[Array, "n k"],
    pool: Samples,
    y: Int[Array, " m"],
    before: Integer[Array, " m"],
) -> dict[str, Array]:
    """moles, attacked, confounding: images of the pair that lost most, best first; pair: its two classes, and `scores`
    of the moles for the attacked class. Nothing where no update has moles. Offline the scorer is the victim."""
    paired = [i for i, update in enumerate(updates) if update.mole.any() and update.pairs]
    found = [(worst(arms["poisoned_undefended"].predicted[i], before, y, updates[i]), i) for i in paired]
    if not found:
        return {}
    return portrait(updates[min(found)[1]], scores, pool)


def most_confusable(updates: Sequence[Update], scores: Float[Array, "n k"] | None, pool: Samples) -> dict[str, Array]:
    """The same of the update whose first pair has the largest rho; nothing where no update has moles."""
    paired = [update for update in updates if update.mole.any() and update.pairs]
    if scores is None or not paired:
        return {}
    return portrait(max(paired, key=lambda update: update.pairs[0].rho), scores, pool)


def portrait(update: Update, scores: Float[Array, "n k"], pool: Samples) -> dict[str, Array]:
    """The moles of an update's first pair, and the images of its two classes that the scorer is surest of."""
    a, c = update.pairs[0][:2]
    mine = update.index[update.mole]
    moles = mine[pool.y[mine] == c][:SHOWN]
    shown = {"moles": moles, "attacked": surest(scores, pool.y, a), "confounding": surest(scores, pool.y, c)}
    return {
        **{name: pool.x[index] for name, index in shown.items()},
        "scores": scores[moles, a],
        "pair": np.array([a, c]),
    }


def worst(after: Integer[Array, " m"], before: Integer[Array, " m"], y: Int[Array, " m"], update: Update) -> float:
    """The change in accuracy of an update's first attacked class."""
    mine = y == update.pairs[0].attacked
    return float((after[mine] == y[mine]).mean() - (before[mine] == y[mine]).mean()) if mine.any() else 0.0


def surest(scores: Float[Array, "n k"], labels: Int[Array, " n"], label: int) -> Int[Array, " s"]:
    """The images of a class that the victim is surest of."""
    mine = np.flatnonzero(labels == label)
    found: Array = mine[np.argsort(-scores[mine, label], kind="stable")[:SHOWN]]
    return found
