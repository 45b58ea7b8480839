"""Moles: valid images of one class that a model takes for another, and how many of them hurt most.

P[i, a] = P(y = a | x_i) over a pool. For an attacked class a and a confounding class c the moles M(a, c, N) are the N
images of c with the largest P[:, a] (Eq. 1). rho(a, c) is the p-th percentile of P[i in c, a]. The N that hurts most is
where the running mean of the largest scores meets a line r (Eq. 5 read as the text means it):

    N(a, c) = min { n : mean of the n largest P[i in c, a] <= r(rho(a, c)) },   r(rho) = slope rho + intercept.

Several pairs are compounded greedily: by falling rho, no class in two of them, while rho >= rho_min; their common size
is the mean of their N, rounded to a multiple of `unit`.

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment", arXiv:2303.17080, Eq. 1, 2, 5, 6, sections 4.2 and 4.3. The
lines r for p = 95, 97, 99 are those of the authors' released code.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Le
from jaxtyping import Bool, Float, Int

from molebench.errors import MolebenchError
from molebench.types import Array

Protocol = Literal["paper", "as_released"]
Percent = Annotated[int, Ge(1), Le(100)]
Cap = Annotated[float, Gt(0), Le(1)]


class Line(NamedTuple):
    """r(rho) = slope rho + intercept; r_squared of the points it was fitted to, where it was."""

    slope: float
    intercept: float
    r_squared: float = float("nan")

    def __call__(self, rho: float) -> float:
        """The mean score that the best mole set should have."""
        return self.slope * rho + self.intercept

    @classmethod
    def of(cls, text: str) -> "Line":
        """'0.77,0.10' as a line; MolebenchError where it is none."""
        try:
            slope, intercept = (float(part) for part in text.split(","))
        except ValueError:
            slope = intercept = float("nan")
        if not np.isfinite(slope + intercept):
            raise MolebenchError(f"r={text!r}; expected published, or slope,intercept such as 0.77,0.10")
        return cls(slope, intercept)


PUBLISHED = {99: Line(0.765, 0.101), 97: Line(0.840, 0.313), 95: Line(1.122, 0.349)}


class Pair(NamedTuple):
    """An attacked and a confounding class, how confusable they are, and how many moles would hurt most."""

    attacked: int
    confounding: int
    rho: float
    n: int


def select_moles(
    scores: Float[Array, "m k"], labels: Int[Array, " m"], attacked: int, confounding: int, n: int
) -> Int[Array, " n"]:
    """Indices of the n moles of class `confounding` for class `attacked`, best first; ties keep the lower index.

    Raises MolebenchError for classes that are one or do not exist, too few images, and scores that are not finite.
    """
    check_scores(scores, labels)
    k = scores.shape[1]
    if attacked == confounding or not (0 <= attacked < k and 0 <= confounding < k):
        raise MolebenchError(
            f"moles of class {confounding} for class {attacked}: expected two different classes of 0..{k - 1}"
        )
    members = np.flatnonzero(labels == confounding)
    if not 1 <= n <= len(members):
        raise MolebenchError(
            f"{n} moles of class {confounding}, which has {len(members)} images; choose 1 or more of them"
        )
    order = np.argsort(-scores[members, attacked], kind="stable")
    found: Array = members[order[:n]]
    return found


def select_all(scores: Float[Array, "m k"], labels: Int[Array, " m"], n: int, most: float = 1.0) -> Int[Array, "k k n"]:
    """The n moles of every pair at once: [attacked, confounding, rank]; the diagonal is a class's own best images.

    Images that are taken for any wrong class by more than `most` come last; `check_cap` says whether others suffice.
    """
    check_scores(scores, labels)
    k = scores.shape[1]
    shown = scores if most >= 1 else np.where(wrongly(scores, labels)[:, None] <= most, scores, -1.0)
    found = np.empty((k, k, n), dtype=np.int64)
    for c in range(k):
        members = np.flatnonzero(labels == c)
        if len(members) < n:
            raise MolebenchError(f"{n} moles of class {c}, which has {len(members)} images; choose fewer")
        found[:, c] = members[np.argsort(-shown[members], axis=0, kind="stable")[:n]].T
    return found


def wrongly(scores: Float[Array, "m k"], labels: Int[Array, " m"]) -> Float[Array, " m"]:
    """The largest P of a class that is not an image's own."""
    own = np.arange(scores.shape[1]) == labels[:, None]
    return np.where(own, 0.0, scores).max(axis=1, initial=0.0)


def check_cap(
    scores: Float[Array, "m k"], labels: Int[Array, " m"], confounding: Iterable[int], n: int, most: float
) -> None:
    """Refuses confounding classes of which fewer than n images are taken for a wrong class by at most `most`."""
    below = wrongly(scores, labels) <= most
    for c in confounding if most < 1 else ():
        if (there := int(below[labels == c].sum())) < n:
            raise MolebenchError(
                f"{n} moles of class {c} that no wrong class has more than most={most:g} of; there are {there} such "
                "images: choose a smaller n, or a larger most"
            )


def check_scores(scores: Float[Array, "m k"], labels: Int[Array, " m"]) -> None:
    """Refuses scores that cannot be ranked."""
    if scores.ndim != 2 or len(scores) != len(labels):
        raise MolebenchError(
            f"scores of shape {scores.shape} for {len(labels)} labels; expected [{len(labels)}, classes]"
        )
    if bad := int((~np.isfinite(scores)).any(axis=1).sum()):
        raise MolebenchError(
            f"scores of {bad} of {len(scores)} images are NaN or infinite; moles cannot be ranked by them"
        )


def percentiles(scores: Float[Array, "m k"], labels: Int[Array, " m"], percentile: float | int) -> Float[Array, "k k"]:
    """rho [attacked, confounding]; NaN on the diagonal and for classes without images."""
    k = scores.shape[1]
    rho = np.full((k, k), np.nan)
    for c in np.unique(labels):
        rho[:, c] = np.percentile(scores[labels == c], percentile, axis=0)
        rho[c, c] = np.nan
    return rho


def plan_pairs(
    scores: Float[Array, "m k"],
    labels: Int[Array, " m"],
    rho_min: float | int,
    percentile: float | int = 99,
    r: Line | Callable[[float], float] | None = None,
    unit: int = 50,
    min_units: int = 1,
    protocol: Protocol = "paper",
    overlap: bool = False,
    allowed: Bool[Array, "k k"] | None = None,
) -> tuple[list[Pair], int]:
    """The pairs to compound, each with its rho and N, and their common size: a multiple of `unit`.

    r: the line for N; the published one of this percentile where not given. overlap: a class may be in several pairs,
    but confounding in one only, so that the update stays class-balanced. allowed: [attacked, confounding], pairs to
    choose from; all where not given. No pair at all gives ([], 0).
    """
    check_scores(scores, labels)
    line = published(percentile) if r is None else r
    every = percentiles(scores, labels, percentile)
    chosen = greedy(every if allowed is None else np.where(allowed, every, np.nan), rho_min, overlap)
    pairs = []
    for a, c, rho in chosen:
        n = best_size(scores[labels == c, a], line(rho), protocol)
        pairs.append(Pair(a, c, rho, n))
    return pairs, common_size([pair.n for pair in pairs], unit, min_units)


def published(percentile: float | int) -> Line:
    """The line of the authors' code for this percentile."""
    if percentile not in PUBLISHED:
        known = ", ".join(str(p) for p in sorted(PUBLISHED))
        raise MolebenchError(
            f"no published line r for percentile {percentile:g} (there is: {known}); give one of your own"
        )
    return PUBLISHED[int(percentile)]


def greedy(rho: Float[Array, "k k"], rho_min: float | int, overlap: bool = False) -> list[tuple[int, int, float]]:
    """(attacked, confounding, rho) by falling rho while rho >= rho_min; ties keep the lower class."""
    k, found = len(rho), list[tuple[int, int, float]]()
    for flat in np.argsort(-np.where(np.isnan(rho), -np.inf, rho), axis=None, kind="stable"):
        a, c = divmod(int(flat), k)
        if not rho[a, c] >= rho_min:
            break
        taken = {c for _, c, _ in found} if overlap else {x for a, c, _ in found for x in (a, c)}
        if not taken & ({c} if overlap else {a, c}):
            found.append((a, c, float(rho[a, c])))
    return found


def best_size(scores: Float[Array, " m"], target: float, protocol: Protocol = "paper") -> int:
    """The first n whose n largest scores have a mean <= target; all where none has. `as_released` is one more."""
    largest = np.sort(scores.astype(np.float64))[::-1]
    below = np.cumsum(largest) / np.arange(1, len(largest) + 1) <= target
    n = int(below.argmax()) + 1 if below.any() else len(largest)
    return min(n + (protocol == "as_released"), len(largest))


def common_size(sizes: Sequence[int], unit: int, min_units: int) -> int:
    """The mean size rounded (half to even) to a multiple of `unit`, at least `min_units` of it; 0 without sizes."""
    return max(round(sum(sizes) / len(sizes) / unit), min_units) * unit if sizes else 0


def fit_r(rho: Float[Array, " p"], mu: Float[Array, " p"]) -> Line:
    """The least-squares line mu = r(rho) with its R^2 (Fig. 5, right); mu: mean score of each pair's best mole set."""
    rho, mu = np.asarray(rho, dtype=np.float64), np.asarray(mu, dtype=np.float64)
    if len(rho) < 2 or np.ptp(rho) == 0:
        raise MolebenchError(f"a line r needs pairs with two different rho; {len(rho)} pairs came")
    slope, intercept = np.polyfit(rho, mu, 1)
    residual, spread = np.square(mu - slope * rho - intercept).sum(), np.square(mu - mu.mean()).sum()
    return Line(float(slope), float(intercept), float(1.0 - residual / spread) if spread else float("nan"))
