"""What a rehearsing learner does with its memory when a task closes: iCaRL, IL2M and DER alike.

The new classes' exemplars are herded from the task's own images by the features of the network as it then is; the old
ones' are truncated to the share that is left. Nothing is drawn at random: closing a task twice gives the same memory.

Reference: Rebuffi, Kolesnikov, Sperl, Lampert, "iCaRL", CVPR 2017, algorithms 2, 4 and 5.
"""

from torch import nn

from molebench.continual_learners import Lesson, features_of
from molebench.exemplars import Memory, herded, share, truncated
from molebench.incremental import frozen


def remembered(network: nn.Module, lesson: Lesson, budget: int) -> Memory:
    """The memory after a task: floor(budget / seen) exemplars of each class, fewer where it has fewer images.

    network: as the task leaves it, with a method `features(x uint8) -> [n, d]`; a frozen copy of it is asked.
    """
    m, still = share(budget, lesson.seen), frozen(network)
    new = (images[herded(features_of(still, lesson.x, images), m)] for images in own_images(lesson))
    return (*truncated(lesson.memory, m), *new)


def own_images(lesson: Lesson) -> Memory:
    """The task's own images, class by class."""
    y = lesson.y.cpu().numpy()[lesson.index]
    return tuple(lesson.index[y == c] for c in range(lesson.old, lesson.seen))
