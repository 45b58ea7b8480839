"""What each test item contributes to the figure that a record is scored by, from its predictions.

    figure = sum_i c_i,    c_i > 0 where the item is newly right

    active      delta_total:   c_i = 100 / m (after_i - before_i)
    offline     mean_delta_a:  c_i = sum over pairs (u, a) with y_i = a of 100 / (P n_a) (after_ui - before_i); delta_a
                               of one pair alike
    continual   mean_delta_a:  c_i = 100 / (A n_a) (after_i - before_i) where y_i = a is one of A attacked classes

before: clean and undefended; after: poisoned, behind the defense if there is one. Drawing items within their classes
keeps m and n_a, so a bootstrap of the figure is a weighted sum of its contributions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from molebench.record import ArmRecord, Record
from molebench.stages import Arrays
from molebench.types import Array

BEFORE, AFTER, DEFENDED = "clean_undefended", "poisoned_undefended", "poisoned_defended"
Read = Callable[[ArmRecord], Arrays]  # an arm's file of predictions


@dataclass(frozen=True, eq=False)
class Contributions:
    """figure: its name among the record's metrics. y: class of each test item. c: in points."""

    figure: str
    y: Int[Array, " m"]
    c: Float[Array, " m"]


def contributions(record: Record, read: Read) -> Contributions | None:
    """What the items of a record contribute; None where it has no such figure, or one not of its last predictions."""
    suffix, arm = ("_defended", DEFENDED) if record.cell["defenses"] else ("", AFTER)
    names = {"active": ("delta_total",), "offline": ("mean_delta_a", "delta_a"), "continual": ("mean_delta_a",)}
    figure = next((f"{n}{suffix}" for n in names[record.scenario] if f"{n}{suffix}" in record.metrics), None)
    if figure is None or record.cell["attack"]["parameters"].get("reset_confusion") is False:
        return None
    before = read(record.arms[BEFORE])
    y = before["y"]
    right = before["predicted"] == y
    if record.scenario == "offline":
        file = read(record.updates[0].arms[arm])
        return Contributions(figure, y, of_pairs(y, (file["predicted"] == y) * 1.0 - right, attacked(record)))
    shift = (read(record.arms[arm])["predicted"] == y) * 1.0 - right
    if record.scenario == "active":
        return Contributions(figure, y, 100.0 * shift / len(y))
    hit = sorted({a for update in attacked(record) for a in update})
    return Contributions(figure, y, of_pairs(y, shift[None], [hit]))


def attacked(record: Record) -> list[list[int]]:
    """The attacked classes of each update's pairs."""
    classes = record.data.classes
    return [[classes.index(pair.attacked) for pair in update.pairs] for update in record.updates]


def of_pairs(y: Int[Array, " m"], shift: Float[Array, "u m"], attacked: Sequence[Sequence[int]]) -> Float[Array, " m"]:
    """The mean over pairs whose attacked class has test items."""
    n = np.bincount(y)
    known = [(u, a) for u, classes in enumerate(attacked) for a in classes if a < len(n) and n[a]]
    found = np.zeros(len(y))
    for u, a in known:
        mine = y == a
        found[mine] += 100.0 * shift[u, mine] / (len(known) * n[a])
    return found
