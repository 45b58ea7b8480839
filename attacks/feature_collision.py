"""Feature collision: small noise gives every poison the same features, so an active learner asks for just those.

For each base x of class y (true label kept) and a collision target mu (zero: rare among clean features),
    minimise over d   J(d) = |f(x + d) - mu|^2 + beta |d|^2,   x + d in the valid range.       (Eq. 2)
All samples are optimised at once, each by its own normalised gradient with momentum m:
    g = grad log J,   v <- m v + (1 - m) g / |g|,   d <- d - a_t sqrt(dim) v / (1 - m^(t+1)),
with a_t falling from lr to 0 on a half cosine. Normalising makes the step length the same however near the
collision is (plain or Adam steps slow down, or buy the last bit with noise); components that push out of the
valid range are dropped first. Measured against Adam on J with the same network: docs/decisions.md.

Adaptive (this supposes that the attacker knows the defense): `points` and target=neighbour give the poisons mu of their
own (molebench/aims.py), so that no screen finds a crowd; there lr=0.25 comes nearer than the default. `expectation`
descends the mean of J's first term over transformed copies too (molebench/expectation.py), against defenses that
squeeze inputs.

Reference: Mueller, Boettinger, "Adversarial Vulnerability of Active Transfer Learning", IDA 2021,
arXiv:2101.10792, Eq. 2 and 3; Athalye et al., "Synthesizing Robust Adversarial Examples", ICML 2018, arXiv:1707.07397.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from molebench.aims import Target
from molebench.cards import Count, NonNegative, Positive, Share, attack
from molebench.collision import (
    Extractor,
    batch_of,
    chosen_bases,
    dithered,
    finite_rows,
    ratios,
    unit,
    within,
)
from molebench.errors import MolebenchError
from molebench.expectation import Expected, Over, kinds_of
from molebench.progress import silent
from molebench.types import IMAGE, Array, AttackView, Modality, Poison, Samples, ThreatModel

BIBTEX = """
@inproceedings{mueller2021adversarial,
  title = {Adversarial Vulnerability of Active Transfer Learning},
  author = {M{\\"u}ller, Nicolas M. and B{\\"o}ttinger, Konstantin},
  booktitle = {Advances in Intelligent Data Analysis XIX}, year = {2021},
  eprint = {2101.10792}, archivePrefix = {arXiv}
}
"""

MOMENTUM = 0.8
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
        begin = dithered(bases.x, view.modality, self.dither, rng)
        each = np.broadcast_to(mu, (len(bases), mu.shape[-1]))
        descent = partial(self.descent, Expected(f, kinds, self.draws, view.modality, rng) if kinds else f)
        x, facts = crafted(descent, batch_of(f), bases.x, begin, each, view.modality, view.progress or silent)
        facts["seconds"] = np.full(len(x), (time.perf_counter() - start) / max(len(x), 1))
        facts["collision_ratio"] = ratios(f, x, bases.x, mu, view.modality)
        mean = float(facts["collision_ratio"].mean())
        worst = WORST_RATIO if mu.ndim == 1 else WORST_RATIO_APART
        unmet = (f"mean collision ratio {mean:.3f} is above {worst}",) if mean > worst else ()
        return Poison(Samples(x, bases.y), index, facts, unmet)

    def descent(
        self, f: Extractor, x: Tensor, begin: Tensor, mu: Array, modality: Modality
    ) -> tuple[Tensor, dict[str, Array]]:
        """One batch by these parameters."""
        aim = torch.from_numpy(f.aim(mu) if isinstance(f, Expected) else np.array(mu))
        return descend(f, x, begin, aim, self.beta, self.steps, self.lr, self.tolerance, modality)


def crafted(
    descent: Callable[..., tuple[Tensor, dict[str, Array]]],
    size: int,
    x: Array,
    begin: Float[Array, "n ..."],
    mu: Float[Array, "n d"],
    modality: Modality,
    progress: Callable[[str, int], Any],
) -> tuple[Array, dict[str, Array]]:
    """Poisons of stored samples, batch by batch (memory follows the batch), quantised; and facts about each."""
    done, facts = [], []
    with progress("crafting", len(x)) as advance:
        for start in range(0, len(x), size):
            some = slice(start, start + size)
            batch, first = torch.from_numpy(modality.values(x[some])), torch.from_numpy(begin[some])
            moved, fact = descent(batch, first, mu[some], modality)
            done.append(modality.quantise(moved.numpy()))
            facts.append(fact)
            advance(len(batch))
    return np.concatenate(done), {name: np.concatenate([f[name] for f in facts]) for name in facts[0]}


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
    moved, _ = descend(extractor, x, x, target, beta, steps, lr, tolerance, modality)
    return torch.from_numpy(modality.values(modality.quantise(moved.numpy())))


def descend(
    extractor: Extractor,
    x: Float[Tensor, "n ..."],
    begin: Float[Tensor, "n ..."],
    mu: Float[Tensor, "*n d"],
    beta: float,
    steps: int,
    lr: float,
    tolerance: float,
    modality: Modality,
) -> tuple[Float[Tensor, "n ..."], dict[str, Array]]:
    """The descent of the docstring from `begin`, before quantisation, to one mu or each sample's own.

    A sample whose features are within `tolerance` of the way leaves the batch, and so does one whose objective
    or gradient is no longer finite: it goes back to where they last were. The rest get the time. Facts: steps taken,
    converged, diverged.
    """
    mu = mu.expand(len(x), -1)
    delta, good, momentum = begin - x, torch.zeros_like(x), torch.zeros_like(x)
    taken = torch.full((len(x),), steps)
    converged, diverged = (torch.zeros(len(x), dtype=torch.bool) for _ in range(2))
    reach = tolerance * (extractor(x).detach() - mu).norm(dim=1)
    active = torch.arange(len(x))
    for t in range(steps + 1):  # the last turn only judges the last step
        gradient, gap = log_gradient(extractor, x[active], delta[active], mu[active], beta)
        near = gap <= reach[active]
        bad = ~near & ~(finite_rows(gradient) & torch.isfinite(gap))
        converged[active[near]], diverged[active[bad]] = True, True
        delta[active[bad]] = good[active[bad]]
        taken[active[near | bad]] = t
        active, gradient = active[~(near | bad)], gradient[~(near | bad)]
        if t == steps or not len(active):
            break
        good[active] = delta[active]
        gradient = within(gradient, x[active] + delta[active], modality)
        momentum[active] = MOMENTUM * momentum[active] + (1 - MOMENTUM) * unit(gradient)
        length = lr * 0.5 * (1 + np.cos(np.pi * t / steps)) * x[0].numel() ** 0.5 / (1 - MOMENTUM ** (t + 1))
        moved = (x[active] + delta[active] - length * momentum[active]).clamp(modality.low, modality.high)
        delta[active] = moved - x[active]
    facts = {"steps": taken, "converged": converged, "diverged": diverged}
    return x + delta, {name: value.numpy() for name, value in facts.items()}


def log_gradient(
    extractor: Extractor, x: Tensor, delta: Tensor, mu: Tensor, beta: float
) -> tuple[Float[Tensor, "n ..."], Float[Tensor, " n"]]:
    """The gradient of log J in d for every sample, and |f(x + d) - mu|."""
    delta = delta.clone().requires_grad_()
    gap = (extractor(x + delta) - mu).square().sum(dim=1)
    objective = gap + beta * delta.flatten(1).square().sum(dim=1)
    (gradient,) = torch.autograd.grad(objective.log().sum(), delta)
    return gradient, gap.detach().sqrt()
