"""The images behind an offline cell's pictures: the worst pair's moles beside images that the victim is sure of.

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
    of the moles for the attacked class. Nothing where no update has moles."""
    paired = [i for i, update in enumerate(updates) if update.mole.any() and update.pairs]
    found = [(worst(arms["poisoned_undefended"].predicted[i], before, y, updates[i]), i) for i in paired]
    if not found:
        return {}
    update = updates[min(found)[1]]
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
