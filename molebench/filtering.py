"""Filters: what they may not take away, and how their judgement is counted.

A row of counts is made at each judgement: when, how many items and how many poisons were judged, how many of each were
removed, the AUROC of the filter's score, and then of each class how many clean items were judged and how many removed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from molebench.metrics import Metric, auroc, count
from molebench.types import Array

COUNTS = ("turn", "judged", "judged_poisons", "removed", "removed_poisons")
BEFORE_CLASSES = len(COUNTS) + 1  # the AUROC


def at_peace(suspect: Bool[Array, " n"], y: Int[Array, " n"]) -> Bool[Array, " n"]:
    """Which items to keep: those that are not suspect, and every item of a class that would lose them all.

    For what is labelled; of an update, whose moles may be all that it holds of a class, it would give them back.
    """
    emptied = [c for c in np.unique(y) if suspect[y == c].all()]
    return ~suspect | np.isin(y, emptied)


def judgement(
    turn: int,
    y: Int[Array, " n"],
    poison: Bool[Array, " n"],
    keep: Bool[Array, " n"],
    suspicion: Array | None,
    k: int,
) -> Float[Array, " w"]:
    """One row; without a score of its own a filter's is what it removes."""
    counts = (turn, len(keep), poison.sum(), (~keep).sum(), (poison & ~keep).sum())
    score = (~keep if suspicion is None else suspicion).astype(np.float64)
    clean = [np.bincount(y[~poison & mask], minlength=k) for mask in (np.ones_like(keep), ~keep)]
    return np.concatenate([np.array([*counts, auroc(score, poison)], dtype=np.float64), *clean])


def rows(judgements: Sequence[Any], k: int) -> Float[Array, "f w"]:
    """Judgements as an array; none as an empty one."""
    return np.array(judgements, dtype=np.float64).reshape(-1, BEFORE_CLASSES + 2 * k)


def columns(filtered: Float[Array, "f w"]) -> dict[str, Array]:
    """Rows as the record keeps them: counts by name, AUROCs where poisons and clean items were judged together, and the
    clean items of each class that were judged and removed, over all rows."""
    if not len(filtered):
        return {}
    found = {f"filter_{name}": column for name, column in zip(COUNTS, filtered.T, strict=False)}
    scores = filtered[:, BEFORE_CLASSES - 1]
    judged, removed = by_class(filtered)
    named = {"filter_clean_by_class": judged, "filter_removed_clean_by_class": removed}
    return found | {"filter_auroc": scores[np.isfinite(scores)], **named}


def by_class(filtered: Float[Array, "f w"]) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """Clean items of each class that were judged, and that were removed, over all rows."""
    judged, removed = np.split(filtered[:, BEFORE_CLASSES:].sum(axis=0), 2)
    return judged, removed


def rates(filtered: Float[Array, "f w"]) -> dict[str, float]:
    """Precision, recall and AUROC over all rows, and the share of clean items removed, of all and of the class that
    loses most; what is undefined is left out."""
    _, _, poisons, removed, caught, scores = filtered.T[:BEFORE_CLASSES]
    judged, gone = by_class(filtered)
    found = {}
    if removed.sum():
        found["filter_precision"] = caught.sum() / removed.sum()
    if poisons.sum():
        found["filter_recall"] = caught.sum() / poisons.sum()
    if np.isfinite(scores).any():
        found["filter_auroc"] = float(np.nanmean(scores))
    if judged.any():
        found["filter_removed_clean"] = gone.sum() / judged.sum()
        found["filter_removed_clean_worst"] = (gone[judged > 0] / judged[judged > 0]).max()
    return {name: float(value) for name, value in found.items()}


def of_a_defense(
    seconds: tuple[float, float], mib: tuple[float, float], filtered: Float[Array, "f w"], trusted: int
) -> dict[str, Metric]:
    """What a defense costs, (defended, undefended), how well its filters judge, and the trusted images it was shown."""
    ratios = {"time_ratio": seconds[0] / max(seconds[1], 1e-9), "memory_ratio": mib[0] / max(mib[1], 1e-9)}
    found = ratios | rates(filtered) | ({"trusted_images": trusted} if trusted else {})
    return {name: count(name, value) for name, value in found.items()}
