"""Transform instability: hides candidates whose features a little blur moves unusually far.

A collision is fitted to the network value by value, clean features are not. With s a median filter of size^2 pixels
(size samples of a sound),

    e(x) = |f(s(x)) - f(x)| / |f(x)|,

and a candidate is dropped when log e is more than `limit` robust standard deviations (1.4826 MAD) above the median of
`reference` random candidates. Extraction is what it costs, before every query: so it goes down the candidates in the
order of their entropy, until `stable` of them have passed, and leaves the others, which nobody would query, unjudged.

Expected: finds collisions at zero (measured AUROC 0.97 to 1.0, with up to 2 % false alarms) and about half of those
that do not arrive, such as the attack's at the mean feature. A collision so exact that blur leaves it at zero
passes; collision_screen finds it. Of what Xu et al. squeeze with, the median was the best: JPEG does not move images
that were JPEGs before, and few bits move clean features as far as poisons'. No effect on natural images: moles pass.
Adaptive attack: perturb in expectation over transforms (Athalye et al., ICML 2018, arXiv:1707.07397).
Deviations: the paper compares predictions, and learns its threshold from clean data; here features, and none.

Reference: Xu, Evans, Qi, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", NDSS 2018,
arXiv:1704.01155.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
from annotated_types import Ge
from jaxtyping import Float, Int

from molebench.cards import Count, Positive, defense
from molebench.collision import extracted
from molebench.errors import MolebenchError
from molebench.heads import least_certain
from molebench.hooks import View
from molebench.squeezing import blurred
from molebench.stats import robust_z
from molebench.types import AUDIO, IMAGE, Array

Size = Annotated[int, Ge(2)]
LEAST = 1e-6  # share of the typical norm below which features are as good as zero
SPREAD = 0.1  # the least standard deviation of log e that is believed

Judge = Callable[[Int[Array, " m"]], Float[Array, " m"]]


@defense(
    paper="Xu, Evans and Qi, NDSS 2018, arXiv:1704.01155",
    scenarios=("active",),
    sees=("extractor",),
    cost="at every query, extraction of the reference, of `stable` candidates and of those it drops: 0.6 ms an image "
    "of 32x32 for EfficientNet-Lite0, 2.5 ms for ResNet-50",
)
@dataclass(frozen=True)
class TransformInstability:
    """size: width of the median filter. limit: robust z-score of log e beyond which a candidate is dropped.
    reference: random candidates that say what is usual. stable: candidates that must pass before it stops, at least as
    many as are queried at once.
    """

    size: Size = 3
    limit: Positive = 2.5
    reference: Count = 100
    stable: Count = 100

    def screen_pool(self, view: View, rng: np.random.Generator) -> Array:
        """Keeps the candidates that blur changes no more than others."""
        return self.suspicion(view, rng) <= self.limit

    def suspicion(self, view: View, rng: np.random.Generator) -> Array:
        """The robust z-score of log e; 0 where it was not asked for."""
        if view.extractor is None:
            raise MolebenchError("defense transform_instability needs an extractor; this victim shows it none")
        n = len(view.x)
        usual = rng.permutation(n)[: self.reference]
        order = rng.permutation(n) if view.p is None else least_certain(np.array(view.p), n)
        judge = against(partial(instability, view, self.size), usual)
        return walked(judge, order, self.stable, self.limit)


def instability(view: View, size: int, which: Int[Array, " m"]) -> Float[Array, " m"]:
    """log e of some items."""
    x, z = view.x[which], view.z[which]
    modality = AUDIO if x.dtype == AUDIO.dtype else IMAGE
    moved = np.linalg.norm(extracted(view.extractor, blurred(x, size), modality) - z, axis=1)
    norm = np.linalg.norm(view.z, axis=1)
    e = moved / np.maximum(norm[which], max(LEAST * float(np.median(norm)), 1e-30))
    return np.log(np.maximum(e, LEAST)).astype(np.float64)


def against(score: Judge, usual: Int[Array, " m"]) -> Judge:
    """Another score: how many robust standard deviations above the median of the usual items."""
    found = score(usual)
    return lambda which: robust_z(score(which), found, SPREAD)


def walked(score: Judge, order: Int[Array, " n"], enough: int, limit: float) -> Float[Array, " n"]:
    """Scores in this order, some at a time, until `enough` of them are within the limit; 0 for the rest."""
    found, passed = np.zeros(len(order)), 0
    for start in range(0, len(order), enough):
        some = order[start : start + enough]
        found[some] = score(some)
        passed += int((found[some] <= limit).sum())
        if passed >= enough:
            break
    return found
