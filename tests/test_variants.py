"""Many copies of a network trained at once: each is what it would be alone."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from molebench.classifiers import Classifier, Shape, initialised, resnet18
from molebench.rng import torch_stream
from molebench.training import Recipe, train
from molebench.variants import train_together

COPIES = 2


def network() -> nn.Module:
    body = initialised(lambda: resnet18("imagenet", Shape(8, 8, 1, 10)), torch_stream(0, "init"))
    # in double precision: on so few activations batch norm lets the last bits of a float32 grow step by step
    return Classifier(body, np.array([120.0]), np.array([60.0])).double()


def images() -> tuple[Tensor, Tensor]:
    rng = torch_stream(1, "images")
    x = torch.randint(256, (COPIES, 48, 8, 8, 1), generator=rng).to(torch.uint8)
    return x, torch.randint(10, (COPIES, 48), generator=rng)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(epochs=2, batch=20, lr=0.01, schedule="step"),
        Recipe(epochs=1, batch=47, lr=0.01, augment=True),
        Recipe(epochs=1, batch=16, lr=1e-3, optimiser="adamw", weight_decay=0.1, schedule="linear"),
    ],
    ids=["sgd", "crops and a last single image", "adamw"],
)
def test_each_copy_is_trained_as_it_would_be_alone(recipe: Recipe) -> None:
    start, (x, y) = network(), images()
    together = train_together(start, x, y, recipe, [torch_stream(7, "order", v) for v in range(COPIES)])
    for v in range(COPIES):
        alone = copy.deepcopy(start)
        train(alone, x[v], y[v], recipe, torch_stream(7, "order", v))
        for name, value in alone.state_dict().items():
            stacked = together.weights | together.buffers
            assert torch.allclose(stacked[name][v].double(), value.double(), rtol=0, atol=1e-9), name


def test_each_copy_predicts_as_it_would_alone_and_the_network_it_came_from_is_untouched() -> None:
    start, (x, y) = network(), images()
    before = copy.deepcopy(start.state_dict())
    recipe = Recipe(epochs=3, batch=16, lr=0.05)
    together = train_together(start, x, y, recipe, [torch_stream(7, "order", v) for v in range(COPIES)])
    predicted = together.predict(x[0], batch=20)
    for v in range(COPIES):
        alone = copy.deepcopy(start)
        train(alone, x[v], y[v], recipe, torch_stream(7, "order", v))
        assert (alone.eval()(x[0]).argmax(dim=1) == predicted[v]).all()
    assert predicted.shape == (COPIES, 48)
    assert len({tuple(row.tolist()) for row in predicted}) > 1  # copies differ, for their images do
    assert all(torch.equal(before[name], value) for name, value in start.state_dict().items())
