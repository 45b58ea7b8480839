"""Memory that is freed is kept for what comes next."""

import platform
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# maps of 30 MiB, asked for and given back as a network does in its steps; prints how many pages the kernel had to clear
STEPS = """
import resource, sys
from molebench.allocating import keep_freed
import numpy as np
if sys.argv[1] == "kept":
    keep_freed()
for _ in range(50):
    a, b = np.ones(30 * 2**17), np.ones(30 * 2**17)
    del a, b
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", STEPS, how], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc, which is told nothing")
def test_the_kernel_is_asked_for_memory_once_and_not_at_every_step() -> None:
    assert 5 * faults("kept") < faults("not kept")
