"""Feature collision: small noise gives every poison the same features, so an active learner asks for just those.

For each base x of class y (true label kept) and a collision target mu (zero: rare among clean features),
    minimise over d   J(d) = |f(x + d) - mu|^2 + beta |d|^2,   x + d in the valid range.       (Eq. 2)
Each sample descends by its own normalised gradient of log J with momentum, many in a batch (molebench/descent.py).
Normalising makes the step length the same however near the collision is (plain or Adam steps slow down, or buy the last
bit with noise). Measured against Adam on J with the same network: docs/decisions.md.

Adaptive (this supposes that the attacker knows the defense): `points` and target=neighbour give the poisons mu of their
own (molebench/aims.py), so that no screen finds a crowd; there lr=0.25 comes nearer than the default. `expectation`
descends the mean of J's first term over transformed copies too (molebench/expectation.py), against defenses that
squeeze inputs.

Reference: Mueller, Boettinger, "Adversarial Vulnerability of Active Transfer Learning", IDA 2021,
arXiv:2101.10792, Eq. 2 and 3; Athalye et al., "Synthesizing Robust Adversarial Examples", ICML 2018, arXiv:1707.07397.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from molebench.aims import Target
from molebench.cards import Count, NonNegative, Positive, Share, attack
from molebench.collision import Extractor, at_once, chosen_bases, dithered, ratios
from molebench.descent import Descent, Given, Left
from molebench.errors import MolebenchError
from molebench.expectation import Expected, Over, kinds_of
from molebench.progress import Progress, silent
from molebench.types import IMAGE, Array, AttackView, Modality, Poison, Samples, ThreatModel

BIBTEX = """
@inproceedings{mueller2021adversarial,
  title = {Adversarial Vulnerability of Active Transfer Learning},
  author = {M{\\"u}ller, Nicolas M. and B{\\"o}ttinger, Konstantin},
  booktitle = {Advances in Intelligent Data Analysis XIX}, year = {2021},
  eprint = {2101.10792}, archivePrefix = {arXiv}
}
"""

WORST_RATIO = 0.25  # mean collision ratio above which the attack has missed its own condition
WORST_RATIO_APART = 0.5  # the same where poisons have points of their own: features that have died stay dead on the way


@attack(
    paper="Mueller and Boettinger, IDA 2021, arXiv:2101.10792",
    threat=ThreatModel(may=frozenset({"inject", "perturb"}), knows=frozenset({"data", "extractor"})),
    scenarios=("active",),
    control="unperturbed",
    profiles={"tiny": {"n_poison": 40}},
    by_modality={"audio": {"lr": 2.5e-4, "beta": 1_000.0, "dither": 2.0}},
    cost="on two cores, a poison: 0.3 s for ResNet-50 at 32x32, 0.25 s for YAMNet at a second",
)
@dataclass(frozen=True)
class FeatureCollision:
    """n_poison: number of poisons (at most the attacker's images). target: the point mu all features go to;
    neighbour: to those of clean images of other classes.
    steps: gradient steps a sample. lr: length of the first step, root mean square per element, input units.
    beta: weight of the noise's squared norm. tolerance: collision ratio at which a sample is done.
    base: the images nearest to the target (Eq. 3) or random ones. balance: as many poisons of every class.
    dither: standard deviation of the noise that the descent starts from, in steps of what can be stored.
    points: different points to collide at; where not given one, or for target=neighbour one a poison. radius: how far
    from the target they are, as a share of the median distance of the attacker's images. expectation: transforms that
    the collision should outlive. draws: transformed copies a step, beside the image itself.
    """

    n_poison: Count = 500
    target: Target = "zero"
    steps: Count = 75
    lr: Positive = 1.5
    beta: NonNegative = 1e-6
    tolerance: Share = 0.02
    base: Literal["closest", "random"] = "closest"
    balance: bool = True
    dither: NonNegative = 0.0
    points: Count | None = None
    radius: Positive = 0.25
    expectation: Over = "none"
    draws: Count = 2

    def craft(self, view: AttackView, rng: np.random.Generator) -> Poison:
        """Perturbed copies of the chosen bases, with true labels, collision ratio and seconds of each."""
        f = view.extractor
        if f is None:
            raise MolebenchError("attack feature_collision needs an extractor; this victim shows it none")
        kinds, closest = kinds_of(self.expectation, view.modality), self.base == "closest"
        bases, index, mu = chosen_bases(
            view, self.n_poison, self.target, closest, self.balance, rng, self.points, self.radius
        )
        start = time.perf_counter()
        over = Expected(f, kinds, self.draws, view.modality, rng) if kinds else f
        descent = Descent(self.beta, self.steps, self.lr, self.tolerance, view.modality)
        given = self.given(bases.x, over.aim(mu) if isinstance(over, Expected) else mu, view.modality, rng)
        left = descent.of(over, given, len(bases), at_once(f, bases.x.shape[1:]))
        x, facts = crafted(left, bases.x, view.modality, view.progress or silent)
        facts["seconds"] = np.full(len(x), (time.perf_counter() - start) / max(len(x), 1))
        facts["collision_ratio"] = ratios(f, x, bases.x, mu, view.modality)
        mean = float(facts["collision_ratio"].mean())
        worst = WORST_RATIO if mu.ndim == 1 else WORST_RATIO_APART
        unmet = (f"mean collision ratio {mean:.3f} is above {worst}",) if mean > worst else ()
        return Poison(Samples(x, bases.y), index, facts, unmet)

    def given(self, x: Array, mu: Float[Array, "*n d"], modality: Modality, rng: np.random.Generator) -> Given:
        """Stored samples as the descent asks for them: base, where it begins, mu."""
        each = np.broadcast_to(mu, (len(x), mu.shape[-1]))

        def some(which: slice) -> tuple[Tensor, Tensor, Tensor]:
            begin = dithered(x[which], modality, self.dither, rng)
            return torch.from_numpy(modality.values(x[which])), torch.from_numpy(begin), torch.tensor(each[which])

        return some


def crafted(left: Iterator[Left], x: Array, modality: Modality, progress: Progress) -> tuple[Array, dict[str, Array]]:
    """Poisons of stored samples, quantised as they leave the descent; and facts about each."""
    made = np.empty_like(x)
    facts: dict[str, Array] = {}
    with progress("crafting", len(x)) as advance:
        for who, moved, found in left:
            made[who] = modality.quantise(moved.numpy())
            for name, fact in found.items():
                facts.setdefault(name, np.zeros(len(x), fact.dtype))[who] = fact
            advance(len(who))
    return made, facts


def collide(
    extractor: Extractor,
    x: Float[Tensor, "n ..."],
    target: Float[Tensor, " d"],
    beta: float = 1e-6,
    steps: int = 75,
    lr: float = 1.5,
    tolerance: float = 0.0,
    modality: Modality = IMAGE,
) -> Float[Tensor, "n ..."]:
    """Inputs near x, in the valid range and on the quantisation grid, whose features are near `target`.

    x is in input units (0-255 for images, -1 to 1 for sounds) and is not changed.
    """
    mu, moved = target.expand(len(x), -1), torch.empty_like(x, device="cpu")
    descent = Descent(beta, steps, lr, tolerance, modality)
    size = at_once(extractor, x.shape[1:])
    for who, found, _ in descent.of(extractor, lambda some: (x[some], x[some], mu[some]), len(x), size):
        moved[who] = found
    return torch.from_numpy(modality.values(modality.quantise(moved.numpy()))).to(x.device)
