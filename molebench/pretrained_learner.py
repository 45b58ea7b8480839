"""An offline victim that begins with published weights: a vision transformer of timm's, fine-tuned on the pool.

Inside the network images are resized bilinearly to `px` on each side, grey ones given three equal channels, position
embeddings resampled where `px` is not the size they were trained for; the classifier is new. Images come standardised
by the pool, where the pretraining had a mean and deviation of one half of the range: fine-tuning makes up for it.

The weights are timm's, model.safetensors of a repository on Hugging Face, checked against the sha256 that the hub
states. No digest is pinned here: what was loaded is named by its sha256 in the record.

Reference: Wisdom, Gokhale, Xiao, Yang, "Mole Recruitment", arXiv:2303.17080, section 4.1 (ViT-B/16, AdamW 2e-4, batch
16); Steiner et al., "How to train your ViT?", TMLR 2022, for the weights.
"""

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn

from molebench.cards import Count, NonNegative, Positive, WeightsPath, Whole
from molebench.classifiers import Shape
from molebench.hub import HubFile
from molebench.offline_learners import Augment, Evaluation, TransformerLearner
from molebench.tensor_files import safetensors
from molebench.weights import Recipe, State, Weights
from molebench.workspace import Workspace

FILE = "model.safetensors"
PART = 50  # images at once, so that a forward pass of hundreds of resized ones stays small
HEADS = ("head.", "head_dist.")  # the classifier of the pretraining, which is left out


@dataclass(frozen=True)
class PretrainedTransformer:
    """weights: imagenet (those published for the model, from ImageNet-21k), the path of a safetensors file with timm's
    names, or random (never ranked). px: side of an image in the network. epochs: of the training; the update is one
    more. batch: images a step. lr: initial step of AdamW, and the update's. weight_decay: of AdamW. augment: crops and
    flips (auto: for colour images). pool: most training images, the same share of every class; all where not given.
    evaluation: arithmetic of test predictions. seed: fixes the model alone; the cell's seed where not given.
    """

    model: str
    weights: WeightsPath = "imagenet"
    px: Annotated[int, Ge(16)] = 224
    epochs: Count = 4
    batch: Count = 16
    lr: Positive = 2e-4
    weight_decay: NonNegative = 0.01
    augment: Augment = "auto"
    pool: Count | None = None
    evaluation: Evaluation = "float32"
    seed: Whole | None = None

    def load(self, workspace: Workspace) -> tuple[TransformerLearner, Weights]:
        """The learner with its weights in hand, and the weights; MolebenchError where they cannot be had."""
        with torch.random.fork_rng(devices=[]), torch.device("cpu" if self.weights == "random" else "meta"):
            body = pretrained(self.model)  # its shapes are all that is asked of it, where there are weights
        weights = published(self.model).get(self.weights, body, workspace)
        shared: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(TransformerLearner)[1:]}
        return TransformerLearner(partial(fine_tuned, self.model, weights, self.px), **shared), weights


def pretrained(model: str) -> nn.Module:
    """timm's network as it was pretrained, without its classifier."""
    import timm

    body: nn.Module = timm.create_model(model, num_classes=0)
    return body


def fine_tuned(model: str, weights: Weights, px: int, shape: Shape) -> nn.Module:
    """The pretrained network for images of this shape, its classifier new."""
    body: Any = weights.into(pretrained(model))
    body.set_input_size(img_size=(px, px))
    body.reset_classifier(shape.classes)
    return Resized(body, px)


class Resized(nn.Module):
    """A network of square colour images, for images of any size with one channel or three."""

    def __init__(self, body: nn.Module, px: int) -> None:
        super().__init__()
        self.body, self.px = body, px

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        return torch.cat([self.body(self.resized(part)) for part in torch.split(x, PART)])

    def resized(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3 p p"]:
        """Images at the network's size; made smaller, each pixel is a mean over what it stands for."""
        colour = x.expand(-1, 3, -1, -1).float()  # there is no resizing in bfloat16
        return F.interpolate(colour, size=(self.px, self.px), mode="bilinear", antialias=True).to(x.dtype)


def published(model: str) -> Recipe:
    """Where the weights of one of timm's models are found."""
    name = f"{model}.safetensors"
    hint = (
        f"Give a file: --set victim.weights=PATH to {FILE} of huggingface.co/timm/{model}, or put it into "
        f"MOLEBENCH_DATA as {name}; --set victim.weights=random runs without, and is never ranked"
    )
    return Recipe(model, (name,), (HubFile(f"timm/{model}", FILE),), read, hint, kind="victim")


def read(path: Path) -> State:
    """timm's state dict from a safetensors file, in float32, less the classifier."""
    return {name: value.float().numpy() for name, value in safetensors(path, without=HEADS).items()}
