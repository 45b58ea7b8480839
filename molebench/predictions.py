"""Predictions on their way into the store, and what a record says of them: arms, and updates with arms of their own."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from molebench import metrics
from molebench.filtering import columns
from molebench.moles import Pair
from molebench.record import ArmRecord, PairRecord, UpdateRecord
from molebench.stages import Arrays
from molebench.store import Store
from molebench.trial import Outcome
from molebench.types import Array
from molebench.updates import Recruitment


def poison_arrays(outcome: Outcome) -> Arrays:
    """What is kept of a poison: inputs, labels and bases with facts, or of each update the images and the moles.

    What a poison is does not depend on how long it took: the same one is the same file.
    """
    poison = outcome.poison
    if isinstance(poison, Recruitment):
        each = {f"{i}.{name}": getattr(u, name) for i, u in enumerate(poison.updates) for name in ("index", "mole")}
        return each or {"index": np.zeros(0, dtype=np.int64)}
    facts = {f"fact.{name}": values for name, values in outcome.poison_facts.items() if name != "seconds"}
    return {"x": poison.samples.x, "y": poison.samples.y, "base": poison.base, **facts}


MOST_COUNTS = 1_000_000  # of an arm's confusion tables in one record: 100 classes have 9 900 pairs


@dataclass(frozen=True)
class Writing:
    """A cell's predictions on their way into the store, and what its record says of them."""

    store: Store
    key: str
    outcome: Outcome
    classes: tuple[str, ...]

    def arms(self) -> dict[str, ArmRecord]:
        """The arms that are played once."""
        return {name: self.arm(name, arm.predicted, arm.trace) for name, arm in self.outcome.arms.items()}

    def arm(self, name: str, predicted: Array, trace: Mapping[str, Array]) -> ArmRecord:
        """Writes an arm's predictions and describes them."""
        file, digest = self.store.save_predictions(self.key, name, {"y": self.outcome.y, "predicted": predicted})
        return self.described(predicted, file, digest, trace)

    def described(
        self, predicted: Array, file: str, digest: str, trace: Mapping[str, Array], whole: bool = True
    ) -> ArmRecord:
        """An arm by class. whole: with its confusion, which can be made again from its predictions."""
        table = metrics.confusion(self.outcome.y, predicted.astype(np.int64), len(self.classes))
        return ArmRecord(
            n=table.sum(axis=1).tolist(),
            correct=table.diagonal().tolist(),
            confusion=table.tolist() if whole else [],
            predictions=file,
            predictions_sha256=digest,
            trace={key: np.asarray(values, dtype=float).tolist() for key, values in trace.items()},
        )

    def updates(self) -> list[UpdateRecord]:
        """Each update with its arms; all updates of an arm in one file, a row each."""
        outcome = self.outcome
        files = {
            name: self.store.save_predictions(self.key, name, {"y": outcome.y, "predicted": arm.predicted})
            for name, arm in outcome.update_arms.items()
            if outcome.updates
        }
        return [
            UpdateRecord(
                pairs=[self.pair(p, score) for p, score in zip(update.pairs, outcome.update_scores[i], strict=True)],
                moles=int(update.mole.sum()),
                size=len(update),
                arms={name: self.updated(i, name, *file) for name, file in files.items()},
            )
            for i, update in enumerate(outcome.updates)
        ]

    def updated(self, number: int, name: str, file: str, digest: str) -> ArmRecord:
        """One update's row of an arm, with what the filters made of it."""
        arm, whole = self.outcome.update_arms[name], len(self.outcome.updates) * len(self.classes) ** 2 <= MOST_COUNTS
        judged = columns(arm.filtered[arm.filtered[:, 0] == number])
        return self.described(arm.predicted[number], file, digest, judged, whole)

    def pair(self, pair: Pair, score: float) -> PairRecord:
        """A pair by name, what is not a number left out."""
        rho, mean = (float(v) if np.isfinite(v) else None for v in (pair.rho, score))
        return PairRecord(
            attacked=self.classes[pair.attacked],
            confounding=self.classes[pair.confounding],
            rho=rho,
            n=pair.n,
            mean_score=mean,
        )
