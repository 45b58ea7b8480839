"""Knowledge distillation: how a learner is held to what it believed before.

    KD_T(z, z') = - mean over the batch of sum_o softmax(z'/T)_o log softmax(z/T)_o

over the old classes, without the factor T^2. Its gradient in z is (softmax(z/T) - softmax(z'/T)) / T / batch; that of

    BCE(z, q) = - mean over the batch of sum_o q_o log s(z_o) + (1 - q_o) log(1 - s(z_o)),  s the sigmoid,

with q = s(z') is (s(z) - s(z')) / batch: both are zero where student and teacher agree.

Reference: Hinton, Vinyals, Dean, arXiv:1503.02531; Li, Hoiem, "Learning without Forgetting", TPAMI 2018; Rebuffi,
Kolesnikov, Sperl, Lampert, "iCaRL", CVPR 2017, algorithm 3.
"""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def kd(z: Float[Tensor, "n o"], teacher: Float[Tensor, "n o"], temperature: float) -> Float[Tensor, ""]:
    """KD_T of student logits z and the teacher's."""
    return F.cross_entropy(z / temperature, (teacher / temperature).softmax(dim=1))


def bce(z: Float[Tensor, "n o"], q: Float[Tensor, "n o"]) -> Float[Tensor, ""]:
    """BCE of student logits z and probabilities q."""
    return F.binary_cross_entropy_with_logits(z, q, reduction="sum") / len(z)


def of_task(z: Float[Tensor, "n k"], y: Int[Tensor, " n"], old: int) -> Float[Tensor, ""]:
    """Cross-entropy over the current task's logits alone; y are positions, all of them >= old."""
    return F.cross_entropy(z[:, old:], y - old)
