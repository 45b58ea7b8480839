"""The moments at which a defense may act, what it sees at each, and the checks on what it returns.

A defense is an object with any of the methods below; a scenario calls them at its moments through a
`Pipeline`. Every view holds private, read-only arrays: no poison mask, no budget, no test label, no other
party's seed. Every return value is an array, so that a defense can also run in a child process.

| moment       | called                            | returns                                     |
|--------------|-----------------------------------|---------------------------------------------|
| transform    | once for pool, once for test      | x of the same shape and dtype               |
| screen_pool  | before each query                 | bool [n]: which candidates may be queried   |
| select       | instead of the query strategy     | int [m]: which candidates to query          |
| after_label  | when a batch has been labelled    | bool [m]: which of it to keep               |
| filter_train | before each training              | bool [l]: which labelled items to train on  |
| fit          | instead of the training           | float [n, k]: P(y | x) of the view's x      |
| accept       | after each training               | bool: keep the new model (else the last)    |
| predict      | on the test items                 | float [n, k]: P(y | x)                      |
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from molebench.errors import CellFailed, MolebenchError
from molebench.rng import stream
from molebench.types import Array, frozen

MOMENTS = ("transform", "screen_pool", "select", "after_label", "filter_train", "fit", "accept", "predict")
SINGLE = ("select", "fit", "predict")  # at most one defense of a pipeline may act here


@dataclass(frozen=True, eq=False)
class View:
    """What a defense sees; which fields are filled depends on the moment, the others are empty.

    x, z: inputs (as stored) and features [n, d] of the items in question, in an order that tells nothing.
    y: their labels, where they have been labelled. p: the model's P(y | item) [n, k].
    labelled_x, labelled_z, labelled_y: what has been labelled so far. k: number of classes. count: how many
    to select. when: 'pool' or 'test' (transform).
    """

    x: Array
    z: Array
    k: int
    y: Array | None = None
    p: Array | None = None
    labelled_x: Array | None = None
    labelled_z: Array | None = None
    labelled_y: Array | None = None
    count: int = 0
    when: str = ""

    def __post_init__(self) -> None:
        for name in ("x", "z", "y", "p", "labelled_x", "labelled_z", "labelled_y"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, frozen(value))  # read-only for good, and nobody else's


@dataclass(frozen=True)
class Pipeline:
    """Defenses in order, by name. Masks compose by 'and'; two selections, fits or predictions are refused."""

    defenses: tuple[tuple[str, Any], ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for moment in SINGLE:
            names = [name for name, _ in self._acting(moment)]
            if len(names) > 1:
                raise MolebenchError(f"defenses {' and '.join(names)} both replace '{moment}'; use one of them")

    @property
    def acts(self) -> bool:
        """Whether any defense acts at any moment."""
        return any(self.has(moment) for moment in MOMENTS)

    def has(self, moment: str) -> bool:
        """Whether any defense acts at this moment."""
        return any(True for _ in self._acting(moment))

    def _acting(self, moment: str) -> Iterator[tuple[str, Callable[..., Any]]]:
        for name, defense in self.defenses:
            if callable(method := getattr(defense, moment, None)):
                yield name, method

    def mask(self, moment: str, view: Callable[[], View], n: int, turn: int) -> Array:
        """bool [n]: kept by every defense that acts at this moment; all True where none does."""
        keep = np.ones(n, dtype=bool)
        for name, method in self._acting(moment):
            keep &= _checked(name, moment, self._call(name, moment, method, view(), turn), "bool", (n,))
        if n and not keep.any() and moment != "after_label":  # a whole batch may be put in quarantine
            raise CellFailed(f"defenses remove everything at {moment} (turn {turn})")
        return keep

    def one(self, moment: str, view: Callable[[], View], turn: int) -> Array | None:
        """The checked array of the one defense that acts at this moment, or None."""
        for name, method in self._acting(moment):
            seen = view()
            result = self._call(name, moment, method, seen, turn)
            if moment == "select":
                return _indices(name, _checked(name, moment, result, "int", (seen.count,)), len(seen.x))
            return _probabilities(name, moment, _checked(name, moment, result, "float", (len(seen.x), seen.k)))
        return None

    def transformed(self, x: Array, when: str, k: int) -> Array:
        """Inputs after every transform, as uint8 or PCM16 as they came."""
        for name, method in self._acting("transform"):
            view = View(x, np.zeros((len(x), 0), np.float32), k, when=when)
            result = self._call(name, "transform", method, view, 0)
            if result.dtype != x.dtype or result.shape != x.shape:
                raise _wrong(name, "transform", result, f"{x.dtype} {x.shape}")
            x = frozen(result)
        return x

    def accepts(self, view: Callable[[], View], turn: int) -> bool:
        """Whether every defense that judges a new model keeps it."""
        answers = [(n, self._call(n, "accept", m, view(), turn)) for n, m in self._acting("accept")]
        return all(bool(_checked(name, "accept", answer, "bool", ())) for name, answer in answers)

    def _call(self, name: str, moment: str, method: Callable[..., Any], view: View, turn: int) -> Array:
        rng = stream(self.seed, "defense", name, moment, turn)
        try:
            return np.array(method(view, rng))  # a copy: what it hands over, it can no longer change
        except MolebenchError:
            raise
        except Exception as error:  # someone else's code: whatever it raises is this cell's failure, by name
            raise CellFailed(f"defense {name} raised {type(error).__name__} at {moment}: {error}") from error


KINDS = {"bool": "b", "int": "iu", "float": "f"}


def _checked(name: str, moment: str, array: Array, kind: str, shape: tuple[int, ...]) -> Array:
    if array.dtype.kind not in KINDS[kind] or array.shape != shape:
        raise _wrong(name, moment, array, f"{kind} {shape}")
    return array


def _wrong(name: str, moment: str, array: Array, expected: str) -> CellFailed:
    return CellFailed(f"defense {name} returned {array.dtype} {array.shape} at {moment}; expected {expected}")


def _indices(name: str, index: Array, n: int) -> Array:
    if len(set(index.tolist())) != len(index) or (len(index) and not 0 <= index.min() <= index.max() < n):
        raise CellFailed(f"defense {name} selected an item twice or outside 0..{n - 1}")
    return index.astype(np.int64)


def _probabilities(name: str, moment: str, p: Array) -> Array:
    p = np.ascontiguousarray(p, dtype=np.float32)
    if not np.isfinite(p).all() or (p < 0).any() or not np.allclose(p.sum(axis=1), 1.0, atol=1e-3):
        raise CellFailed(f"defense {name} returned no probabilities at {moment}: rows must be finite, >= 0, sum 1")
    return p
