"""Feature collision: ours beside ART's, a sample-step by network and size, samples to a collision, and peak memory.

    make bench-collision

installs ART (adversarial-robustness-toolbox) beside the rest, for this alone. Everything that is compared runs in one
process and takes turns, round by round, so that what else the machine does meets all alike; ratios are of medians.

- ART's `FeatureCollisionAttack` takes one image after another; its target is an image whose features are ours. Both
  take the same images, the same network and the same number of steps (neither may stop early). It gets the network with
  parameters that want no gradient: as timm delivers it, ART would compute those too, and take longer still.
- A sample-step is one gradient of log J. `eager` is timm's network as it comes, `folded` has its batch norms folded,
  `ours` is what molebench loads; in bfloat16 ours runs under PyTorch's autocast.
- To a collision: images of cifar10_jpeg nearest to the target, ResNet-50 at 32 px, crafted by the attack itself with a
  tolerance at which samples leave; judged in float32, after rounding to uint8.
- Peak memory: of a process that crafts 50 poisons, and of one that crafts 500.
"""

import copy
import multiprocessing
import resource
import statistics
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from tabulate import tabulate
from torch import Tensor, nn

from molebench import provenance, registry
from molebench.attacks.feature_collision import FeatureCollision
from molebench.collision import Extractor, batch_of, distances
from molebench.descent import Descent, log_gradient
from molebench.extractors import efficientnet_lite0, resnet50
from molebench.nets import FrozenExtractor
from molebench.types import IMAGE, Array, AttackView
from molebench.workspace import Workspace

NETWORKS = {"resnet50": resnet50, "efficientnet_lite0": efficientnet_lite0}
