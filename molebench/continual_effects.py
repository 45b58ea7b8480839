"""What became of a continual learner's classes and tasks, from the counts and traces of a record alone.

The change of a class is (acc - acc_b) / acc_b in percent, acc_b its final accuracy in the clean undefended arm. Where
acc_b is 10 % or less it says nothing: such a class is in no mean or median over classes.

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment", arXiv:2303.17080, Eq. 7 and 8.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from molebench.metrics import MOST_DROPPED
from molebench.mole_effects import ARMS, BEFORE, percent
from molebench.record import PairRecord, Record
from molebench.types import Array


@dataclass(frozen=True)
class Attacked:
    """A class that an update attacked, and what became of it after the last task.

    task: whose update it was, counted from 0. moles: of this pair. change: in percent, by arm; NaN where nothing of the
    class is right before. kept: it counts in means and medians.
    """

    task: int
    pair: PairRecord
    moles: int
    change: Mapping[str, float]
    kept: bool


def attacks(record: Record) -> Iterator[Attacked]:
    """Every pair of every update, task after task."""
    before, changes = percent(record.arms[BEFORE]), {arm: change(record, arm) for arm in ARMS if arm in record.arms}
    for task, update in enumerate(record.updates):
        for pair in update.pairs:
            c = record.data.classes.index(pair.attacked)
            found = {arm: float(values[c]) for arm, values in changes.items()}
            kept = bool(before[c] > 100 * MOST_DROPPED)
            yield Attacked(task, pair, update.moles // len(update.pairs), found, kept)


def change(record: Record, arm: str) -> Float[Array, " k"]:
    """Percent of its accuracy that each class gains; NaN where there is none to begin with."""
    before = percent(record.arms[BEFORE])
    return 100.0 * (percent(record.arms[arm]) - before) / np.where(before > 0, before, np.nan)


def harm(found: Attacked, arm: str) -> tuple[bool, float]:
    """A key to sort by: classes that lose most first, dropped ones behind all that count, unknown ones last."""
    value = found.change[arm]
    return not found.kept, value if np.isfinite(value) else np.inf


def task_matrix(record: Record, arm: str) -> Float[Array, "t t"]:
    """Percent right of each task's items (column) after each task (row); NaN where nothing is known."""
    trace = record.arms[arm].trace
    found = np.full((len(trace["classes"]),) * 2, np.nan)
    for j in range(len(found)):
        if values := trace.get(f"accuracy_on_task_{j}"):
            found[j:, j] = 100.0 * np.array(values)
    return found
