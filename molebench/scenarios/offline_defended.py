"""Updates behind defenses: transformed, filtered, trained on or not, and predicted from.

A filter sees an update's images in random order, with labels, the victim's features of them and its beliefs before the
update; behind it, each image that it removes is replaced by a random one of the same class, so that imbalance is not
mistaken for an effect. `fit` trains in the update's stead, `accept` may keep the victim as it was. Labelled items are
the victim's own pool, where every update comes from.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn

from molebench.hooks import Sees, View
from molebench.provenance import metered
from molebench.rng import stream
from molebench.scenarios.screening import judgement, refilled
from molebench.scenarios.trained import BATCH, Trained, probabilities, ready, updated
from molebench.stages import Arrays
from molebench.trial import Trial, UpdateArm
from molebench.types import Array, Samples, fingerprint, frozen
from molebench.updates import Recruitment, Update, order_of


@dataclass(frozen=True, eq=False)
class Behind:
    """A victim, its pool and the test items, behind the trial's defenses."""

    trial: Trial
    victim: Trained
    pool: Samples
    test: Samples

    def played(self, proposed: Recruitment, name: str) -> UpdateArm:
        """Every update of one arm, each from the cache where it has been tried before."""
        found = []
        with self.trial.progress(f"updates ({name})", len(proposed.updates)) as advance:
            for number, update in enumerate(proposed.updates):
                found.append(self.one(update, name))
                found[-1]["filtered"][:, 0] = number
                advance(1)
        return UpdateArm.of(found, len(self.test), self.k)

    def one(self, update: Update, name: str) -> Arrays:
        """The predictions after one update, what the filters did to it, and what it cost."""
        turn = self.turn(update)
        inputs = {
            "victim": self.victim.key,
            "update": fingerprint(update.index, update.mole),
            "order": list(order_of(update)),
            "seed": self.trial.seed,
            "defenses": list(self.trial.defense_identity),
            "evaluation": self.trial.victim.evaluation,
            "code": self.trial.code,
        }

        def compute() -> Arrays:
            with metered() as cost:
                index, filtered = self.filtered(update, turn)
                samples = Samples(self.shown(self.pool.x[index], "pool"), self.pool.y[index])
                p = self.after(samples, order_of(update), turn)
            rows = np.array(filtered, dtype=np.float64).reshape(-1, 6)
            cells = {"seconds": np.array(cost.seconds), "mib": np.array(cost.peak_mib)}
            return {"predicted": p.argmax(axis=1).astype(np.int64), "filtered": rows, **cells}

        return self.trial.stages.get("updates", inputs, compute, f"updates ({name})")

    def turn(self, update: Update) -> int:
        """What a defense's draws depend on: an update's own number, the same alone and in a grid; it tells nothing."""
        return int(stream(self.trial.seed, "turn", self.secret, *order_of(update)).integers(2**31))

    @property
    def k(self) -> int:
        """Number of classes."""
        return len(self.trial.dataset.classes)

    @cached_property
    def secret(self) -> str:
        """A label that no view holds: a seed that was guessed is not enough to draw the orders again."""
        return fingerprint(self.test.y)

    def order(self, name: str, n: int, turn: int) -> Int[Array, " n"]:
        """A permutation that tells nothing."""
        return stream(self.trial.seed, name, self.secret, turn).permutation(n)

    def shown(self, x: Array, when: str) -> Array:
        """Images behind the defenses' transforms, which see them shuffled."""
        if not self.trial.defenses.has("transform"):
            return x
        order, changed = self.order(f"transform {when}", len(x), 0), np.empty_like(x)
        changed[order] = self.trial.defenses.transformed(x[order], when, self.k)
        return changed

    @cached_property
    def test_x(self) -> Array:
        """The test images as the model gets them."""
        return self.shown(self.test.x, "test")

    @cached_property
    def pool_z(self) -> Float[Array, "p d"]:
        """The victim's features of its pool."""
        inputs = {"victim": self.victim.key, "code": self.trial.code}
        found = self.trial.stages.get("pool features", inputs, lambda: {"z": self.features(self.pool.x)}, "features")
        return frozen(found["z"])

    def features(self, x: Array) -> Float[Array, "n d"]:
        """The victim's penultimate features, before any update."""
        return penultimate(ready(self.victim.network), x)

    def view(self, samples: Samples, z: Array, p: Array | None, update: Array | None) -> Callable[[Sees], View]:
        """What a defense sees of an update's images; `update` marks moles, for the oracle alone."""
        view = View(
            samples.x,
            z,
            self.k,
            y=samples.y,
            p=p,
            labelled_x=self.pool.x,
            labelled_z=self.pool_z,
            labelled_y=self.pool.y,
        )
        return lambda sees: replace(view, poison=update) if "ground_truth" in sees and update is not None else view

    def filtered(self, update: Update, turn: int) -> tuple[Int[Array, " m"], list[tuple[float, ...]]]:
        """The update's images once the filters have seen them; a row of judgement as `metrics.filter_rates` reads."""
        defenses = self.trial.defenses
        if not defenses.has("filter_train") or not len(update):
            return update.index, []
        order = self.order("filter order", len(update), turn)
        index, mole = update.index[order], update.mole[order]
        x = self.shown(self.pool.x[index], "pool")
        p = probabilities(ready(self.victim.network), x)
        view = self.view(Samples(x, self.pool.y[index]), self.features(x), p, mole)
        keep = defenses.mask("filter_train", view, len(index), turn, {}, floor=False)
        row = judgement(turn, keep, mole, defenses.suspicion("filter_train", view, len(index), turn))
        kept = np.empty(len(index), dtype=bool)
        kept[order] = keep
        return refilled(update.index, kept, self.pool.y, stream(self.trial.seed, "replacements", turn)), [row]

    def after(self, update: Samples, order: tuple[int, ...], turn: int) -> Float[Array, "m k"]:
        """P(y | x) of the test items after the update, or what a defense makes of it."""
        defenses = self.trial.defenses
        p = self.fitted(update, turn) if defenses.has("fit") else self.trained(update, order, turn)
        if not defenses.has("predict"):
            return p
        mixed = self.order("test order", len(p), turn)
        view = View(self.test_x[mixed], self.features(self.test_x[mixed]), self.k, p=p[mixed])
        changed = defenses.one("predict", lambda sees: view, turn)
        return p if changed is None else changed[np.argsort(mixed)]

    def trained(self, update: Samples, order: tuple[int, ...], turn: int) -> Float[Array, "m k"]:
        """The ordinary update; the victim as it was where there is nothing to train on or a defense rejects it."""
        network = updated(self.victim, update, self.trial.seed, order)
        if len(update) and self.trial.defenses.has("accept"):
            mixed = update[self.order("accept order", len(update), turn)]
            p = probabilities(ready(network), mixed.x)
            if not self.trial.defenses.accepts(self.view(mixed, self.features(mixed.x), p, None), turn):
                network = self.victim.network
        return probabilities(ready(network, self.trial.victim.evaluation), self.test_x)

    def fitted(self, update: Samples, turn: int) -> Float[Array, "m k"]:
        """A defense's own training: the update is what is labelled, test items in random order are asked for."""
        mixed, own = (self.order(name, n, turn) for name, n in (("fit order", len(self.test)), ("own", len(update))))
        x = self.test_x[mixed]
        labelled = {"labelled_x": update.x[own], "labelled_y": update.y[own]}
        view = View(x, self.features(x), self.k, labelled_z=self.features(update.x[own]), **labelled)
        p = self.trial.defenses.one("fit", lambda sees: view, turn)
        return np.zeros((0, self.k)) if p is None else p[np.argsort(mixed)]


def penultimate(network: nn.Module, x: Array) -> Float[Array, "n d"]:
    """What a network's last linear layer is given."""
    seen: list[Any] = [None]
    layers = [m for m in network.modules() if isinstance(m, nn.Linear)]
    hooks = [m.register_forward_pre_hook(lambda _, given: seen.__setitem__(0, given[0])) for m in layers]
    found = []
    try:
        with torch.inference_mode():
            for batch in torch.split(torch.from_numpy(np.array(x)), BATCH):
                network(batch)
                found.append(seen[0].flatten(1).float())
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(found).numpy()
