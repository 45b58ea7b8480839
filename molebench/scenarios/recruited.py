"""What attacks recruit: asked, checked, and described; shared by the scenarios in which images are recruited."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from molebench.errors import CellFailed, MolebenchError, blamed
from molebench.rng import stream
from molebench.trial import Actor, Trial
from molebench.types import Array, Poison
from molebench.updates import Recruitment, RecruitView, Update, malformed


def checked(actor: Actor, view: RecruitView) -> None:
    """Lets an attack refuse what it cannot do, before anything is trained; and a pool of one class."""
    if (view.sizes > 0).sum() < 2:
        raise MolebenchError("the pool holds images of one class; two or more are needed: choose another dataset")
    if actor.check:
        with blamed(f"attack {actor.name}"):
            actor.check(view)


def recruited(trial: Trial, actor: Actor, view: RecruitView) -> Recruitment:
    """What an attack recruits, fit to be trained on; a control draws from its attack's stream."""
    with blamed(f"attack {actor.name}"):
        found: Any = actor.craft(view, stream(trial.seed, "attack", trial.attack.name))
    if isinstance(found, Poison) and not len(found):
        return Recruitment(())
    if not isinstance(found, Recruitment):
        raise CellFailed(f"attack {actor.name} returned {type(found).__name__}; expected a Recruitment")
    if wrong := next((w for u in found.updates if (w := malformed(u, view))), ""):
        raise CellFailed(f"attack {actor.name} returned what cannot be trained on: {wrong}")
    return found


def mean_scores(update: Update, scores: Array, labels: Array) -> list[float]:
    """For each pair, the mean score for the attacked class of the update's images of the confounding class."""
    y = labels[update.index]
    mine = (scores[update.index[y == p.confounding], p.attacked] for p in update.pairs)
    return [float(each.mean()) if len(each) else float("nan") for each in mine]


def facts(updates: Sequence[Update], scored: Sequence[Sequence[float]]) -> dict[str, Array]:
    """rho and mean score of every pair of every update, where they are known."""
    every = {"rho": [p.rho for u in updates for p in u.pairs], "mean_score": [s for each in scored for s in each]}
    return {name: np.array(values)[np.isfinite(values)] for name, values in every.items()}
