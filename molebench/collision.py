"""Feature collisions: the maths that every attack on a frozen extractor shares.

f: extractor; x: a base input; x' = x + d: its poison; mu: the collision target in feature space. Which bases
are nearest to mu, how far a poison moved in feature space (collision ratio) and in input space (norms, PSNR,
SNR). All distances are measured on what is stored, after quantisation.

Reference: Mueller, Boettinger, "Adversarial Vulnerability of Active Transfer Learning", IDA 2021,
arXiv:2101.10792, section III.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from molebench.aims import Target, neighbours, several
from molebench.types import Array, AttackView, Modality, Samples

Extractor = Callable[[Tensor], Tensor]

BATCH = 125  # samples a forward pass: larger ones are no faster on a CPU, and memory follows it
PIXELS = 32 * 96 * 96  # of images that descend together: more are no faster either
SMALL = 32 * 32 * 3  # elements of samples so small that twice as many are quicker, when no gradient is wanted
MORE = 16  # times as many on a graphics processor: 4 GB of maps with ResNet-50, gradients wanted


def batch_of(extractor: Extractor) -> int:
    """Samples a forward pass: what an extractor says is quickest, or BATCH."""
    return int(getattr(extractor, "batch", BATCH)) * room(extractor)


def room(extractor: Extractor) -> int:
    """How many times as many as on a processor."""
    return 1 if device_of(extractor).type == "cpu" else MORE


def at_once(extractor: Extractor, shape: tuple[int, ...]) -> int:
    """Samples of this shape that descend together: all their maps are kept for the gradient, so few large images."""
    pixels = shape[0] * shape[1] if len(shape) == 3 else 0
    return max(1, min(batch_of(extractor), PIXELS * room(extractor) // max(pixels, 1)))


def device_of(extractor: Extractor) -> torch.device:
    """Where an extractor computes: where its weights are, or those of the one within it."""
    inner = getattr(extractor, "extractor", extractor)
    parts = inner.parameters() if isinstance(inner, nn.Module) else iter(())
    return next((part.device for part in parts), torch.device("cpu"))


def extracted(
    extractor: Extractor,
    x: Array,
    modality: Modality,
    progress: Callable[[str, int], Any] | None = None,
    label: str = "features",
) -> Float[Array, "n d"]:
    """f of stored samples, in batches, without gradients; fetched once, when all is done."""
    from molebench.progress import silent

    parts = []
    with torch.no_grad(), (progress or silent)(label, len(x)) as advance:
        doubled = 2 if math.prod(x.shape[1:]) <= SMALL else 1
        size, device = batch_of(extractor) * doubled, device_of(extractor)
        for start in range(0, len(x), size):
            batch = valued(x[start : start + size], modality, device)
            parts.append(extractor(batch))
            advance(len(batch))
    found: Array = torch.cat(parts).cpu().numpy()
    return found


def valued(x: Array, modality: Modality, device: torch.device) -> Float[Tensor, "n ..."]:
    """Stored samples in input units on a device; to a graphics processor they go as they are stored, a byte a pixel."""
    if device.type == "cpu":
        return torch.from_numpy(modality.values(x))
    stored = torch.from_numpy(x.copy())
    if device.type == "cuda":  # from pinned memory, while the batch before is computed
        stored = stored.pin_memory()
    return stored.to(device, non_blocking=True).float() * modality.step


def target_vector(kind: Target, features: Float[Array, "n d"]) -> Float[Array, " d"]:
    """mu: the zero vector (the paper's choice), the one vector, or the mean feature (section III-B1).

    Neighbours are sought around zero, where beliefs are least certain.
    """
    d = features.shape[1]
    chosen = {"one": np.ones(d), "mean": features.mean(axis=0)}.get(kind, np.zeros(d))
    return chosen.astype(np.float32)


def select_bases(distance: Float[Array, " n"], y: Int[Array, " n"], count: int, balance: bool) -> Int[Array, " m"]:
    """The `count` base samples of smallest distance, Eq. 3; with balance, as equally from each class as can be.

    Classes take turns, each giving its nearest sample left, so counts differ by at most one until a class
    runs out. Ties keep the lower index; the result is ordered by turn. m = min(count, n).
    """
    order = np.argsort(distance, kind="stable")
    if balance:
        turn = np.empty(len(y), dtype=np.int64)
        for c in np.unique(y):
            mine = order[y[order] == c]
            turn[mine] = np.arange(len(mine))
        order = order[np.argsort(turn[order], kind="stable")]
    return order[:count]


def chosen_bases(
    view: AttackView,
    n_poison: int,
    target: Target,
    closest: bool,
    balance: bool,
    rng: np.random.Generator,
    points: int | None = None,
    radius: float = 0.0,
) -> tuple[Samples, Int[Array, " m"], Float[Array, "*m d"]]:
    """The bases of an attack (samples, their indices in the view) and mu: one for all, or one of each.

    Without `closest`, or without knowledge of the extractor, the order is random instead of Eq. 3's. Which bases
    are chosen depends on neither `points` nor `radius`.
    """
    count = min(n_poison, view.budget, len(view.base))
    if view.extractor is None:
        index = select_bases(rng.random(len(view.base)), view.base.y, count, balance)
        return view.base[index], index, np.zeros(0, dtype=np.float32)
    features = extracted(view.extractor, view.base.x, view.modality, view.progress)
    mu = target_vector(target, features)
    away = np.linalg.norm(features - mu, axis=1)
    index = select_bases(away if closest else rng.random(len(features)), view.base.y, count, balance)
    if target == "neighbour":
        among = select_bases(away, view.base.y, points or count, balance=True)
        mu = neighbours(features, view.base.y, index, among)
    elif points and points > 1:
        mu = several(mu, features, view.base.y, index, points, radius)
    return view.base[index], index, mu


def ratios(
    extractor: Extractor, x: Array, base: Array, mu: Float[Array, "*n d"], modality: Modality
) -> Float[Array, " n"]:
    """Collision ratio |f(x') - mu| / |f(x) - mu| of each poison: 1 is no collision, 0 a perfect one.

    mu: one for all, or one of each.
    """
    far = np.linalg.norm(extracted(extractor, base, modality) - mu, axis=1)
    near = np.linalg.norm(extracted(extractor, x, modality) - mu, axis=1)
    return near / np.maximum(far, np.finfo(np.float32).tiny)


def distances(x: Array, base: Array, modality: Modality) -> dict[str, Float[Array, " n"]]:
    """l2 and linf of each perturbation in input units, and its PSNR (peak: the valid range) and SNR in dB.

    An unchanged sample has infinite PSNR; it is given as that of half a quantisation step everywhere, the
    largest error that storing could hide, so that every number stays finite.
    """
    elements = math.prod(base.shape[1:])
    flat = modality.values(base).reshape(len(base), elements).astype(np.float64)
    delta = modality.values(x).reshape(len(x), elements) - flat
    l2 = np.linalg.norm(delta, axis=1)
    floor = modality.step / 2 * np.sqrt(elements)
    rms = np.maximum(l2, floor) / np.sqrt(elements)
    signal = np.maximum(np.linalg.norm(flat, axis=1), floor)
    return {
        "l2": l2,
        "linf": np.abs(delta).max(axis=1, initial=0.0),
        "psnr": 20 * np.log10(modality.peak / rms),
        "snr": 20 * np.log10(signal / np.maximum(l2, floor)),
    }


def finite_rows(a: Float[Tensor, "n ..."]) -> Bool[Tensor, " n"]:
    """Which samples of a batch hold finite numbers only: those whose sum is finite, else each number is looked at; on a
    graphics processor always each, for to ask would be to wait.
    """
    if not a.is_cpu:
        return torch.isfinite(a.flatten(1)).all(dim=1)
    sums = torch.isfinite(a.flatten(1).sum(dim=1))
    return sums if bool(sums.all()) else torch.isfinite(a.flatten(1)).all(dim=1)


def dithered(x: Array, modality: Modality, dither: float, rng: np.random.Generator) -> Float[Array, "n ..."]:
    """Where the descent of stored samples begins, in input units: at them, or a little beside them.

    In digital silence the spectrum is 0, where its magnitude has no gradient: from there no step would ever lead away.
    """
    values = modality.values(x)
    if not dither:
        return values
    noise = rng.standard_normal(values.shape, dtype=np.float32) * np.float32(dither * modality.step)
    return np.clip(values + noise, modality.low, modality.high).astype(np.float32)


def within(gradient: Tensor, x: Tensor, modality: Modality) -> Tensor:
    """The gradient without the components along which a descent step would leave the valid range."""
    outward = ((x <= modality.low) & (gradient > 0)) | ((x >= modality.high) & (gradient < 0))
    return gradient.masked_fill(outward, 0.0)


def unit(gradient: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """Each sample's gradient divided by its norm; a zero gradient stays zero."""
    norm = gradient.flatten(1).norm(dim=1).clamp_min(torch.finfo(gradient.dtype).tiny)
    scaled: Tensor = gradient / norm.view(-1, *[1] * (gradient.dim() - 1))
    return scaled
