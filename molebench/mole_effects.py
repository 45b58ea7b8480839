"""What recruited updates did, from the counts of a record: Delta by pair, by N and under each arm, and confusions.

Delta = accuracy after - before, in points: a drop is negative. Over several records, which differ in seed only, it is
their mean. Updates of one pair each make the maps and the lines; an update of several pairs has no Delta of one alone.

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment", arXiv:2303.17080, Figs. 3-5 and 7-10.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from molebench.record import ArmRecord, Record
from molebench.types import Array

BEFORE, ATTACK, CONTROL, DEFENDED = "clean_undefended", "poisoned_undefended", "control_undefended", "poisoned_defended"
ARMS = {ATTACK: "attack", CONTROL: "control", DEFENDED: "attack, defended"}


@dataclass(frozen=True, eq=False)
class Effects:
    """A record's updates of one pair each. size: N. score: mean of the moles; NaN where there are none. delta: of every
    class, by arm; NaN where a class has no test item. total: of all test items, by arm."""

    attacked: Int[Array, " u"]
    confounding: Int[Array, " u"]
    size: Int[Array, " u"]
    rho: Float[Array, " u"]
    score: Float[Array, " u"]
    delta: Mapping[str, Float[Array, "u k"]]
    total: Mapping[str, Float[Array, " u"]]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every (attacked, confounding) once, in order."""
        return sorted(set(zip(self.attacked.tolist(), self.confounding.tolist(), strict=True)))

    @property
    def swept(self) -> bool:
        """Whether a pair was tried more than once, which is at several sizes."""
        return len(self.pairs) < len(self.size)


def effects(record: Record) -> Effects:
    """What each update of one pair did, under every arm that all of them have."""
    updates = [u for u in record.updates if len(u.pairs) == 1]
    pairs, before, classes = [u.pairs[0] for u in updates], record.arms[BEFORE], record.data.classes
    arms = [arm for arm in ARMS if updates and all(arm in u.arms for u in updates)]
    scores = [p.mean_score if u.moles else None for u, p in zip(updates, pairs, strict=True)]
    return Effects(
        attacked=np.array([classes.index(p.attacked) for p in pairs], dtype=np.int64),
        confounding=np.array([classes.index(p.confounding) for p in pairs], dtype=np.int64),
        size=np.array([u.moles or p.n for u, p in zip(updates, pairs, strict=True)], dtype=np.int64),
        rho=np.array([p.rho for p in pairs], dtype=np.float64),
        score=np.array(scores, dtype=np.float64),
        delta={arm: np.stack([percent(u.arms[arm]) - percent(before) for u in updates]) for arm in arms},
        total={arm: np.array([overall(u.arms[arm]) - overall(before) for u in updates]) for arm in arms},
    )


def percent(arm: ArmRecord) -> Float[Array, " k"]:
    """Accuracy of each class; NaN where it has no test item."""
    n = np.array(arm.n, dtype=np.float64)
    return 100.0 * np.array(arm.correct) / np.where(n > 0, n, np.nan)


def overall(arm: ArmRecord) -> float:
    """Accuracy of all test items, in percent."""
    return 100.0 * sum(arm.correct) / sum(arm.n)


def shares(arm: ArmRecord) -> Float[Array, "k k"]:
    """Percent of each true class (row) taken for each class; NaN where it has no test item."""
    counts = np.array(arm.confusion, dtype=np.float64)
    n = counts.sum(axis=1, keepdims=True)
    return 100.0 * counts / np.where(n > 0, n, np.nan)


def of_attacked(found: Effects, arm: str) -> Float[Array, " u"]:
    """Delta of each update's attacked class."""
    return found.delta[arm][np.arange(len(found.size)), found.attacked]


def of_confounding(found: Effects, arm: str) -> Float[Array, " u"]:
    """Delta of each update's confounding class."""
    return found.delta[arm][np.arange(len(found.size)), found.confounding]


def of_others(found: Effects, arm: str) -> Float[Array, " u"]:
    """Mean Delta of the classes that are neither; NaN where there is none."""
    others, row = found.delta[arm].copy(), np.arange(len(found.size))
    others[row, found.attacked] = others[row, found.confounding] = np.nan
    count = np.isfinite(others).sum(axis=1)
    return np.nansum(others, axis=1) / np.where(count > 0, count, np.nan)


def of_all(found: Effects, arm: str) -> Float[Array, " u"]:
    """Delta of all test items."""
    return found.total[arm]


@dataclass(frozen=True)
class Map:
    """One map of pairs. one: whether its numbers are of one class; those of many are smaller, and drawn finer."""

    title: str
    arm: str
    values: Callable[[Effects, str], Float[Array, " u"]]
    one: bool


MAPS = (
    Map("attacked class", ATTACK, of_attacked, one=True),
    Map("attacked class, control", CONTROL, of_attacked, one=True),
    Map("confounding class", ATTACK, of_confounding, one=True),
    Map("mean of the other classes", ATTACK, of_others, one=False),
    Map("all test items", ATTACK, of_all, one=False),
    Map("all test items, control", CONTROL, of_all, one=False),
    Map("attacked class, defended", DEFENDED, of_attacked, one=True),
    Map("all test items, defended", DEFENDED, of_all, one=False),
)


def maps(found: Sequence[Effects], at: int | None) -> dict[Map, Float[Array, "k k"]]:
    """Every map that all of these have numbers for, at size `at` of a sweep: the mean over them."""
    there = [m for m in MAPS if all(m.arm in each.delta for each in found)]
    grids = {m: np.mean([table(each, m.values(each, m.arm), at) for each in found], axis=0) for m in there}
    return {m: grid for m, grid in grids.items() if np.isfinite(grid).any()}


def table(found: Effects, values: Float[Array, " u"], at: int | None) -> Float[Array, "k k"]:
    """Values at [attacked, confounding], of the updates of one size where it is given; NaN where there is none."""
    k = found.delta[ATTACK].shape[1]
    chosen = np.ones(len(found.size), dtype=bool) if at is None else found.size == at
    grid = np.full((k, k), np.nan)
    grid[found.attacked[chosen], found.confounding[chosen]] = values[chosen]
    return grid


def harshest_size(found: Sequence[Effects]) -> int | None:
    """The N of a sweep at which attacked classes lose most on average, the smallest of equals; None without a sweep."""
    if not any(each.swept for each in found):
        return None
    tried = np.unique(np.concatenate([each.size for each in found]))
    mean = [np.nanmean(np.concatenate([of_attacked(e, ATTACK)[e.size == n] for e in found])) for n in tried]
    return int(tried[int(np.argmin(mean))])


def by_size(found: Effects, arm: str) -> tuple[Int[Array, " s"], Float[Array, "p s"]]:
    """Every N, and Delta of the attacked class of each pair at each; NaN where a pair was not tried."""
    x, row = np.unique(found.size), {pair: i for i, pair in enumerate(found.pairs)}
    y = np.full((len(row), len(x)), np.nan)
    rows = [row[pair] for pair in zip(found.attacked.tolist(), found.confounding.tolist(), strict=True)]
    y[rows, np.searchsorted(x, found.size)] = of_attacked(found, arm)
    return x, y


def best(found: Effects) -> Int[Array, " p"]:
    """Of each pair, in order, the update that cost its attacked class most, the smallest of equals."""
    order = np.lexsort((found.size, of_attacked(found, ATTACK), found.confounding, found.attacked))
    pairs = np.stack([found.attacked[order], found.confounding[order]])
    first = np.concatenate([[True], (np.diff(pairs, axis=1) != 0).any(axis=0)])
    kept: Array = order[first]
    return kept


def worst_update(record: Record) -> int | None:
    """The update whose attacked class (of several, the first) loses most; the first of equals, None without pairs."""
    before, classes = percent(record.arms[BEFORE]), record.data.classes
    loss = {
        u: float(np.nan_to_num((percent(each.arms[ATTACK]) - before)[classes.index(each.pairs[0].attacked)]))
        for u, each in enumerate(record.updates)
        if each.pairs and ATTACK in each.arms
    }
    return min(loss, key=lambda u: (loss[u], u)) if loss else None
