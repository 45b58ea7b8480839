"""A victim trained once, and what one more epoch makes of a copy of it: the two halves of every offline figure.

The victim is cached by its pool, recipe, code and seed; so are P(y = a | x) over its pool and its predictions of the
test items. An update never touches the victim: it trains a copy, which is judged and forgotten, so memory does not
grow with the number of updates.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from molebench.classifiers import Classifier, Shape, initialised, statistics
from molebench.errors import CellFailed
from molebench.nets import folded
from molebench.offline_learners import OfflineLearner, update_of
from molebench.progress import Progress
from molebench.rng import torch_stream
from molebench.stages import Arrays, Stages, key
from molebench.training import Recipe, train
from molebench.types import Array, Samples

BATCH = 500  # of a forward pass: what two cores take fastest; no figure depends on it


@dataclass(frozen=True, eq=False)
class Trained:
    """A victim, what it believes of its own pool [n, k], and its class of each test item. key: names all of it."""

    key: str
    network: nn.Module
    recipe: Recipe
    scores: Float[Array, "n k"]
    predicted: Int[Array, " m"]


def trained(
    learner: OfflineLearner,
    pool: Samples,
    test: Samples,
    shape: Shape,
    seed: int,
    identity: dict[str, Any],
    stages: Stages,
    progress: Progress,
    device: str = "cpu",
) -> Trained:
    """The victim of this pool and seed, on a device, from the cache where it has been trained before."""
    network = untrained(learner, pool, shape, seed).to(device)
    recipe = learner.training(shape)
    inputs = {**identity, "seed": seed, "pool": pool.fingerprint, **({} if device == "cpu" else {"device": device})}

    def compute() -> Arrays:
        x, y = tensors(pool, device)
        rng = torch_stream(seed, "victim training")
        with progress("training the victim", recipe.epochs * len(pool)) as advance:
            train(network, x, y, recipe, rng, advance)
        return state(network)

    restore(network, stages.get("victims", inputs, compute, "victim"))

    def judge() -> Arrays:
        judged = ready(network)
        with progress("scoring", len(pool) + len(test)) as advance:
            scores = probabilities(judged, pool.x, advance)
            return {"scores": scores, "predicted": probabilities(judged, test.x, advance).argmax(axis=1)}

    found = stages.get("scores", {**inputs, "test": test.fingerprint}, judge, "scores")
    return Trained(key(inputs), network, recipe, found["scores"], found["predicted"])


def untrained(learner: OfflineLearner, pool: Samples, shape: Shape, seed: int) -> nn.Module:
    """The victim before its first step."""
    init = torch_stream(seed, "victim init")
    body = initialised(lambda: learner.network(shape), init)
    return Classifier(body, *statistics(pool.x))


def updated(
    victim: Trained, update: Samples, seed: int, labels: tuple[int | str, ...], shuffled: bool = True
) -> nn.Module:
    """A copy of the victim after one more epoch; its order is drawn from the labels, whatever the arm.

    An update without images leaves it as it was. shuffled: False keeps the order in which the images come.
    """
    network = copy.deepcopy(victim.network)
    if len(update):
        train(
            network,
            *tensors(update, device_of(network)),
            replace(update_of(victim.recipe), shuffled=shuffled),
            torch_stream(seed, "update order", *labels),
        )
    return network


def after(
    victim: Trained, update: Samples, images: Tensor, seed: int, labels: tuple[int | str, ...], evaluation: str
) -> Int[Array, " m"]:
    """The class of each image after an update."""
    return predictions(updated(victim, update, seed, labels), images, evaluation)


def ready(network: nn.Module, evaluation: str = "float32") -> nn.Module:
    """A copy for predictions: evaluation mode, batch norms folded into convolutions, in the arithmetic asked for."""
    judged = folded(copy.deepcopy(network)).requires_grad_(False)
    return judged.to(torch.bfloat16) if evaluation == "bfloat16" else judged


def probabilities(network: nn.Module, x: UInt8[Array, "n h w c"], advance: Any = None) -> Float[Array, "n k"]:
    """P(y | x) of stored images by a network that is ready."""
    images, found = torch.from_numpy(np.array(x)).to(device_of(network)), []
    with torch.inference_mode():
        for batch in torch.split(images, BATCH):
            found.append(network(batch).softmax(dim=1))
            if advance:
                advance(len(batch))
    return finite(torch.cat(found)).cpu().numpy()


def predictions(network: nn.Module, images: UInt8[Tensor, "n h w c"], evaluation: str) -> Int[Array, " n"]:
    """The class of each image, by a network as it was trained."""
    judged = ready(network, evaluation)
    with torch.inference_mode():
        logits = torch.cat([judged(batch) for batch in torch.split(images, BATCH)])
    return finite(logits).argmax(dim=1).cpu().numpy()


def finite(outputs: Tensor) -> Tensor:
    """The outputs of a network, refused where its training has diverged."""
    if torch.isfinite(outputs).all():
        return outputs
    raise CellFailed("the victim's outputs are NaN or infinite: its training diverged; choose a smaller victim.lr")


def tensors(samples: Samples, device: Any = "cpu") -> tuple[Tensor, Tensor]:
    """Images and labels as tensors on a device."""
    return torch.from_numpy(np.array(samples.x)).to(device), torch.from_numpy(np.array(samples.y)).to(device)


def device_of(network: nn.Module) -> torch.device:
    """Where a network is."""
    return next(network.parameters()).device


def state(network: nn.Module) -> Arrays:
    """Weights and buffers as arrays."""
    return {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}


def restore(network: nn.Module, arrays: Arrays) -> None:
    """Puts weights and buffers back."""
    network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})
