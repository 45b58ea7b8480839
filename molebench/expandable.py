"""DER's network: one backbone a task, the features of all of them side by side, and one classifier on top.

    f(x) = [f_1(x), ..., f_t(x)]        z = W f(x) + b        auxiliary logits: a head on f_t alone

Only the newest backbone learns. It starts as a copy of the one before; older ones keep weights and batch-norm
statistics as they are, whatever mode the network is put in. The classifier keeps the old classes' weights for old
features; the rest of it, the old classes' weights for new features too, is drawn anew, as in the authors' code.

Reference: Yan, Xie, He, "DER: Dynamically Expandable Representation for Class Incremental Learning", CVPR 2021, section
3.2.
"""

import copy
from collections.abc import Iterable
from typing import cast

import torch
from jaxtyping import Float, UInt8
from torch import Generator, Tensor, nn

from molebench import incremental
from molebench.classifiers import initialised
from molebench.incremental import Incremental


class Expandable(nn.Module):
    """older: backbones of earlier tasks. newest: the one that learns; its head, from the second task on, is auxiliary.
    classifier: linear, from all features to all classes seen."""

    def __init__(self, older: Iterable[nn.Module], newest: Incremental, classifier: nn.Linear) -> None:
        super().__init__()
        self.older = nn.ModuleList(older).requires_grad_(False)
        self.newest = newest
        self.classifier = classifier

    def train(self, mode: bool = True) -> "Expandable":
        """As for any network, but older backbones stay in evaluation mode: their statistics are not to move."""
        super().train(mode)
        self.older.eval()
        return self

    def joined(self, x: UInt8[Tensor, "n h w c"], older: Iterable[nn.Module]) -> Float[Tensor, "n d"]:
        """Features of all backbones, the older ones given (folded copies are faster)."""
        images = self.newest.normalised(x)
        with torch.no_grad():
            kept = [each(images) for each in older]
        return torch.cat([*kept, self.newest.backbone(images)], dim=1)

    def features(self, x: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n d"]:
        """f of images."""
        return self.joined(x, self.older)

    def logits(self, f: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """z of features."""
        found: Tensor = self.classifier(f)
        return found

    def auxiliary(self, f: Float[Tensor, "n d"]) -> Float[Tensor, "n a"]:
        """Logits of the newest backbone's features alone: first all old classes as one, then the task's own."""
        return self.newest.logits(f[:, -self.newest.backbone.width :])

    def forward(self, x: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n k"]:
        """z of images."""
        return self.logits(self.features(x))


def first(network: Incremental) -> Expandable:
    """A network of one backbone and one head, which becomes the classifier."""
    found = copy.deepcopy(network)
    return Expandable([], found, cast(nn.Linear, found.heads.pop(0)))


def expanded(network: Expandable, classes: int, init: Generator) -> Expandable:
    """A copy with one backbone more, an auxiliary head on it and a classifier that knows so many classes more."""
    bare = copy.deepcopy(network.newest)
    del bare.heads[:]
    newest = incremental.grown(bare, classes + 1, init)
    older = copy.deepcopy([*network.older, network.newest.backbone])
    return Expandable(older, newest, widened(network.classifier, newest.backbone.width, classes, init))


def widened(classifier: nn.Linear, features: int, classes: int, init: Generator) -> nn.Linear:
    """A linear layer with so many inputs and outputs more; its old part is as it was."""
    k, d = classifier.weight.shape
    found = cast(nn.Linear, initialised(lambda: nn.Linear(d + features, k + classes), init))
    with torch.no_grad():
        found.weight[:k, :d] = classifier.weight.cpu()
        found.bias[:k] = classifier.bias.cpu()
    return found.to(classifier.weight.device)
