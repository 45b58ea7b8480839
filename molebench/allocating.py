"""Memory that is freed is kept for what comes next: a network asks for its maps anew at every step.

glibc hands large pieces back to the kernel, which clears every page of the next ones: a sixth of a step of a
convolutional network on a CPU. What is larger than LARGE, pools of features among them, is handed back as before.
"""

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 2**30  # bytes, free and at the end of the heap, beyond which they are handed back
LARGE = 2**28  # bytes


def keep_freed() -> None:
    """Has the C library of this process keep what is freed, where it can be told; elsewhere nothing happens."""
    try:
        tell = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library, another system
        return
    tell(TRIM_THRESHOLD, KEPT)
    tell(MMAP_THRESHOLD, LARGE)
