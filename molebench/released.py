"""What the authors' released code of mole recruitment in continual learning did otherwise than their paper says.

Each is a switch of its own, off by default, so that its share in a published number can be measured. They act where an
extra epoch is trained; `attention_grad` and `reset_confusion` in every arm, as there.

Reference: PROTOCOLS of this benchmark, section 3; the code that accompanies arXiv:2303.17080.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Faults:
    """pool: moles are sought among test images too. teacher: the extra epoch is distilled from the model that was just
    trained. memory: exemplars are chosen again from the extra epoch's images and the memory. il2m_statistics: appended
    twice, so that IL2M's rectification is off. train_on_moles: the extra epoch is on the task's own images, not on
    the moles. prototypes: SSRE's are appended twice, so that labels shift. attention_grad: LwM's attention passes no
    gradient. reset_confusion: final accuracies are an average over all tasks' evaluations.
    """

    pool: bool = False
    teacher: bool = False
    memory: bool = False
    il2m_statistics: bool = False
    train_on_moles: bool = False
    prototypes: bool = False
    attention_grad: bool = False
    reset_confusion: bool = False
