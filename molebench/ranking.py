"""Which defenses of a board can be told apart: a paired bootstrap over seeds and test items, Holm's correction, groups.

The score of a defense is the worst that any attack does to it, averaged over seeds,

    score_e = min over a of the mean over s of sum_i c_i,        c: contributions of the test items, in points

and a drop is negative. Each of `RESAMPLES` bootstrap boards draws as many seeds as there are, and within each seed the
test items of each class, both with replacement: the same draws for every defense and attack, so that all differences
are paired. With v the variance of a difference over these boards, times S / (S - 1) since S seeds drawn from S know
less than they seem to, and v_i that over boards in which items alone are drawn, the part v - v_i of it rests on S - 1
degrees of freedom:

    t = (score_e - score_f) / sqrt(v),        nu = (S - 1) (v / (v - v_i))^2,  at most `MOST_FREEDOM`

Two defenses are told apart where Holm's step-down over all pairs of a setting rejects at `LEVEL`. The rank of a defense
is then an interval: 1 + those told to be better, to n - those told to be worse. In order of score, a defense joins the
group of the one before unless it is told apart from that group's best.

Reference: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6, 1979; Satterthwaite,
"An approximate distribution of estimates of variance components", Biometrics Bull. 2, 1946.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from molebench.types import Array

LEVEL = 0.02  # nominal, of a setting's family: identical defenses stay together in 97 % of simulated boards or more
RESAMPLES = 2000
MOST_FREEDOM = 200.0
SEEDS = 5  # with fewer, differences between trainings are not known well enough for a rank


@dataclass(frozen=True, eq=False)
class Exam:
    """What one seed says. y: classes of its test items. c: contributions of each item for each defense and attack.

    items: names the set of test items; seeds that are tested on the same one share its noise, and so its draws.
    """

    y: Int[Array, " m"]
    c: Float[Array, "e a m"]
    items: str


@dataclass(frozen=True, eq=False)
class Boards:
    """Scores of the defenses: as measured, on bootstrap boards, and on boards in which items alone are drawn."""

    score: Float[Array, " e"]
    drawn: Float[Array, "b e"]
    items: Float[Array, "b e"]
    seeds: int


@dataclass(frozen=True)
class Place:
    """Where a defense stands: its score, the 95 % interval, the best and worst rank that the data allow, its group."""

    score: float
    low: float
    high: float
    rank: tuple[int, int]
    group: int


def ranked(exams: Sequence[Exam], rng: np.random.Generator, level: float = LEVEL) -> list[Place]:
    """The places of the defenses of a setting, in the order in which they came."""
    found = boards(exams, rng)
    apart = told_apart(found, level)
    low, high = intervals(found)
    ranks, group = rank_intervals(found.score, apart), groups(found.score, apart)
    columns = found.score.tolist(), low.tolist(), high.tolist(), ranks, group
    return [Place(*each) for each in zip(*columns, strict=True)]


def boards(exams: Sequence[Exam], rng: np.random.Generator, times: int = RESAMPLES) -> Boards:
    """The bootstrap: figures of each board, defense, attack and seed; then means over seeds, then the worst attack."""
    s = len(exams)
    counts: dict[str, Array] = {}
    for exam in exams:
        if exam.items not in counts:
            counts[exam.items] = weights(exam.y, rng, times)
    figures = np.stack([counts[exam.items] @ flat(exam) for exam in exams], axis=1)  # [1 + b, s, e * a]
    e, a, _ = exams[0].c.shape
    picked = np.stack([np.bincount(row, minlength=s) / s for row in rng.integers(s, size=(times, s))])
    drawn = np.einsum("bs,bsf->bf", picked, figures[1:])
    means = figures.mean(axis=1)
    worst = [each.reshape(-1, e, a).min(axis=2) for each in (means[:1], drawn, means[1:])]
    return Boards(worst[0][0], worst[1], worst[2], s)


def flat(exam: Exam) -> Float[Array, "m f"]:
    """Contributions with a column for each defense and attack."""
    return exam.c.reshape(-1, exam.c.shape[2]).T.astype(np.float32)


def weights(y: Int[Array, " m"], rng: np.random.Generator, times: int) -> Float[Array, "b m"]:
    """How often each item counts: once in the first row, then as drawn within each class."""
    found = np.ones((1 + times, len(y)), np.float32)
    for label in np.unique(y):
        mine = np.flatnonzero(y == label)
        found[1:, mine] = rng.multinomial(len(mine), np.full(len(mine), 1 / len(mine)), size=times)
    return found


def variances(found: Boards, drawn: Array, items: Array) -> tuple[Array, Array]:
    """v and nu, from the same statistic (last axis) on both kinds of boards."""
    inner = items.var(axis=0, ddof=1)
    if found.seeds < 2:
        return inner, np.full_like(inner, MOST_FREEDOM)
    whole = np.maximum(drawn.var(axis=0, ddof=1) * found.seeds / (found.seeds - 1), inner)
    between = np.maximum(whole - inner, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        nu = (found.seeds - 1) * (whole / between) ** 2
    return whole, np.clip(np.nan_to_num(nu, nan=MOST_FREEDOM), found.seeds - 1, MOST_FREEDOM)


def intervals(found: Boards, level: float = 0.05) -> tuple[Array, Array]:
    """Student's interval of each score."""
    from scipy.special import stdtrit

    v, nu = variances(found, found.drawn, found.items)
    half = stdtrit(nu, 1 - level / 2) * np.sqrt(v)
    return found.score - half, found.score + half


def told_apart(found: Boards, level: float = LEVEL) -> Bool[Array, "e e"]:
    """Which pairs Holm rejects."""
    from scipy.special import stdtr

    e = len(found.score)
    i, j = np.triu_indices(e, 1)
    v, nu = variances(found, found.drawn[:, i] - found.drawn[:, j], found.items[:, i] - found.items[:, j])
    gap = np.abs(found.score[i] - found.score[j])
    p = np.where(v > 0, 2 * stdtr(nu, -gap / np.sqrt(np.where(v > 0, v, 1.0))), np.where(gap > 0, 0.0, 1.0))
    apart = np.zeros((e, e), dtype=bool)
    rejected = holm(p, level)
    apart[i[rejected], j[rejected]] = True
    return apart | apart.T


def holm(p: Float[Array, " n"], level: float) -> Bool[Array, " n"]:
    """Which hypotheses fall: the k-th smallest p of n below level / (n - k), up to the first that is not."""
    order = np.argsort(p, kind="stable")
    passed = p[order] <= level / np.arange(len(p), 0, -1)
    first = len(p) if passed.all() else int(np.argmin(passed))
    rejected = np.zeros(len(p), dtype=bool)
    rejected[order[:first]] = True
    return rejected


def rank_intervals(score: Float[Array, " e"], apart: Bool[Array, "e e"]) -> list[tuple[int, int]]:
    """1 + how many are better, and n - how many are worse, of those told apart."""
    better, worse = (apart & (score[None] > score[:, None])).sum(1), (apart & (score[None] < score[:, None])).sum(1)
    return [(1 + int(b), len(score) - int(w)) for b, w in zip(better, worse, strict=True)]


def groups(score: Float[Array, " e"], apart: Bool[Array, "e e"]) -> list[int]:
    """1 for the best and all that follow it without being told apart from it, and so on."""
    found, leader, number = [0] * len(score), -1, 0
    for one in np.argsort(-score, kind="stable").tolist():
        if leader < 0 or apart[leader, one]:
            leader, number = one, number + 1
        found[one] = number
    return found
