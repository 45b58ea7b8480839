"""Trainings on a graphics processor: no step of any fetches anything, or makes a tensor elsewhere."""

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from molebench import registry
from molebench.classifiers import Classifier, Shape, initialised, resnet18
from molebench.continual_learners import Knowledge
from molebench.defenses.adversarial_seed import AdversarialSeed, hardened
from molebench.defenses.unfreeze import Unfreeze, unfrozen
from molebench.finetuning import prepared
from molebench.heads import HeadSpec, initial
from molebench.recall import Recalling, recalled
from molebench.rng import drawing_on, torch_stream
from molebench.training import Recipe, train
from molebench.variants import train_together
from molebench.workspace import Workspace
from tests.card import CARD, nothing_else
from tests.small_lessons import QUICK, batch, lesson

LEARNERS = sorted(name for name in registry.files("victims") if name.startswith("cl_"))
RECIPES = [
    Recipe(epochs=2, batch=6, lr=0.01, schedule="step", augment=True),
    Recipe(epochs=1, batch=6, lr=1e-3, optimiser="adamw", weight_decay=0.1, schedule="linear"),
    Recipe(epochs=1, batch=5, lr=0.01, shuffled=False),
]


def victim() -> Classifier:
    body = initialised(lambda: resnet18("imagenet", Shape(8, 8, 1, 10)), torch_stream(0, "init"))
    return Classifier(body, np.array([120.0]), np.array([60.0])).to(CARD)


def images(*many: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(*many, 8, 8, 1, dtype=torch.uint8, device=CARD), torch.zeros(
        *many, dtype=torch.int64, device=CARD
    )


@pytest.mark.parametrize("recipe", RECIPES, ids=["sgd", "adamw", "in their order"])
def test_a_victim_is_trained_on_a_card_alone(recipe: Recipe) -> None:
    network, (x, y) = victim(), images(16)
    with nothing_else():
        train(network, x, y, recipe, torch_stream(0, "order"))
    assert all(w.device == CARD for w in network.parameters())


def test_many_copies_are_trained_and_asked_on_a_card_alone() -> None:
    network, (x, y) = victim(), images(2, 16)
    with nothing_else():
        copies = train_together(network, x, y, RECIPES[0], [torch_stream(v, "order") for v in range(2)])
        assert copies.predict(x[0], 10).shape == (2, 16)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_batch_of_a_later_task_is_learnt_on_a_card_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *given, **named: nullcontext())  # the stand-in has none
    learner: Any = registry.find("victims", name).made(training=QUICK)
    first = lesson(0)
    known: Knowledge = learner.closed(learner.grown(first), first)
    here = lesson(1, known)
    network = learner.grown(here).to(CARD)
    teacher = here.teacher and here.teacher.to(CARD)
    there = replace(here, x=here.x.to(CARD), y=here.y.to(CARD), teacher=teacher)
    loss, (x, y) = learner.objective(network, there), batch(there)
    with nothing_else():
        loss(x, y).backward()
    assert any(w.grad is not None for w in network.parameters())


@pytest.mark.parametrize("name", ["efficientnet_lite0", "yamnet"])
def test_a_defense_tunes_an_extractor_on_a_card_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda groups, **named: adam(groups))  # the stand-in has no fused one
    plugin = registry.find("extractors", name)
    loaded = plugin.build(plugin.resolve({"weights": "random"}, "small")).load(Workspace.from_environment())[0]
    shape, k, steps = ((32, 32, 3) if name == "efficientnet_lite0" else (16_000,)), 3, 2
    f, x, y = loaded.to(CARD), torch.ones(6, *shape, device=CARD), torch.zeros(6, dtype=torch.int64, device=CARD)
    trained = nn.Sequential(*(block.to(CARD) for block in f.blocks))
    layers = tuple(p.to(CARD) for p in initial(HeadSpec(), f(x).shape[1], k, torch_stream(0, "init")))

    def features(values: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = trained(prepared(f, values))
        return found

    with nothing_else():
        unfrozen(Unfreeze(steps=steps, batch=4, epochs=1), trained, layers, prepared(f, x), y, torch_stream(0, "order"))
        if x.dim() == 4:  # the other one is for images
            hardened(
                AdversarialSeed(steps=steps, batch=4), features, 1.0, trained, layers, x, y, torch_stream(0, "order")
            )
    assert all(w.device == CARD for w in trained.parameters())


def test_on_a_card_a_teacher_is_asked_again_for_what_it_said_lies_elsewhere() -> None:
    given = lesson()
    assert isinstance(recalled(lambda x: x, QUICK, given), Recalling)
    assert not isinstance(recalled(lambda x: x, QUICK, replace(given, x=given.x.to(CARD))), Recalling)


def test_a_generator_for_a_processor_is_the_one_that_was_given() -> None:
    given = torch_stream(0, "order")
    before = given.get_state()
    assert drawing_on(torch.device("cpu"), given) is given
    assert torch.equal(given.get_state(), before)
