"""The moments at which a defense may act, what it sees at each, and the checks on what it returns.

A defense is an object with any of the methods below; a scenario calls them at its moments through a
`Pipeline`. Every view holds private, read-only arrays: no poison mask, no budget, no test label, no other
party's seed. Every return value is an array, so that a defense can also run in a child process. What a defense
remembers from one arm to the next (in its module, say) is out of reach here: code that nobody has read could tell
poisons by what was not in the clean arm. With `--isolate` each call is a fork that is thrown away; what nobody has
read runs in a sandbox (molebench.sandbox), a new one for each call.

| moment       | called                            | returns                                     |
|--------------|-----------------------------------|---------------------------------------------|
| transform    | once for pool, once for test      | x of the same shape and dtype               |
| screen_pool  | before each query                 | bool [n]: which candidates may be queried   |
| select       | instead of the query strategy     | int [m]: which candidates to query          |
| after_label  | when a batch has been labelled    | bool [m]: which of it to keep               |
| filter_train | before each training              | bool [l]: which labelled items to train on  |
| schedule     | before the epoch on an update     | int [s]: which items in which order         |
| fit          | instead of the training           | float [n, k]: P(y | x) of the view's x      |
| accept       | after each training               | bool, or the share of the new weights       |
| admit        | when a task is closed             | bool [n]: which images may be remembered    |
| predict      | on the test items                 | float [n, k]: P(y | x)                      |
| suspicion    | beside each of its own filters    | float [n]: higher is more suspect (AUROC)   |

Which scenario has which is in SCENARIO_MOMENTS. A training is the head's in the active scenario, the epoch on an update
in the others; what a filter removes from an update is replaced there. A schedule names item i of n as i and labelled
item j as n + j (a replay); batches of `count` are cut in its order. Between the old weights and the new, accept may
answer with any share in [0, 1]: new = (1 - a) old + a new; in the active scenario, where heads begin anew, with 0 or 1.

A card's `sees` asks for more: 'extractor' (a copy of f), 'trusted' (as many clean labelled images of each class as its
parameter `trusted` says, which the record counts), 'labels' (true labels of the unlabelled pool),
'ground_truth' (the poison mask), 'dropped' (how many of each class the defenses before it drop: a matched control,
whose own mask replaces theirs; alone it is asked at screen_pool only). Labels and ground truth are for controls only:
a record with such a defense is never ranked.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from molebench.errors import CellFailed, MolebenchError, blamed
from molebench.limits import HOOK_SECONDS, OverLimit, limited
from molebench.rng import stream
from molebench.types import Array, frozen

UPDATES = ("transform", "filter_train", "schedule", "fit", "accept")
SCENARIO_MOMENTS = {
    "active": ("transform", "screen_pool", "select", "after_label", "filter_train", "fit", "accept", "predict"),
    "offline": (*UPDATES, "predict"),
    "continual": (*UPDATES, "admit", "predict"),
}
MOMENTS = tuple(dict.fromkeys(moment for moments in SCENARIO_MOMENTS.values() for moment in moments))
FILTERS = ("screen_pool", "after_label", "filter_train")  # moments at which items are judged
SINGLE = ("select", "schedule", "fit", "predict")  # at most one defense of a pipeline may act here
SEES = ("extractor", "trusted", "labels", "ground_truth", "dropped")
LONGEST = 8  # items of a schedule for each that was sent

Sees = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class View:
    """What a defense sees; which fields are filled depends on the moment, the others are empty.

    x, z: inputs (as stored) and features [n, d] of the items in question, in an order that tells nothing.
    y: their labels, where they have been labelled. p: the model's P(y | item) [n, k]; p_before: the last one's.
    labelled_x, labelled_z, labelled_y: what has been labelled so far; labelled_p: beliefs about it (of updates).
    k: number of classes. count: how many to select, or the size of a batch (schedule). when: 'pool' or 'test'
    (transform). extractor, trusted_*, poison, dropped [k]: for defenses whose card sees them; trusted_p and
    trusted_p_before at accept.
    """

    x: Array
    z: Array
    k: int
    y: Array | None = None
    p: Array | None = None
    p_before: Array | None = None
    labelled_x: Array | None = None
    labelled_z: Array | None = None
    labelled_y: Array | None = None
    labelled_p: Array | None = None
    trusted_x: Array | None = None
    trusted_z: Array | None = None
    trusted_y: Array | None = None
    trusted_p: Array | None = None
    trusted_p_before: Array | None = None
    count: int = 0
    when: str = ""
    extractor: Any = None
    poison: Array | None = None
    dropped: Array | None = None

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self)):
            if isinstance(value := getattr(self, name), np.ndarray):
                object.__setattr__(self, name, frozen(value))  # read-only for good, and nobody else's

    @property
    def labels(self) -> Array:
        """y, where there must be some; MolebenchError where this moment has none."""
        if self.y is None:
            raise MolebenchError("this moment shows no labels; a defense's card may ask for sees=('labels',)")
        return self.y


def sees(defense: Any) -> Sees:
    """What a defense is shown beyond its ordinary view."""
    return tuple(getattr(getattr(type(defense), "card", None), "sees", ()))


@dataclass(frozen=True)
class Pipeline:
    """Defenses in order, by name. Masks compose by 'and'; two selections, fits or predictions are refused.

    seconds: the longest that one call of a defense may take. alone: where a control that is matched to those before it
    acts when there are none: at the scenario's first filter.
    """

    defenses: tuple[tuple[str, Any], ...] = ()
    seed: int = 0
    seconds: float = HOOK_SECONDS
    alone: str = "screen_pool"

    def __post_init__(self) -> None:
        for name, defense in self.defenses:
            if wrong := set(sees(defense)) - set(SEES):
                raise MolebenchError(f"defense {name} asks to see {sorted(wrong)[0]!r}; allowed: {', '.join(SEES)}")
        for moment in SINGLE:
            names = [name for name, _, _ in self._acting(moment)]
            if len(names) > 1:
                raise MolebenchError(f"defenses {' and '.join(names)} both replace '{moment}'; use one of them")

    @property
    def acts(self) -> bool:
        """Whether any defense acts at any moment."""
        return any(self.has(moment) for moment in MOMENTS)

    @property
    def filters(self) -> bool:
        """Whether anything here removes items by its own judgement, so that a random filter can be matched to it."""
        judges = [defense for _, defense in self.defenses if not {"dropped", "ground_truth"} & set(sees(defense))]
        matched = any("dropped" in sees(defense) for _, defense in self.defenses)
        return not matched and any(callable(getattr(d, moment, None)) for d in judges for moment in FILTERS)

    @property
    def trusted(self) -> int:
        """Clean labelled images of each class that are shown: as many as the defense asks for that asks for most."""
        return max((int(d.trusted) for _, d in self.defenses if "trusted" in sees(d)), default=0)

    def has(self, moment: str) -> bool:
        """Whether any defense acts at this moment."""
        return any(True for _ in self._acting(moment))

    def _acting(self, moment: str) -> Iterator[tuple[str, Callable[..., Any], Sees]]:
        """Name, method and privileges of each defense that acts at this moment.

        One that is matched to those before it acts where they do; without any, at the moment `alone`.
        """
        before = False
        for i, (name, defense) in enumerate(self.defenses):
            method, seen = getattr(defense, moment, None), sees(defense)
            if not callable(method):
                continue
            if "dropped" not in seen or before or (i == 0 and moment == self.alone):
                yield name, method, seen
            before = True

    def mask(
        self,
        moment: str,
        view: Callable[[Sees], View],
        n: int,
        turn: int,
        memory: dict[str, Array],
        floor: bool = True,
    ) -> Array:
        """bool [n]: kept by every defense that acts at this moment; all True where none does.

        memory: of this arm; holds what matched controls were matched to at the first screening, so that they stay so.
        floor: refuse a filter that leaves nothing; not where what is removed is replaced.
        """
        keep = np.ones(n, dtype=bool)
        for i, (name, method, seen) in enumerate(self._acting(moment)):
            shown = view(seen)
            if matched := "dropped" in seen and i > 0:
                counts = np.bincount(view(("labels",)).labels[~keep], minlength=shown.k)
                if moment == "screen_pool":
                    counts = memory.setdefault(f"{i} {name}", counts)
                shown = replace(shown, dropped=counts)
            answer = _checked(name, moment, self._call(name, moment, method, shown, turn), "bool", (n,))
            keep = answer if matched else keep & answer
            if floor:
                _floored(name, moment, turn, keep, shown.y)
        return keep

    def suspicion(self, moment: str, view: Callable[[Sees], View], n: int, turn: int) -> Array | None:
        """float [n]: how suspect each item is to the one defense that filters here; None if there are several."""
        acting = [name for name, _, _ in self._acting(moment)]
        speaking = [(name, d) for name, d in self.defenses if name in acting and hasattr(d, "suspicion")]
        if len(acting) != 1 or not speaking:
            return None
        name, defense = speaking[0]
        answer = self._call(name, "suspicion", defense.suspicion, view(sees(defense)), turn)
        return _finite(name, _checked(name, "suspicion", answer, "float", (n,)))

    def one(self, moment: str, view: Callable[[Sees], View], turn: int) -> Array | None:
        """The checked array of the one defense that acts at this moment, or None."""
        for name, method, seen in self._acting(moment):
            shown = view(seen)
            result = self._call(name, moment, method, shown, turn)
            if moment == "select":
                return _indices(name, _checked(name, moment, result, "int", (shown.count,)), len(shown.x))
            return _probabilities(name, moment, _checked(name, moment, result, "float", (len(shown.x), shown.k)))
        return None

    def transformed(self, x: Array, when: str, k: int) -> Array:
        """Inputs after every transform, as uint8 or PCM16 as they came."""
        for name, method, _ in self._acting("transform"):
            view = View(x, np.zeros((len(x), 0), np.float32), k, when=when)
            result = self._call(name, "transform", method, view, 0)
            if result.dtype != x.dtype or result.shape != x.shape:
                raise _wrong(name, "transform", result, f"{x.dtype} {x.shape}")
            x = frozen(result)
        return x

    def accepts(self, view: Callable[[Sees], View], turn: int, whole: bool = False) -> float:
        """The share of the new weights that every defense together lets in: 1 keeps the new model, 0 the last one.

        whole: refuse what lies between.
        """
        share = 1.0
        for name, method, seen in self._acting("accept"):
            share *= _share(name, self._call(name, "accept", method, view(seen), turn), whole)
        return share

    def scheduled(self, view: Callable[[Sees], View], turn: int) -> Array | None:
        """int [s]: the items of an epoch in order, labelled ones after the view's own; None where no defense acts."""
        for name, method, seen in self._acting("schedule"):
            shown = view(seen)
            n, owned = len(shown.x), 0 if shown.labelled_x is None else len(shown.labelled_x)
            return _sequence(name, self._call(name, "schedule", method, shown, turn), n, owned)
        return None

    def _call(self, name: str, moment: str, method: Callable[..., Any], view: View, turn: int) -> Array:
        rng = stream(self.seed, "defense", name, moment, turn)
        try:
            with blamed(f"defense {name} at {moment}"), limited(self.seconds):
                return np.array(method(view, rng))  # a copy: what it hands over, it can no longer change
        except CellFailed:
            raise
        except (OverLimit, MolebenchError) as error:
            raise CellFailed(f"defense {name} at {moment}: {error}") from error


KINDS = {"bool": "b", "int": "iu", "float": "f"}


def _checked(name: str, moment: str, array: Array, kind: str, shape: tuple[int, ...]) -> Array:
    if array.dtype.kind not in KINDS[kind] or array.shape != shape:
        raise _wrong(name, moment, array, f"{kind} {shape}")
    return array


def _floored(name: str, moment: str, turn: int, keep: Array, y: Array | None) -> None:
    """No filter may leave nothing, or no labelled item of a class; a whole batch may be put in quarantine."""
    if moment == "after_label" or not len(keep):
        return
    if not keep.any():
        raise CellFailed(f"defense {name} removes everything at {moment} (turn {turn})")
    if moment in ("filter_train", "admit") and y is not None and (lost := np.setdiff1d(y, y[keep])).size:
        raise CellFailed(f"defense {name} removes every item of class {lost[0]} at {moment} (turn {turn}); keep one")


def _finite(name: str, values: Array) -> Array:
    if not np.isfinite(values).all():
        raise CellFailed(f"defense {name} returned NaN or infinity at suspicion; scores must be finite")
    return values


def _wrong(name: str, moment: str, array: Array, expected: str) -> CellFailed:
    return CellFailed(f"defense {name} returned {array.dtype} {array.shape} at {moment}; expected {expected}")


def _share(name: str, answer: Array, whole: bool) -> float:
    if answer.dtype.kind not in "bf" or answer.shape != ():
        raise _wrong(name, "accept", answer, "a bool, or a float in [0, 1]")
    if not 0.0 <= (share := float(answer)) <= 1.0:
        raise CellFailed(f"defense {name} returned {share:g} at accept; expected a share in [0, 1]")
    if whole and share not in (0.0, 1.0):
        raise CellFailed(f"defense {name} returned {share:g} at accept; heads begin anew here: 0 or 1")
    return share


def _sequence(name: str, index: Array, n: int, owned: int) -> Array:
    if index.dtype.kind not in "iu" or index.ndim != 1:
        raise _wrong(name, "schedule", index, "int (s,)")
    if not 1 <= len(index) <= LONGEST * n:
        raise CellFailed(f"defense {name} schedules {len(index)} items for {n}; expected 1 to {LONGEST * n}")
    if not 0 <= index.min() <= index.max() < n + owned:
        raise CellFailed(f"defense {name} schedules an item outside 0..{n + owned - 1}")
    return index.astype(np.int64)


def _indices(name: str, index: Array, n: int) -> Array:
    if len(set(index.tolist())) != len(index) or (len(index) and not 0 <= index.min() <= index.max() < n):
        raise CellFailed(f"defense {name} selected an item twice or outside 0..{n - 1}")
    return index.astype(np.int64)


def _probabilities(name: str, moment: str, p: Array) -> Array:
    p = np.ascontiguousarray(p, dtype=np.float32)
    if not np.isfinite(p).all() or (p < 0).any() or not np.allclose(p.sum(axis=1), 1.0, atol=1e-3):
        raise CellFailed(f"defense {name} returned no probabilities at {moment}: rows must be finite, >= 0, sum 1")
    return p
