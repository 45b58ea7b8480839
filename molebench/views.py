"""What an attack is shown and what it answers, as messages: plain values and arrays.

Functions stay behind: what reports progress is left out, an extractor is loaded where the attack runs. Whoever reads an
answer believes nothing of it; whether it keeps to the rules is asked afterwards, of this as of any other.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from molebench.errors import MolebenchError, first_line
from molebench.moles import Pair
from molebench.sandbox.quoting import quoted
from molebench.tasks import Tasks
from molebench.types import Array, AttackView, Modality, Poison, Samples
from molebench.updates import Recruitment, RecruitView, Update

Arrays = Mapping[str, Array]
LIKE, FACT = "like.", "fact."
FACTS, UNMET, WORDS = 32, 32, 200  # of one answer, and characters of each
MOST = 2**30  # bytes of the largest answer
UPDATES, PAIRS = 2**16, 2**18  # of one answer: as objects they take thirty times their bytes


def shown(view: AttackView | RecruitView) -> tuple[dict[str, Any], dict[str, Array]]:
    """A view as a message."""
    head: dict[str, Any] = {"classes": view.classes}
    arrays = {"x": view.base.x, "y": view.base.y}
    if isinstance(view, AttackView):
        said = {"modality": asdict(view.modality), "budget": view.budget, "extractor": view.extractor is not None}
        return {**head, **said}, arrays
    head |= {"batch": view.batch, "tasks": view.tasks and view.tasks.classes}
    if view.scores is not None:
        arrays["scores"] = view.scores
    if view.like is not None:
        arrays |= {f"{LIKE}{name}": array for name, array in of_updates(view.like).items()}
    return head, arrays


def seen(head: Mapping[str, Any], arrays: Arrays, extractor: Any) -> AttackView | RecruitView:
    """The view that a message shows; the extractor where the view has it."""
    base, classes = Samples(arrays["x"], arrays["y"]), tuple(head["classes"])
    if "modality" in head:
        f = extractor if head["extractor"] else None
        return AttackView(base, classes, Modality(**head["modality"]), head["budget"], f)
    like = {name.removeprefix(LIKE): array for name, array in arrays.items() if name.startswith(LIKE)}
    tasks = Tasks(tuple(map(tuple, head["tasks"]))) if head["tasks"] else None
    before = Recruitment(updates_of(like)) if like else None
    return RecruitView(base, classes, head["batch"], arrays.get("scores"), before, tasks=tasks)


def told(found: Any) -> tuple[dict[str, Any], dict[str, Array]]:
    """What an attack returns, as a message."""
    if isinstance(found, Recruitment):
        return {"unmet": found.unmet}, of_updates(found)
    if isinstance(found, Poison):
        facts = {f"{FACT}{name}": np.asarray(values) for name, values in found.facts.items()}
        return {"unmet": found.unmet}, {"x": found.samples.x, "y": found.samples.y, "base": found.base, **facts}
    raise MolebenchError(f"returned {type(found).__name__}; expected a Poison or a Recruitment")


def believed(head: Mapping[str, Any], arrays: Arrays) -> Poison | Recruitment:
    """What a message says that an attack returns; MolebenchError where it says nothing of the kind."""
    try:
        unmet = tuple(quoted(str(word))[:WORDS] for word in head["unmet"])[:UNMET]
        if "index" in arrays:
            return Recruitment(updates_of(arrays), unmet)
        facts = {name.removeprefix(FACT): a for name, a in arrays.items() if name.startswith(FACT)}
        if len(facts) > FACTS or not all(name.isidentifier() and len(name) <= WORDS for name in facts):
            raise ValueError(f"{len(facts)} facts; at most {FACTS} are named, each as Python names things")
        whole = [arrays[name].dtype.kind in "iu" for name in ("y", "base")]
        if not all(whole) or arrays["base"].ndim != 1 or arrays["y"].ndim != 1:
            raise ValueError("labels and bases are no lists of whole numbers")
        return Poison(Samples(arrays["x"], arrays["y"]), arrays["base"], facts, unmet)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise MolebenchError(f"its answer is neither a Poison nor a Recruitment: {first_line(error)}") from error


def of_updates(recruitment: Recruitment) -> dict[str, Array]:
    """Updates as arrays: all indices in a row, all pairs in a row, and how many of either are of each update."""
    updates, pairs = recruitment.updates, [pair for update in recruitment.updates for pair in update.pairs]
    return {
        "index": np.concatenate([np.zeros(0, np.int64), *(u.index for u in updates)]),
        "mole": np.concatenate([np.zeros(0, bool), *(u.mole for u in updates)]),
        "sizes": np.array([(len(u), len(u.pairs)) for u in updates], np.int64).reshape(-1, 2),
        "pairs": np.array([(p.attacked, p.confounding, p.n) for p in pairs], np.int64).reshape(-1, 3),
        "rho": np.array([p.rho for p in pairs], np.float64),
    }


def updates_of(arrays: Arrays) -> tuple[Update, ...]:
    """The updates that arrays hold; ValueError where they do not fit together."""
    index, mole, sizes, pairs, rho = (arrays[name] for name in ("index", "mole", "sizes", "pairs", "rho"))
    for found, most, what in ((len(sizes), UPDATES, "updates"), (len(pairs), PAIRS, "pairs")):
        if found > most:
            raise ValueError(f"{found} {what}; at most {most} are read")
    kinds = [a.dtype.kind for a in (index, mole, sizes, pairs, rho)]
    shapes = (mole.shape == index.shape == (len(index),), sizes.shape[1:] == (2,), pairs.shape == (len(rho), 3))
    if kinds != ["i", "b", "i", "i", "f"] or not all(shapes) or (sizes < 0).any():
        raise ValueError("its arrays do not fit together")
    if sizes.sum(axis=0).tolist() != [len(index), len(pairs)]:
        raise ValueError("its sizes do not add up")
    ends = np.cumsum(sizes, axis=0)[:-1]
    named = [Pair(int(a), int(c), float(r), int(n)) for (a, c, n), r in zip(pairs, rho, strict=True)]
    each = zip(np.split(index, ends[:, 0]), np.split(mole, ends[:, 0]), ends_of(sizes[:, 1]), strict=False)
    return tuple(Update(i, m, tuple(named[start:stop])) for i, m, (start, stop) in each if len(sizes))


def ends_of(counts: Array) -> list[tuple[int, int]]:
    """Where each run of so many begins and ends."""
    stops = np.cumsum(counts).tolist()
    return list(zip([0, *stops], stops, strict=False))


def greatest(view: AttackView | RecruitView) -> int:
    """Bytes of the largest answer that is read: every item several times over."""
    if isinstance(view, AttackView):
        item = view.base.x[:1].nbytes + 16 + 8 * FACTS
        return min(MOST, max(view.budget, len(view.base)) * item + 2**16)
    return min(MOST, 16 * (len(view.base) + 64) * (len(view.classes) ** 2 + 1) * 8)
