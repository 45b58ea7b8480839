"""What a recruiting attack sees, and what it returns: updates, each a list of the pool's own images, no copy changed.

An update is what the victim trains on for one more epoch: some of its images are moles, the rest are random images that
keep it class-balanced. A `Recruitment` holds one update or many (one a pair of classes); each is tried on the same
trained victim.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from molebench.moles import Pair
from molebench.tasks import Tasks
from molebench.types import Array, Samples, ThreatModel, fingerprint, frozen


@dataclass(frozen=True, eq=False)
class Update:
    """Indices into the pool, which of them are moles, and the pairs they are moles of (none: random images alone)."""

    index: Int[Array, " m"]
    mole: Bool[Array, " m"]
    pairs: tuple[Pair, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", frozen(np.asarray(self.index, dtype=np.int64)))
        object.__setattr__(self, "mole", frozen(np.asarray(self.mole, dtype=bool)))

    def __len__(self) -> int:
        return len(self.index)


def order_of(update: Update) -> tuple[int, ...]:
    """What its draws and the order of its training depend on: pairs and size, the same in every arm and every grid."""
    return (*(x for pair in update.pairs for x in (pair.attacked, pair.confounding)), len(update))


@dataclass(frozen=True, eq=False)
class Recruitment:
    """The updates that an attack proposes. unmet: conditions of its own that it missed, in words."""

    updates: tuple[Update, ...]
    unmet: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Moles, over all updates."""
        return sum(int(update.mole.sum()) for update in self.updates)

    @cached_property
    def sha256(self) -> str:
        """Names the recruitment by what reaches the victim."""
        pairs = [np.array([(p.attacked, p.confounding) for p in u.pairs], dtype=np.int64) for u in self.updates]
        return fingerprint(*(a for u, p in zip(self.updates, pairs, strict=True) for a in (u.index, u.mole, p)))


@dataclass(frozen=True, eq=False)
class RecruitView:
    """All that a recruiting attack may see. base: the victim's training pool. batch: images a gradient step.

    scores: P(y = a | x) [n, k] over the pool, where its threat model knows the victim or it has a scorer; None
    otherwise. like: the recruitment whose control this is; None for an attack of its own. tasks: which classes a
    continual learner meets when; a recruitment then holds one update a task, the first of them empty.
    """

    base: Samples
    classes: tuple[str, ...]
    batch: int
    scores: Float[Array, "n k"] | None = None
    like: Recruitment | None = None
    progress: Callable[[str, int], Any] | None = None
    tasks: Tasks | None = None

    @property
    def sizes(self) -> Int[Array, " k"]:
        """Images of each class."""
        return np.bincount(self.base.y, minlength=len(self.classes))


def filled(
    moles: Int[Array, " m"],
    pairs: tuple[Pair, ...],
    n: int,
    labels: Int[Array, " p"],
    classes: Iterable[int],
    rng: np.random.Generator,
    beside: int = 0,
) -> Update:
    """Moles, and n random images of every one of the classes that none of them is of (Eq. 2 and 6).

    beside: random images of each class that moles are of, none of which is a mole.
    """
    taken = set(labels[moles].tolist())
    rest = [
        rng.choice(np.setdiff1d(np.flatnonzero(labels == c), moles), size, replace=False)
        for c in classes
        if (size := beside if c in taken else n)
    ]
    index = np.concatenate([moles, *rest])
    return Update(index, np.arange(len(index)) < len(moles), pairs)


def violations(recruitment: Recruitment, view: RecruitView, threat: ThreatModel) -> Iterator[str]:
    """What breaks the threat model, or could not be applied; nothing where it is valid."""
    if recruitment.updates and "recruit" not in threat.may:
        yield "recruits images, which its threat model does not allow"
    for i, update in enumerate(recruitment.updates):
        if wrong := malformed(update, view):
            yield f"update {i}: {wrong}"


def malformed(update: Update, view: RecruitView) -> str:
    """Why an update cannot be trained on; '' where it can."""
    n, k = len(view.base), len(view.classes)
    if update.index.shape != update.mole.shape or update.index.ndim != 1:
        return f"{update.index.shape} indices with a mask of {update.mole.shape}"
    if len(update) and not 0 <= update.index.min() <= update.index.max() < n:
        return f"names an image outside 0..{n - 1}"
    if len(np.unique(update.index)) != len(update):
        return "names an image twice"
    if any(not (0 <= p.attacked < k and 0 <= p.confounding < k) or p.attacked == p.confounding for p in update.pairs):
        return f"pairs must be two different classes of 0..{k - 1}"
    return ""
