"""How an offline victim is made and trained: ResNets by SGD in steps, transformers by AdamW with a linear fall.

Both are trained from scratch on the dataset's training images, then one epoch more on the update, with a fresh
optimiser at the initial rate. Crops and flips are for colour images: without them a ResNet learns such a pool by heart,
and a victim that interpolates its pool cannot be confounded (docs/decisions.md).

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment", arXiv:2303.17080, section 4.1 (SGD 0.01, momentum 0.9,
batch 512; a ViT AdamW 2e-4, batch 16); what it leaves open is fixed here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

from torch import nn

from molebench.cards import Count, NonNegative, Positive, Share, Whole
from molebench.classifiers import Shape
from molebench.training import Recipe

Augment = Literal["auto", "none", "crop_flip"]
Evaluation = Literal["float32", "bfloat16"]


@runtime_checkable
class OfflineLearner(Protocol):
    """What the scenario needs of a victim. pool: most training images, or all. seed: of the model alone."""

    @property
    def pool(self) -> int | None:
        """Most images of the pool, class-balanced; all of them where not given."""

    @property
    def seed(self) -> int | None:
        """Fixes the model while draws vary."""

    @property
    def evaluation(self) -> Evaluation:
        """The arithmetic of test predictions."""

    def network(self, shape: Shape) -> nn.Module:
        """An untrained body: normalised images [n, c, h, w] to logits [n, k]."""

    def training(self, shape: Shape) -> Recipe:
        """How the victim is trained."""


def update_of(recipe: Recipe) -> Recipe:
    """One more epoch at the initial rate."""
    return replace(recipe, epochs=1, schedule="constant")


def augments(choice: Augment, shape: Shape) -> bool:
    """Whether images are cropped and flipped: colour images, where nothing else is said."""
    return choice == "crop_flip" or (choice == "auto" and shape.channels == 3)


@dataclass(frozen=True)
class ConvolutionalLearner:
    """stem: imagenet (7x7, stride 2, max-pool) or cifar (3x3). epochs: of the training; the update is one more.
    batch: images a step. lr: initial step of SGD, and the update's. momentum: of SGD. weight_decay: strength of the L2
    penalty. augment: crops and flips (auto: for colour images). pool: most training images, the same share of every
    class; all where not given. evaluation: arithmetic of test predictions. seed: fixes the model alone; the cell's
    seed where not given.
    """

    architecture: Callable[[str, Shape], nn.Module]
    stem: Literal["imagenet", "cifar"] = "imagenet"
    epochs: Count = 30
    batch: Count = 512
    lr: Positive = 0.01
    momentum: Share = 0.9
    weight_decay: NonNegative = 0.0
    augment: Augment = "auto"
    pool: Count | None = None
    evaluation: Evaluation = "float32"
    seed: Whole | None = None

    def network(self, shape: Shape) -> nn.Module:
        """An untrained ResNet."""
        return self.architecture(self.stem, shape)

    def training(self, shape: Shape) -> Recipe:
        """SGD, a tenth of the rate from half of the epochs on and a hundredth from three quarters."""
        return Recipe(
            self.epochs,
            self.batch,
            self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            schedule="step",
            milestones=(self.epochs / 2, 3 * self.epochs / 4),
            augment=augments(self.augment, shape),
        )


@dataclass(frozen=True)
class TransformerLearner:
    """epochs: of the training; the update is one more. batch: images a step. lr: initial step of AdamW, and the
    update's. weight_decay: of AdamW. augment: crops and flips (auto: for colour images). pool: most training images,
    the same share of every class; all where not given. evaluation: arithmetic of test predictions. seed: fixes the
    model alone; the cell's seed where not given.
    """

    architecture: Callable[[Shape], nn.Module]
    epochs: Count = 4
    batch: Count = 16
    lr: Positive = 2e-4
    weight_decay: NonNegative = 0.01
    augment: Augment = "auto"
    pool: Count | None = None
    evaluation: Evaluation = "float32"
    seed: Whole | None = None

    def network(self, shape: Shape) -> nn.Module:
        """A transformer, untrained or pretrained elsewhere."""
        return self.architecture(shape)

    def training(self, shape: Shape) -> Recipe:
        """AdamW with a linear fall."""
        return Recipe(
            self.epochs,
            self.batch,
            self.lr,
            optimiser="adamw",
            weight_decay=self.weight_decay,
            schedule="linear",
            augment=augments(self.augment, shape),
        )
