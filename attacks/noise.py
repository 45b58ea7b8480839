"""Noise: the base images of a feature collision with noise in a random direction, as strong as you ask for.

The control that shows it is the collision that hurts, not the visible noise: d is Gaussian, scaled so that
each quantised image has the PSNR asked for. `feature_collision` leaves about 29 dB on CIFAR-10 and 31 dB on photo
patches: set what you compare with.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from molebench.aims import Target
from molebench.cards import Count, Positive, attack
from molebench.collision import chosen_bases, ratios
from molebench.types import Array, AttackView, Modality, Poison, Samples, ThreatModel


@attack(
    paper="molebench: the control that the paper lacks",
    threat=ThreatModel(may=frozenset({"inject", "perturb"}), knows=frozenset({"data", "extractor"})),
    scenarios=("active",),
    control="unperturbed",
    profiles={"tiny": {"n_poison": 40}},
)
@dataclass(frozen=True)
class Noise:
    """n_poison: number of images. psnr: peak signal-to-noise ratio of each, dB.
    target: the point whose nearest images are taken. base: those, or random ones.
    balance: as many of every class.
    """

    n_poison: Count = 500
    psnr: Positive = 30.0
    target: Target = "zero"
    base: Literal["closest", "random"] = "closest"
    balance: bool = True

    def craft(self, view: AttackView, rng: np.random.Generator) -> Poison:
        """The chosen bases plus noise, quantised, with the collision ratio of each."""
        bases, index, mu = chosen_bases(view, self.n_poison, self.target, self.base == "closest", self.balance, rng)
        x = noisy(bases.x, view.modality, self.psnr, rng)
        facts = {}
        if view.extractor:
            facts["collision_ratio"] = ratios(view.extractor, x, bases.x, mu, view.modality)
        return Poison(Samples(x, bases.y), index, facts)


def noisy(x: Array, modality: Modality, psnr: float, rng: np.random.Generator) -> Array:
    """Stored samples with noise whose norm, after clipping and quantisation, is that of `psnr`.

    Clipping shortens the noise, so its scale is corrected a few times by what was lost.
    """
    clean = modality.values(x)
    noise = rng.standard_normal(clean.shape).astype(np.float32)
    axes = tuple(range(1, clean.ndim))
    wanted = modality.peak * 10 ** (-psnr / 20)
    scale = np.full((len(x), *[1] * len(axes)), wanted, dtype=np.float32)
    for _ in range(8):
        moved = modality.values(modality.quantise(clean + scale * noise))
        rms = np.sqrt(np.square(moved - clean).mean(axis=axes, keepdims=True))
        scale *= wanted / np.maximum(rms, modality.step / 1e3)
    return modality.quantise(clean + scale * noise)
