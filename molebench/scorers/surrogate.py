"""A probe on a public extractor, trained on the attacker's own copy of the data: needs no victim and no model hub.

    P(y = a | x) = softmax_a(W z + b),   z = standardised f(x),   f frozen, pretrained on ImageNet
W, b: L2-regularised logistic regression, 1/2 |W|^2 + C sum_i CE_i. Cross-fitted: the images are split into stratified
folds, and each fold is scored by the probe that was trained on all the others, so no image by one that has seen it.

Reference: Alain, Bengio, "Understanding Intermediate Layers Using Linear Classifier Probes", arXiv:1610.01644.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from molebench import registry
from molebench.cards import Positive, scorer
from molebench.errors import MolebenchError
from molebench.provenance import device
from molebench.scoring import Score, ScoringView
from molebench.types import Array
from molebench.weights import Weights
from molebench.workspace import Workspace

BIBTEX = """
@article{alain2016understanding,
  title = {Understanding Intermediate Layers Using Linear Classifier Probes},
  author = {Alain, Guillaume and Bengio, Yoshua},
  journal = {arXiv preprint arXiv:1610.01644}, year = {2016},
  eprint = {1610.01644}, archivePrefix = {arXiv}
}
"""

BATCH = 64  # images of a forward pass; no figure depends on it
STEPS = 1000  # most of a probe's fit, which stops sooner

Extractor = Callable[[Tensor], Tensor]


@scorer(
    paper="Alain and Bengio, arXiv:1610.01644; weights of the extractor's publishers",
    needs=("weights of its extractor (molebench data fetch efficientnet_lite0)",),
    cost="33 s for 5 000 images of 28x28 with EfficientNet-Lite0 at 96 px, one core",
)
@dataclass(frozen=True)
class Surrogate:
    """extractor: the public network under the probe. px: side of an image in the extractor, to which each is resized.
    folds: parts of the images, each scored by a probe trained on the others. c: inverse strength of the probe's L2
    penalty.
    """

    extractor: Literal["efficientnet_lite0", "resnet50"] = "efficientnet_lite0"
    px: Annotated[int, Ge(16)] = 96
    folds: Annotated[int, Ge(2)] = 5
    c: Positive = 0.01

    def load(self, workspace: Workspace) -> tuple[Score, Weights]:
        """The scores by cross-fitted probes, and the extractor's weights."""
        plugin = registry.find("extractors", self.extractor)
        extractor, weights = plugin.build(plugin.resolve({}, "small")).load(workspace)
        return partial(scored, extractor.to(device()), self), weights


def scored(extractor: Extractor, sizes: Surrogate, view: ScoringView) -> Float[Array, "n k"]:
    """P(y | x) of every image of the view, over its whole label set."""
    y, k = view.samples.y, len(view.classes)
    check(np.bincount(y, minlength=k), sizes.folds, view.classes)
    with view.progress("features of the surrogate", len(y)) as advance:
        z = features(extractor, view.samples.x, sizes.px, advance)
    with view.progress("probes of the surrogate", sizes.folds) as advance:
        return cross_fitted(z, y, k, sizes.folds, sizes.c, view.rng, advance)


def check(sizes: Int[Array, " k"], folds: int, classes: tuple[str, ...]) -> None:
    """Refuses classes that cannot be in every fold; one without any image is never believed."""
    if few := [c for c in range(len(classes)) if 0 < sizes[c] < folds]:
        raise MolebenchError(
            f"scorer surrogate: class {classes[few[0]]} has {sizes[few[0]]} images, fewer than folds={folds}: choose "
            "fewer scorer.folds or a larger victim.pool"
        )
    if (sizes > 0).sum() < 2:
        raise MolebenchError("scorer surrogate: a probe needs images of two classes or more")


def features(
    extractor: Extractor, x: UInt8[Array, "n h w c"], px: int, advance: Callable[[int], None]
) -> Float[Array, "n d"]:
    """f(x) of images resized to px on each side; pixels are held a batch at a time."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(x), BATCH):
            images = torch.from_numpy(np.array(x[start : start + BATCH])).to(device())
            found.append(extractor(resized(images, px)))
            advance(len(images))
    return torch.cat(found).cpu().numpy()


def resized(x: UInt8[Tensor, "n h w c"], px: int) -> Float[Tensor, "n p p c"]:
    """Images at another size; made smaller, each pixel is a mean over what it stands for."""
    planes = x.permute(0, 3, 1, 2).float()
    return F.interpolate(planes, size=(px, px), mode="bilinear", antialias=True).permute(0, 2, 3, 1)


def cross_fitted(
    z: Float[Array, "n d"],
    y: Int[Array, " n"],
    k: int,
    folds: int,
    c: float,
    rng: np.random.Generator,
    advance: Callable[[int], None] = lambda n: None,
) -> Float[Array, "n k"]:
    """P(y | x) of each item by the probe that was not trained on its fold; 0 of a class without items."""
    from sklearn.model_selection import StratifiedKFold

    split = StratifiedKFold(folds, shuffle=True, random_state=int(rng.integers(2**31)))
    found = np.zeros((len(y), k), dtype=np.float32)
    for train, test in split.split(z, y):
        fitted = probe(z[train], y[train], c)
        found[np.ix_(test, fitted.classes_)] = fitted.predict_proba(z[test])
        advance(1)
    return found


def probe(z: Float[Array, "n d"], y: Int[Array, " n"], c: float) -> Any:
    """Logistic regression on standardised features."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a probe cut at STEPS is a probe
        return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=STEPS)).fit(z, y)
