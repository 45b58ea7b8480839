"""What the machine can do, measured before anything else, and what it is: the scale on which all figures are read.

- matrix product: float32, 2048 x 2048 times 2048 x 2048, 2 n^3 operations.
- convolution: float32, 3 x 3, 256 channels to 256, 16 maps of 28 x 28, channels last; 2 operations a multiply-add.
- copy: 256 MiB, read once and written once, both counted.

Each is the best of some rounds: what is possible, not what is usual.
"""

import os
import platform
from collections.abc import Callable
from typing import Any

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.figures import MACHINE, MATRIX, Figure
from benchmarks.speed.turns import seconds
from molebench import provenance

ROUNDS = 7
SIDE, CHANNELS, MAPS, MAP = 2048, 256, 16, 28
COPIED = 2**28  # bytes
LIBRARIES = ("torch", "numpy", "timm", "scikit-activeml", "adversarial-robustness-toolbox", "avalanche-lib")
AREA, CONVOLUTION, COPY = MACHINE, "a large convolution", "memory copy"


def best(run: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The least seconds of some rounds, after one that is not counted."""
    run()
    return min(seconds(run) for _ in range(rounds))


def matrix_product() -> float:
    """GFLOP/s."""
    a, b, out = torch.ones(3, SIDE, SIDE).unbind()
    return 2e-9 * SIDE**3 / best(lambda: torch.mm(a, b, out=out))


def convolution() -> float:
    """GFLOP/s."""
    x = torch.ones(MAPS, CHANNELS, MAP, MAP).to(memory_format=torch.channels_last)
    weight = torch.ones(CHANNELS, CHANNELS, 3, 3).to(memory_format=torch.channels_last)
    operations = 2e-9 * MAPS * MAP**2 * CHANNELS**2 * 9
    return operations / best(lambda: F.conv2d(x, weight, padding=1))


def copy() -> float:
    """GB/s."""
    source, target = torch.ones(2, COPIED // 4).unbind()
    return 2e-9 * COPIED / best(lambda: target.copy_(source))


def capability() -> list[Figure]:
    """All three."""
    found = {MATRIX: (matrix_product(), "GFLOP/s"), CONVOLUTION: (convolution(), "GFLOP/s"), COPY: (copy(), "GB/s")}
    return [Figure(AREA, name, value, unit) for name, (value, unit) in found.items()]


def machine() -> dict[str, Any]:
    """What it is, without a name or a path: processor, cores that this process may use, threads, memory, versions."""
    return {
        "cpu": provenance.cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": provenance.threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_at_start": round(os.getloadavg()[0], 1),
        "commit": (provenance.code()["git_sha"] or "")[:12],
        "versions": {"python": platform.python_version(), **provenance.versions(LIBRARIES)},
    }


def gflop(network: nn.Module, x: Tensor) -> float:
    """GFLOP of a sample's forward pass, two a multiply-add, as PyTorch counts them."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(x)
    return 1e-9 * counter.get_total_flops() / len(x)
