"""YAMNet with its AudioSet weights: waveforms to 1,024 features, the mean over log-mel patches of 0.96 s.

MobileNet-v1 on patches of 96 frames and 64 bands (molebench.log_mel): a convolution, then 13 pairs of a depthwise
and a pointwise one, each with its batch norm folded in and a ReLU. Stride 2 in layers 1, 3, 5, 7 and 13, padded as
TensorFlow pads: even sides get their zeros at the end. Features: the mean over time and bands, then over patches.

Reference: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
arXiv:1704.04861; Plakal, Ellis, "YAMNet", TensorFlow models; Gemmeke et al., "Audio Set", ICASSP 2017.
"""

import copy
from collections import OrderedDict
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from molebench import log_mel, yamnet_files
from molebench.cards import AudioWeightsPath, extractor
from molebench.sources import Url
from molebench.types import AUDIO
from molebench.weights import Recipe, Weights
from molebench.workspace import Workspace

BIBTEX = """
@article{howard2017mobilenets,
  title = {{MobileNets}: Efficient Convolutional Neural Networks for Mobile Vision Applications},
  author = {Howard, Andrew G. and Zhu, Menglong and Chen, Bo and Kalenichenko, Dmitry and Wang, Weijun and
            Weyand, Tobias and Andreetto, Marco and Adam, Hartwig},
  journal = {arXiv:1704.04861}, year = {2017}
}
@misc{plakal2020yamnet,
  title = {{YAMNet}}, author = {Plakal, Manoj and Ellis, Dan}, year = {2020},
  howpublished = {TensorFlow Model Garden, research/audioset/yamnet}
}
"""

MIRROR = "https://raw.githubusercontent.com/Dhiveej/Aranyadhwani/77db24fcbe31c06f30801c958fb812e6a3d827a7/yamnet.tflite"
MEDIAPIPE = "https://storage.googleapis.com/mediapipe-models/audio_classifier/yamnet/float32/1/yamnet.tflite"
SOURCES = (  # the file that the tests compare with the interpreter first
    Url(MIRROR, "sha256:687f226c147a2caab4706fbbab5e9cecb14b9a368264bf61108078b1fddf68f5"),
    Url(MEDIAPIPE, "sha256:4d8b4a53282dc83ef04e3e7dbc4fbc98082e34e44ed798e16c3a0cdd4c584faf"),
)
FILES = ("yamnet.h5", "yamnet.tflite")
KERAS = "https://storage.googleapis.com/audioset/yamnet.h5"  # of which no sha256 is published
HINT = (
    f"Give weights: --set extractor.weights=PATH to a yamnet.tflite, to Keras' yamnet.h5 ({KERAS}) or to the folder of "
    "the SavedModel google/yamnet (Kaggle, TF-Hub), or put one of the two files into MOLEBENCH_DATA"
)
WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)  # of layers 2 to 14
HALVING = (3, 5, 7, 13)  # layers of stride 2 after the first
STAGES = ((1,), (2,), (3, 4), (5, 6), (7, 8, 9, 10, 11, 12), (13, 14))  # layers of one size
CLASSES = 521


@extractor(
    paper="Howard et al., arXiv:1704.04861; Plakal and Ellis, YAMNet; weights of TensorFlow models",
    licence="Apache-2.0",
    cost="0.3 s for 100 clips of a second on one core",
    needs=("YAMNet AudioSet weights, 4 to 15 MB",),
    modality="audio",
)
@dataclass(frozen=True)
class YAMNet:
    """weights: 'audioset', the path of a .tflite or Keras .h5 file or of a SavedModel, or 'random' (never ranked)."""

    weights: AudioWeightsPath = "audioset"

    def load(self, workspace: Workspace) -> tuple["FrozenYAMNet", Weights]:
        """The extractor, waveforms at 16 kHz to [n, 1024], and its weights."""
        body = network()
        weights = RECIPE.get(self.weights, body, workspace)
        weights.into(body)
        return FrozenYAMNet(body), weights


RECIPE = Recipe("yamnet", FILES, SOURCES, yamnet_files.read, HINT, published="audioset", folders=True)


class FrozenYAMNet(nn.Module):
    """f(x): waveforms [n, t] in [-1, 1] at 16 kHz, of any length, to features [n, 1024].

    Differentiable in x; its own parameters want no gradient. Computed where its weights are, answered where x is.
    blocks: the parts of the body again, which follow one another and keep patches apart until the last pools over them,
    on the processor until they are moved; what a defense may train.
    """

    modality = AUDIO
    batch = 64  # clips a pass; 125 leave a CPU's cache and take a fifth longer

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        network = network.to(memory_format=torch.channels_last).requires_grad_(False).eval()
        stages = (OverPatches(nn.Sequential(*(network[n - 1] for n in stage))) for stage in STAGES)
        self.body = nn.Sequential(*stages, Pooling())
        self.blocks = tuple(copy.deepcopy(self.body))
        self.logits = cast(nn.Linear, network[-1])

    def normalised(self, x: Float[Tensor, "n t"]) -> Float[Tensor, "n p 1 96 64"]:
        """Waveforms as the network wants them: log-mel patches."""
        return log_mel.patches(x).unsqueeze(2)

    def forward(self, x: Float[Tensor, "n t"]) -> Float[Tensor, "n d"]:
        """f(x)."""
        features: Tensor = self.body(self.normalised(x.to(self.logits.weight.device)))
        return features.to(x.device)

    def scores(self, x: Float[Tensor, "n t"]) -> Float[Tensor, "n 521"]:
        """P(class | patch), each class on its own, mean over patches."""
        logits: Tensor = self.logits(self.body[:-1](self.normalised(x)).mean((3, 4)))
        return logits.sigmoid().mean(1)


class OverPatches(nn.Module):
    """A part of the network on every patch of every clip."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, h: Float[Tensor, "n p c f b"]) -> Float[Tensor, "n p c2 f2 b2"]:
        """h, patch by patch."""
        done: Tensor = self.part(h.flatten(0, 1))
        return done.view(*h.shape[:2], *done.shape[1:])


class Pooling(nn.Module):
    """The mean over patches, time and bands."""

    def forward(self, h: Float[Tensor, "n p c f b"]) -> Float[Tensor, "n c"]:
        """h, pooled."""
        return h.mean((1, 3, 4))


class SameConvolution(nn.Conv2d):
    """A convolution padded as TensorFlow pads: at stride 2, even sides get their zeros at the end."""

    def forward(self, h: Float[Tensor, "n c f b"]) -> Float[Tensor, "n c2 f2 b2"]:
        """The convolution of h, padded."""
        return super().forward(F.pad(h, (0, 1, 0, 1)) if self.stride == (2, 2) else h)


def network() -> nn.Sequential:
    """YAMNet's layers 1 to 14, and its classifier."""
    with torch.random.fork_rng(devices=[]):  # initial values are drawn, and overwritten
        layers = [("layer1", layer(conv=convolution(1, 32, 3, 2)))]
        inputs = 32
        for n, width in enumerate(WIDTHS, start=2):
            depthwise = convolution(inputs, inputs, 3, 2 if n in HALVING else 1, groups=inputs)
            pointwise = convolution(inputs, width, 1)
            layers.append((f"layer{n}", layer(depthwise_conv=depthwise, pointwise_conv=pointwise)))
            inputs = width
        return nn.Sequential(OrderedDict([*layers, ("logits", nn.Linear(inputs, CLASSES))]))


def layer(**convolutions: nn.Module) -> nn.Sequential:
    """Convolutions by name, a ReLU after each."""
    parts: list[tuple[str, nn.Module]] = []
    for name, part in convolutions.items():
        parts += [(name, part), (f"{name}_relu", nn.ReLU(inplace=True))]
    return nn.Sequential(OrderedDict(parts))


def convolution(inputs: int, outputs: int, side: int, stride: int = 1, groups: int = 1) -> nn.Module:
    """A convolution that keeps the size, or halves an even one."""
    return SameConvolution(inputs, outputs, side, stride, side // 2 if stride == 1 else 0, groups=groups)
