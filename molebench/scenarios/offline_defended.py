"""Updates behind defenses: transformed, filtered, trained on or not, and predicted from.

A filter sees an update's images in random order, with labels, the victim's features of them and its beliefs before the
update; behind it, each image that it removes is replaced by a random one of the same class, so that imbalance is not
mistaken for an effect. `schedule` says what the epoch is made of and in which order, `fit` trains in its stead,
`accept` may keep the victim as it was, or part of it. Labelled items are the victim's own pool, where every update
comes from.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn

from molebench.filtering import judgement, rows
from molebench.hooks import Sees, View
from molebench.provenance import metered
from molebench.rng import stream
from molebench.scenarios.blended import blended
from molebench.scenarios.screening import refilled
from molebench.scenarios.trained import BATCH, Trained, device_of, probabilities, ready, updated
from molebench.splits import some_of_each
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
                p = self.after(index, order_of(update), turn)
            cells = {"seconds": np.array(cost.seconds), "mib": np.array(cost.peak_mib)}
            return {"predicted": p.argmax(axis=1).astype(np.int64), "filtered": rows(filtered, self.k), **cells}

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
    def pool_x(self) -> Array:
        """The pool's images as the model gets them."""
        return frozen(self.shown(self.pool.x, "pool"))

    @cached_property
    def pool_z(self) -> Float[Array, "p d"]:
        """The victim's features of its pool."""
        changes = [*self.trial.defense_identity] if self.trial.defenses.has("transform") else []
        inputs = {"victim": self.victim.key, "code": self.trial.code, "defenses": changes, "seed": self.trial.seed}
        found = self.trial.stages.get("pool features", inputs, lambda: {"z": self.features(self.pool_x)}, "features")
        return frozen(found["z"])

    @cached_property
    def pool_p(self) -> Float[Array, "p k"]:
        """The victim's beliefs about its pool."""
        if not self.trial.defenses.has("transform"):
            return self.victim.scores
        return frozen(probabilities(ready(self.victim.network), self.pool_x))

    @cached_property
    def trusted(self) -> Int[Array, " t"]:
        """Pool images that defenses are shown as clean: as many of each class as they ask for."""
        return some_of_each(self.pool.y, self.trial.defenses.trusted, stream(self.trial.seed, "trusted", self.secret))

    def features(self, x: Array) -> Float[Array, "n d"]:
        """The victim's penultimate features, before any update."""
        return penultimate(ready(self.victim.network), x)

    def view(self, index: Int[Array, " n"], mole: Array | None = None) -> Callable[[Sees], View]:
        """What a defense sees of some of the pool, before the update; `mole` marks moles, for the oracle alone."""
        view = View(
            self.pool_x[index],
            self.pool_z[index],
            self.k,
            y=self.pool.y[index],
            p=self.pool_p[index],
            labelled_x=self.pool_x,
            labelled_z=self.pool_z,
            labelled_y=self.pool.y,
            labelled_p=self.pool_p,
        )

        def shown(sees: Sees) -> View:
            own: dict[str, Any] = {"poison": mole} if "ground_truth" in sees and mole is not None else {}
            return replace(view, **own | (self.vouched() if "trusted" in sees else {}))

        return shown

    def vouched(self) -> dict[str, Array]:
        """The trusted images, for a view."""
        chosen = self.trusted
        return {"trusted_x": self.pool_x[chosen], "trusted_z": self.pool_z[chosen], "trusted_y": self.pool.y[chosen]}

    def filtered(self, update: Update, turn: int) -> tuple[Int[Array, " m"], list[Float[Array, " w"]]]:
        """The update's images once the filters have seen them; a row of judgement where they did."""
        defenses = self.trial.defenses
        if not defenses.has("filter_train") or not len(update):
            return update.index, []
        order = self.order("filter order", len(update), turn)
        index, mole = update.index[order], update.mole[order]
        view = self.view(index, mole)
        keep = defenses.mask("filter_train", view, len(index), turn, {}, floor=False)
        suspicion = defenses.suspicion("filter_train", view, len(index), turn)
        row = judgement(turn, self.pool.y[index], mole, keep, suspicion, self.k)
        kept = np.empty(len(index), dtype=bool)
        kept[order] = keep
        return refilled(update.index, kept, self.pool.y, stream(self.trial.seed, "replacements", turn)), [row]

    def after(self, index: Int[Array, " n"], order: tuple[int, ...], turn: int) -> Float[Array, "m k"]:
        """P(y | x) of the test items after an update on these images, or what a defense makes of it."""
        defenses = self.trial.defenses
        p = self.fitted(index, turn) if defenses.has("fit") else self.trained(index, order, turn)
        if not defenses.has("predict"):
            return p
        mixed = self.order("test order", len(p), turn)
        view = View(self.test_x[mixed], self.features(self.test_x[mixed]), self.k, p=p[mixed])
        changed = defenses.one("predict", lambda sees: view, turn)
        return p if changed is None else changed[np.argsort(mixed)]

    def trained(self, index: Int[Array, " n"], order: tuple[int, ...], turn: int) -> Float[Array, "m k"]:
        """The ordinary update, in a defense's order where there is one; the victim as it was, or part of both, where
        there is nothing to train on or a defense does not let all of it in."""
        planned = self.scheduled(index, turn)
        chosen = index if planned is None else planned
        update = Samples(self.pool_x[chosen], self.pool.y[chosen])
        network = updated(self.victim, update, self.trial.seed, order, shuffled=planned is None)
        if len(update) and self.trial.defenses.has("accept"):
            mixed = index[self.order("accept order", len(index), turn)]
            share = self.trial.defenses.accepts(self.compared(ready(network), mixed), turn)
            network = blended(self.victim.network, network, share)
        return probabilities(ready(network, self.trial.victim.evaluation), self.test_x)

    def scheduled(self, index: Int[Array, " n"], turn: int) -> Int[Array, " s"] | None:
        """Pool images in the order of a defense's schedule; None where there is none."""
        if not self.trial.defenses.has("schedule") or not len(index):
            return None
        mixed = index[self.order("schedule order", len(index), turn)]
        view = self.view(mixed)
        planned = self.trial.defenses.scheduled(lambda sees: replace(view(sees), count=self.victim.recipe.batch), turn)
        return None if planned is None else np.concatenate([mixed, np.arange(len(self.pool))])[planned]

    def compared(self, network: nn.Module, index: Int[Array, " n"]) -> Callable[[Sees], View]:
        """What a defense sees of the victim after an update, beside what it was."""
        view = self.view(index)
        p = probabilities(network, self.pool_x[index])

        def shown(sees: Sees) -> View:
            found = replace(view(sees), p=p, p_before=self.pool_p[index])
            if "trusted" not in sees:
                return found
            now = probabilities(network, self.pool_x[self.trusted])
            return replace(found, trusted_p=now, trusted_p_before=self.pool_p[self.trusted])

        return shown

    def fitted(self, index: Int[Array, " n"], turn: int) -> Float[Array, "m k"]:
        """A defense's own training: the update is what is labelled, test items in random order are asked for."""
        mixed, own = (self.order(name, n, turn) for name, n in (("fit order", len(self.test)), ("own", len(index))))
        x, mine = self.test_x[mixed], index[own]
        labelled = {"labelled_x": self.pool_x[mine], "labelled_y": self.pool.y[mine]}
        view = View(x, self.features(x), self.k, labelled_z=self.pool_z[mine], **labelled)
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
            for batch in torch.split(torch.from_numpy(np.array(x)).to(device_of(network)), BATCH):
                network(batch)
                found.append(seen[0].flatten(1).float())
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(found).cpu().numpy()
