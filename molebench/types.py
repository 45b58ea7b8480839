"""The nouns that every other file speaks in: arrays with labels, what one party may see, what it may do.

Nothing here knows torch, files or the command line. Arrays are NumPy and read-only, so that a party
handed one can neither change it for the others nor tell from a write whether it is shared.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

Array = np.ndarray


def frozen(a: Array) -> Array:
    """A copy that nobody can write: its memory is a bytes object, so the flag cannot be set back.

    An array that is such a copy already, and the whole of it, is returned as it is.
    """
    owner: Any = getattr(a.base, "base", None)  # typed as an array, but here it may be the bytes
    if isinstance(owner, bytes) and len(owner) == a.nbytes and a.flags.c_contiguous:
        return a
    return np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape)


def fingerprint(*arrays: Array) -> str:
    """sha256 over dtype, shape and bytes of the arrays, in order."""
    h = hashlib.sha256()
    for a in arrays:
        h.update(f"{a.dtype.str}{a.shape}".encode())
        h.update(np.ascontiguousarray(a).reshape(-1).view(np.uint8).data)
    return h.hexdigest()


@dataclass(frozen=True)
class Modality:
    """What kind of signal a sample is: its stored type and, in input units, its valid range and finest step.

    rate: samples a second; None where there is no time.
    """

    name: str
    dtype: str
    low: float
    high: float
    step: float
    rate: int | None = None

    @property
    def peak(self) -> float:
        """Width of the valid range, the peak of PSNR."""
        return self.high - self.low

    def values(self, stored: Array) -> Array:
        """Stored samples in input units, float32."""
        return stored.astype(np.float32) * np.float32(self.step)

    def quantise(self, values: Array) -> Array:
        """Values in input units, clipped to the valid range and rounded to what can be stored."""
        return np.rint(np.clip(values, self.low, self.high) / self.step).astype(self.dtype)


IMAGE = Modality("image", "uint8", low=0.0, high=255.0, step=1.0)
AUDIO = Modality("audio", "int16", low=-1.0, high=1.0 - 2.0**-15, step=2.0**-15, rate=16_000)  # PCM16, mono
MODALITIES = {m.name: m for m in (IMAGE, AUDIO)}


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs and labels, in order. x is uint8 [n, h, w, c] or PCM16 [n, t]; y is int64 [n]."""

    x: Shaped[Array, "n ..."]
    y: Int[Array, " n"]

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(f"{len(self.x)} inputs came with {len(self.y)} labels")
        object.__setattr__(self, "x", frozen(self.x))
        object.__setattr__(self, "y", frozen(self.y.astype(np.int64)))

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: Any) -> "Samples":
        return Samples(self.x[index], self.y[index])

    @property
    def fingerprint(self) -> str:
        """sha256 over inputs and labels, in order."""
        return fingerprint(self.x, self.y)


class FileFact(NamedTuple):
    """What was read: sha256 and size of a file (of all its files, for a folder)."""

    sha256: str
    bytes: int


@dataclass(frozen=True, eq=False)
class Dataset:
    """Named splits of samples, and the names of their classes."""

    name: str
    splits: Mapping[str, Samples]
    classes: tuple[str, ...]
    modality: Modality = IMAGE
    files: Mapping[str, FileFact] = field(default_factory=dict)

    @property
    def fingerprints(self) -> dict[str, str]:
        """sha256 of each split."""
        return {name: samples.fingerprint for name, samples in self.splits.items()}


@dataclass(frozen=True)
class ThreatModel:
    """What an attacker may do and knows: a value, shown on the board.

    may: any of recruit, reorder, perturb, inject. knows: any of data, extractor, victim, defense.
    norm and bound: the limit on a perturbation, in input units; None is unlimited (and reported).
    """

    may: frozenset[str] = frozenset()
    knows: frozenset[str] = frozenset()
    norm: str | None = None
    bound: float | None = None

    def __post_init__(self) -> None:
        for given, known in ((self.may, MAY), (self.knows, KNOWS)):
            if not given <= known:
                raise ValueError(f"threat model has {sorted(given - known)}; allowed: {sorted(known)}")
        if self.norm not in NORMS or (self.norm is None) != (self.bound is None):
            raise ValueError(f"threat model has norm {self.norm} with bound {self.bound}; give l2 or linf and a bound")


MAY = frozenset({"recruit", "reorder", "perturb", "inject"})
NORMS = {None: None, "l2": 2, "linf": np.inf}
KNOWS = frozenset({"data", "extractor", "victim", "defense"})


@dataclass(frozen=True, eq=False)
class AttackView:
    """All that an attack may see while it crafts: what is not in it cannot leak.

    base: the samples it may use or change, with true labels. extractor: f(x), torch [n, ...] in input
    units to [n, d], differentiable, asked and answered on any device; None where the threat model does not know it.
    budget: most poisons.
    """

    base: Samples
    classes: tuple[str, ...]
    modality: Modality
    budget: int
    extractor: Callable[..., Any] | None = None
    progress: Callable[[str, int], Any] | None = None  # progress(label, total) -> an advance function's context


@dataclass(frozen=True, eq=False)
class Poison:
    """What an attack returns: new inputs, the base sample of each, and facts about each, never an effect.

    facts: name -> one number a poison. unmet: conditions of its own that the attack missed, in words.
    """

    samples: Samples
    base: Int[Array, " n"]
    facts: Mapping[str, Shaped[Array, " n"]] = field(default_factory=dict)
    unmet: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "base", frozen(self.base.astype(np.int64)))
        object.__setattr__(self, "facts", MappingProxyType({k: frozen(v) for k, v in self.facts.items()}))

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def sha256(self) -> str:
        """Names the poison by what reaches the victim; facts about how it was made do not count."""
        return fingerprint(self.samples.x, self.samples.y, self.base)


def malformed(poison: Poison, view: AttackView) -> str:
    """Why a poison cannot be applied at all; '' where it can."""
    x, base, n = poison.samples.x, view.base, len(poison)
    if n != len(poison.base):
        return f"{n} poisons name {len(poison.base)} bases"
    if x.dtype != base.x.dtype or x.shape[1:] != base.x.shape[1:]:
        return f"poisons are {x.dtype} {x.shape[1:]}; the data is {base.x.dtype} {base.x.shape[1:]}"
    if n and not 0 <= poison.base.min() <= poison.base.max() < len(base):
        return f"names a base outside 0..{len(base) - 1}"
    for name, values in poison.facts.items():
        if values.shape != (n,) or not np.isfinite(values.astype(np.float64)).all():
            return f"fact {name} is not one finite number a poison"
    return ""


def violations(poison: Poison, view: AttackView, threat: ThreatModel) -> list[str]:
    """What in the poison breaks the threat model or the budget; empty where it is valid."""
    wrong = malformed(poison, view)
    return [wrong] if wrong else list(_broken_rules(poison, view, threat))


def _broken_rules(poison: Poison, view: AttackView, threat: ThreatModel) -> Iterable[str]:
    n, base = len(poison), view.base[poison.base]
    changed = poison.samples.x.astype(np.int64) - base.x.astype(np.int64)
    if n and "inject" not in threat.may:
        yield f"injects {n} samples, which its threat model does not allow"
    if n > view.budget:
        yield f"poisons {n} samples; the benchmark allows {view.budget}"
    if (poison.samples.y != base.y).any():
        yield "changes a label; every poison keeps its base's true label"
    if changed.any() and "perturb" not in threat.may:
        yield "changes an input, which its threat model does not allow"
    if threat.bound is not None and n:
        flat = changed.reshape(n, -1) * view.modality.step
        worst = np.linalg.norm(flat, ord=NORMS[threat.norm], axis=1).max()
        if worst > threat.bound:
            yield f"changes an input by {worst:.4g} in {threat.norm}; the threat model allows {threat.bound:.4g}"
