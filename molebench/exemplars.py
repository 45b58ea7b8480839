"""Exemplar memory: a fixed number of images in all, chosen by herding, shared equally by the classes seen.

Herding picks, one after another and without replacement, the image that brings the running mean of the L2-normalised
features nearest to the class's mean. A class's exemplars are kept in that order, so that making room for new classes
drops the last of each. The memory holds indices into the training pool, never copies.

Reference: Rebuffi, Kolesnikov, Sperl, Lampert, "iCaRL", CVPR 2017, algorithms 4 and 5; Welling, "Herding Dynamical
Weights to Learn", ICML 2009.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from molebench.errors import MolebenchError
from molebench.types import Array

Memory = tuple[Int[Array, " _"], ...]  # the exemplars of each class by position, in herding order
TIE = 1e-12  # squared distances this close are equal: equal rows may differ by the rounding of a product


def herded(features: Float[Tensor, "n d"], m: int) -> Int[Array, " m"]:
    """Rows of the first m exemplars (all n where there are fewer), in order; ties keep the lower row.

    |mu - (s + f_i)/j|^2 is smallest where |f_i|^2 + 2 f_i.(s - j mu) is: one matrix product a step.
    """
    f = F.normalize(features.double(), dim=1)
    mu, total = f.mean(dim=0), f.new_zeros(f.shape[1])
    norms, chosen = f.square().sum(dim=1), [torch.zeros(0, dtype=torch.int64, device=f.device)]
    for j in range(1, min(m, len(f)) + 1):
        far = norms + 2.0 * (f @ (total - j * mu))
        i = (far <= far.min() + TIE).byte().argmax(dim=0, keepdim=True)
        norms.index_fill_(0, i, torch.inf)
        total += f.index_select(0, i)[0]
        chosen.append(i)
    found: Array = torch.cat(chosen).cpu().numpy()
    return found


def share(memory: int, seen: int) -> int:
    """Exemplars of each class; MolebenchError where there is not one for each."""
    if memory < seen:
        raise MolebenchError(
            f"victim.memory={memory} holds no exemplar of each of {seen} classes; choose {seen} or more"
        )
    return memory // seen


def truncated(memory: Memory, m: int) -> Memory:
    """The first m exemplars of every class."""
    return tuple(each[:m] for each in memory)


def indices(memory: Memory) -> Int[Array, " n"]:
    """Every exemplar."""
    return np.concatenate([np.zeros(0, dtype=np.int64), *memory])


def class_means(features: Float[Tensor, "n d"], sizes: Sequence[int]) -> Float[Tensor, "k d"]:
    """The L2-normalised mean of L2-normalised features of each class; features stand class by class."""
    parts = torch.split(F.normalize(features, dim=1), list(sizes))
    return F.normalize(torch.stack([part.mean(dim=0) for part in parts]), dim=1)
