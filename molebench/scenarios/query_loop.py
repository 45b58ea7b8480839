"""The query loop of active learning: train, ask for the least certain items, label them, train again.

One `Loop` plays one arm. It alone knows which items are poisons; defenses act on it through `hooks`.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from molebench.errors import MolebenchError
from molebench.filtering import judgement, rows
from molebench.fitting import Scorer, fitter
from molebench.heads import HeadSpec, entropy, highest
from molebench.hooks import Pipeline, Sees, View
from molebench.rng import stream, torch_stream
from molebench.splits import some_of_each
from molebench.types import Array, Samples, fingerprint


@dataclass(frozen=True, eq=False)
class Items:
    """Inputs, features and labels, in order; `poison` marks the injected ones. The loop's own, shown to nobody."""

    x: Array
    z: Float[Array, "n d"]
    y: Int[Array, " n"]
    poison: Bool[Array, " n"]
    device: str = "cpu"  # where heads are trained and asked

    def __len__(self) -> int:
        return len(self.y)

    @cached_property
    def features(self) -> Float[Tensor, "n d"]:
        """z as a tensor, made and moved once; the same memory, where that may be written to."""
        return torch.from_numpy(np.require(self.z, requirements="W")).to(self.device)


def items(samples: Samples, z: Float[Array, "n d"], poisons: int = 0, device: str = "cpu") -> Items:
    """Samples and their features; the last `poisons` of them are injected."""
    return Items(samples.x, z, samples.y, np.arange(len(samples)) >= len(samples) - poisons, device)


@dataclass(frozen=True)
class Budget:
    """queries: labels to buy, `batch` of them between two trainings, after `seed_size` random clean ones."""

    queries: int
    batch: int
    seed_size: int

    @property
    def trainings(self) -> int:
        """Of a head, after the one of the start."""
        return -(-self.queries // self.batch)


@dataclass(frozen=True, eq=False)
class Arm:
    """What one arm left behind.

    predicted, seed_predicted: class of each test item after all queries, and with the seed labels alone.
    queried: pool index of every label bought, in order. poisoned: which of those were poisons.
    spent, labels, accuracy: labels bought, labels owned and test accuracy after each training.
    filtered: a row of molebench/filtering.py for each judgement of the filters (of the pool: the first); turn: labels
    bought by then.
    seconds, mib: what it cost.
    """

    predicted: Int[Array, " m"]
    seed_predicted: Int[Array, " m"]
    queried: Int[Array, " q"]
    poisoned: Bool[Array, " q"]
    spent: Int[Array, " t"]
    labels: Int[Array, " t"]
    accuracy: Float[Array, " t"]
    filtered: Float[Array, "f w"]
    seconds: float = 0.0
    mib: float = 0.0


@runtime_checkable
class Model(Protocol):
    """A trained model: P(y | item) of some pool items, by index, and of the test items."""

    def on_pool(self, which: Array) -> Array:
        """P [len(which), k]."""

    def on_test(self) -> Array:
        """P [m, k]."""

    def doubts(self) -> Array:
        """The entropy of P of each pool item."""


@dataclass(frozen=True, eq=False)
class Plain:
    """The victim's own head on frozen features."""

    head: Scorer
    pool: Items
    test: Items

    def on_pool(self, which: Array) -> Array:
        """P of pool items; the whole pool is scored where that is cheaper than gathering most of it."""
        if len(which) < len(self.pool) // 4:
            few: Array = self.head.probabilities(self.pool.features[which]).cpu().numpy()
            return few
        p: Array = self.head.probabilities(self.pool.features).cpu().numpy()
        return p[which]

    def on_test(self) -> Array:
        """P of the test items."""
        p: Array = self.head.probabilities(self.test.features).cpu().numpy()
        return p

    def doubts(self) -> Array:
        """The entropy of each pool item, without its P."""
        h: Array = self.head.doubts(self.pool.features).cpu().numpy()
        return h


@dataclass(frozen=True, eq=False)
class Defended:
    """A defense's own training: called once, with what to train on and the items to score, arrays only.

    Pool and test items are scored together in one random order, so that neither can be told from the other.
    """

    loop: "Loop"
    used: Array
    turn: int

    def on_pool(self, which: Array) -> Array:
        """P of pool items."""
        return self.scored[: len(self.loop.pool)][which]

    def on_test(self) -> Array:
        """P of the test items."""
        return self.scored[len(self.loop.pool) :]

    def doubts(self) -> Array:
        """The entropy of each pool item's P."""
        h: Array = entropy(torch.from_numpy(self.scored[: len(self.loop.pool)])).numpy()
        return h

    @cached_property
    def scored(self) -> Float[Array, "n k"]:
        """P of every pool item, then of every test item."""
        loop, pool, test, used = self.loop, self.loop.pool, self.loop.test, self.used
        order = loop.shuffled("fit order", np.arange(len(pool) + len(test)))
        x, z = np.concatenate([pool.x, test.x])[order], np.concatenate([pool.z, test.z])[order]
        own = loop.shuffled("labelled order", used)
        labelled = {"labelled_x": pool.x[own], "labelled_z": pool.z[own], "labelled_y": pool.y[own]}

        def view(sees: Sees) -> View:
            return View(x, z, loop.k, **labelled, extractor=loop.shown(sees))

        p = loop.defenses.one("fit", view, self.turn)
        if p is None:
            raise MolebenchError("no defense replaces 'fit'")
        unshuffled = np.empty_like(p)
        unshuffled[order] = p
        return unshuffled


@dataclass
class Loop:
    """One arm being played. seed: of the cell. model_seed: of initialisation and batch order."""

    spec: HeadSpec
    budget: Budget
    pool: Items
    test: Items
    k: int
    seed: int
    model_seed: int
    defenses: Pipeline
    extractor: Callable[..., Any] | None = None
    owned: list[int] = field(default_factory=list)
    queried: list[int] = field(default_factory=list)
    filtered: list[Float[Array, " w"]] = field(default_factory=list)
    memory: dict[str, Array] = field(default_factory=dict)

    def play(self, advance: Callable[[int], None]) -> Arm:
        """All rounds, from the seed set to the last training."""
        order = self.shuffled("pool order", np.arange(len(self.pool)))  # ties must not tell poisons by place
        self.owned = seed_set(self.pool, self.budget.seed_size, self.seed)
        model = self.train(None)
        predicted, spent, labels = [self.predict(model)], [0], [len(self.owned)]
        while len(self.queried) < self.budget.queries and (bought := self.query(model, order)):
            self.queried += bought
            self.owned += self.kept(bought)
            model = self.train(model)
            predicted.append(self.predict(model))
            spent.append(len(self.queried))
            labels.append(len(self.owned))
            advance(len(bought))
        queried = np.array(self.queried, dtype=np.int64)
        accuracy = np.array([(p == self.test.y).mean() for p in predicted])
        poisoned = self.pool.poison[queried]
        filtered = rows(self.filtered, self.k)
        return Arm(
            predicted[-1], predicted[0], queried, poisoned, np.array(spent), np.array(labels), accuracy, filtered
        )

    @property
    def turn(self) -> int:
        """Labels bought so far: what names a moment, and a model's streams."""
        return len(self.queried)

    @property
    def wanted(self) -> int:
        """How many labels to buy next, where the pool has as many left."""
        return min(self.budget.batch, self.budget.queries - len(self.queried))

    @cached_property
    def secret(self) -> str:
        """A label that no view holds: a seed that was guessed is not enough to draw the orders of items again."""
        return fingerprint(self.test.y)

    def shuffled(self, name: str, which: Array) -> Array:
        """The same items in an order that tells nothing; what two arms share comes in the same relative order."""
        return which[np.argsort(stream(self.seed, name, self.secret, self.turn).random(len(which)), kind="stable")]

    def shown(self, sees: Sees) -> Callable[..., Any] | None:
        """A copy of the extractor for a defense that sees it: what that does to its copy harms nobody."""
        return copy.deepcopy(self.extractor) if "extractor" in sees else None

    def view(self, which: Array, sees: Sees, p: Array | None = None, labelled: bool = False, count: int = 0) -> View:
        """What a defense may see of some pool items at this moment; labels where they are bought or privileged."""
        pool, own = self.pool, self.shuffled("labelled order", np.array(self.owned))
        shown = self.trusted if "trusted" in sees else None
        trusted = {} if shown is None else {f"trusted_{n}": getattr(pool, n)[shown] for n in ("x", "z", "y")}
        return View(
            pool.x[which],
            pool.z[which],
            self.k,
            y=pool.y[which] if labelled or "labels" in sees else None,
            **trusted,
            p=p,
            labelled_x=pool.x[own],
            labelled_z=pool.z[own],
            labelled_y=pool.y[own],
            count=count,
            extractor=self.shown(sees),
            poison=pool.poison[which] if "ground_truth" in sees else None,
        )

    @cached_property
    def trusted(self) -> Int[Array, " t"]:
        """Clean pool items that defenses are shown with their labels: as many of each class as they ask for."""
        clean = np.flatnonzero(~self.pool.poison)
        drawn = stream(self.seed, "trusted", self.secret)
        return clean[some_of_each(self.pool.y[clean], self.defenses.trusted, drawn)]

    def passing(self, moment: str, which: Array, labelled: bool = False, p: Array | None = None) -> Array:
        """Those of the items that the filters of this moment let through, in the order given; the judgement noted.

        p: beliefs about all of the pool, where there are any.
        The filters see them shuffled. What they let through keeps its order, so that one which removes nothing
        changes nothing.
        """
        if not self.defenses.has(moment):
            return which
        mixed = self.shuffled(f"{moment} order", which)

        def view(sees: Sees) -> View:
            return self.view(mixed, sees, None if p is None else p[mixed], labelled=labelled)

        keep = self.defenses.mask(moment, view, len(mixed), self.turn, self.memory)
        if moment != "screen_pool" or not self.queried:  # later pools lack what was let through and bought
            score = self.defenses.suspicion(moment, view, len(mixed), self.turn)
            poison, y = self.pool.poison[mixed], self.pool.y[mixed]
            self.filtered.append(judgement(self.turn, y, poison, keep, score, self.k))
        return which[np.isin(which, mixed[keep])]

    def query(self, model: Model, order: Array) -> list[int]:
        """The pool items to label next: of highest entropy, or what a defense selects; none where none is left."""
        taken = np.zeros(len(self.pool), dtype=bool)
        taken[self.owned + self.queried] = True
        free = order[~taken[order]]
        if not len(free):
            return []
        if not self.defenses.has("screen_pool") and not self.defenses.has("select"):
            return [int(i) for i in free[highest(model.doubts()[free], self.wanted)]]
        p = model.on_pool(np.arange(len(self.pool)))
        free = self.passing("screen_pool", free, p=p)
        count, p = min(self.wanted, len(free)), p[free]
        chosen = self.defenses.one("select", lambda sees: self.view(free, sees, p, count=count), self.turn)
        if chosen is None:  # by the very numbers that count where no defense looks: what hides nothing changes nothing
            chosen = highest(model.doubts()[free], count)
        return [int(i) for i in free[chosen]]

    def kept(self, bought: list[int]) -> list[int]:
        """The newly labelled items that the defenses let in."""
        return [int(i) for i in self.passing("after_label", np.array(bought), labelled=True)]

    def train(self, last: Model | None) -> Model:
        """A new model, trained from scratch on what is owned; the last one where a defense rejects it."""
        used = self.passing("filter_train", np.array(self.owned), labelled=True)
        model = Defended(self, used, self.turn) if self.defenses.has("fit") else self.plain(used)
        if last is None or not self.defenses.has("accept"):
            return model
        return model if self.defenses.accepts(self.compared(model, last, used), self.turn, whole=True) else last

    def compared(self, model: Model, last: Model, used: Array) -> Callable[[Sees], View]:
        """What a defense sees of a new model beside the last one."""
        mixed = self.shuffled("accept order", used)
        p, before = model.on_pool(mixed), last.on_pool(mixed)

        def view(sees: Sees) -> View:
            shown = replace(self.view(mixed, sees, p, labelled=True), p_before=before)
            if "trusted" not in sees:
                return shown
            now, then = (each.on_pool(self.trusted) for each in (model, last))
            return replace(shown, trusted_p=now, trusted_p_before=then)

        return view

    def plain(self, used: Array) -> Plain:
        """The victim's head, cold start: its streams depend on neither attack nor defense."""
        streams = (torch_stream(self.model_seed, name, self.turn) for name in ("victim init", "batch order"))
        y = torch.from_numpy(self.pool.y[used]).to(self.pool.device)
        fit = fitter(self.spec, self.budget.trainings, y.device)
        head = fit(self.spec, self.pool.features[used], y, self.k, *streams)
        return Plain(head, self.pool, self.test)

    def predict(self, model: Model) -> Int[Array, " m"]:
        """The class of every test item."""
        p = model.on_test()
        if self.defenses.has("predict"):  # a dataset may be sorted by class
            order = self.shuffled("test order", np.arange(len(p)))
            view = View(self.test.x[order], self.test.z[order], self.k, p=p[order])
            changed = self.defenses.one("predict", lambda sees: replace(view, extractor=self.shown(sees)), self.turn)
            p = p if changed is None else changed[np.argsort(order)]
        return p.argmax(axis=1).astype(np.int64)


def seed_set(pool: Items, size: int, seed: int) -> list[int]:
    """The labelled items of the start: random clean ones, the same in every arm (poisons come after them)."""
    clean = int((~pool.poison).sum())
    return [int(i) for i in stream(seed, "seed set").choice(clean, size=size, replace=False)]
