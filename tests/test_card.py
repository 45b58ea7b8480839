"""On a graphics processor: no step fetches anything, and none makes a tensor elsewhere; shown on a stand-in for one."""

from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from molebench import registry
from molebench.collision import at_once, batch_of, valued
from molebench.descent import LOOK, Descent, looking
from molebench.head_training import Lesson, epochs
from molebench.heads import Head, HeadSpec, initial
from molebench.provenance import whole_float32
from molebench.rng import torch_stream
from molebench.scenarios.query_loop import items
from molebench.stages import Stages
from molebench.types import AUDIO, IMAGE, Modality, Samples
from molebench.workspace import Workspace
from tests.card import CARD, Elsewhere, nothing_else
from tests.commands import SMALL, typed


def test_the_stand_in_notices_what_it_is_there_for() -> None:
    here, there = torch.ones(3), torch.ones(3, device=CARD)
    with pytest.raises(RuntimeError):
        bool(there.any())
    with pytest.raises(NotImplementedError):
        there.cpu()
    with pytest.raises(Elsewhere), nothing_else():
        there[torch.tensor([0, 2])]
    with pytest.raises(Elsewhere), nothing_else():
        here.to(CARD)


@pytest.mark.parametrize("kind", ["nn1", "nn2"])
@pytest.mark.parametrize("dropout", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("d", [6, 8], ids=["batches drawn one by one", "epochs drawn at once"])
def test_a_head_on_a_card_is_trained_without_a_look_at_the_processor(
    kind: Literal["nn1", "nn2"], dropout: float, d: int
) -> None:
    spec = HeadSpec(kind, hidden=8, dropout=dropout, epochs=3, batch=16)
    z, target = torch.ones(50, d, device=CARD), torch.ones(3, 50, device=CARD)
    start = [p.t().to(CARD) for p in initial(spec, d, 3, torch_stream(0, "init"))]
    with nothing_else():
        judged = list(epochs(Lesson(spec, z, target, start, torch_stream(0, "order"))))
    assert len(judged) == 3
    assert all(each.head.device == torch.as_tensor(each.loss).device == CARD for each in judged)


@pytest.mark.parametrize("kind", ["nn1", "nn2"])
def test_a_pool_on_a_card_is_scored_there(kind: Literal["nn1", "nn2"]) -> None:
    spec = HeadSpec(kind, hidden=8)
    head = Head(tuple(p.to(CARD) for p in initial(spec, 20, 5, torch_stream(0, "init"))))
    with nothing_else():
        assert head.doubts(torch.ones(2000, 20, device=CARD)).shape == (2000,)
        assert head.probabilities(torch.ones(2000, 20, device=CARD)).shape == (2000, 5)


def test_a_pools_features_go_to_the_card_once() -> None:
    samples = Samples(np.zeros((4, 1, 1, 1), np.uint8), np.zeros(4, np.int64))
    pool = items(samples, np.ones((4, 3), np.float32), device="meta")
    assert pool.features.device == CARD
    assert pool.features is pool.features


# ------------------------------------------------------------------ extraction and descent

SOUND, PICTURE = (7_680 + 15_600,), (32, 32, 3)


def extractor(name: str) -> Any:
    """An extractor as molebench loads it, its weights random, on the card."""
    plugin = registry.find("extractors", name)
    return plugin.build(plugin.resolve({"weights": "random"}, "small")).load(Workspace.from_environment())[0].to(CARD)


def test_an_extractor_computes_where_its_weights_are_and_answers_where_it_is_asked() -> None:
    f = extractor("efficientnet_lite0")
    assert f(torch.ones(2, 32, 32, 3, device=CARD)).device == CARD
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta"):  # the way back, the last thing it does
        f(torch.ones(2, 32, 32, 3))


def test_samples_go_to_a_card_as_they_are_stored_and_are_the_same_numbers_there() -> None:
    for modality, kind in ((IMAGE, np.uint8), (AUDIO, np.int16)):
        x = np.arange(-40 if kind == np.int16 else 0, 200, dtype=kind)[None]
        here, there = valued(x, modality, torch.device("cpu")), valued(x, modality, CARD)
        stored = torch.from_numpy(x).float() * modality.step
        assert torch.equal(here, stored)
        assert (there.shape, there.dtype, there.device) == (here.shape, here.dtype, CARD)


def test_more_samples_go_at_once_where_there_is_room() -> None:
    f = extractor("efficientnet_lite0")
    assert batch_of(f) == 16 * 125
    assert at_once(f, (96, 96, 3)) == 16 * 32


@pytest.mark.parametrize(
    ("name", "shape", "modality"),
    [("resnet50", PICTURE, IMAGE), ("efficientnet_lite0", PICTURE, IMAGE), ("yamnet", SOUND, AUDIO)],
)
def test_a_step_of_a_descent_on_a_card_is_taken_there_alone(
    name: str, shape: tuple[int, ...], modality: Modality
) -> None:
    f, x = extractor(name), torch.ones(3, *shape, device=CARD)
    descent, mu = Descent(1e-6, 10, 1.5, 0.1, modality), torch.zeros(3, f(x).shape[1], device=CARD)
    batch = descent.begun(f, lambda some: (x[some], x[some], mu[some]), 0, 3)
    with nothing_else():
        for _ in range(2):
            gradient, gap = descent.slope(f, batch, only_gap=False)
            batch = descent.stepped(descent.judged(batch, gradient, gap), gradient)
    assert batch.at.device == batch.done.device == CARD


def test_nobody_asks_a_card_who_is_done_but_at_every_fifth_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = list[str]()

    def f(x: Tensor) -> Tensor:
        passes.append("pass")
        return x.flatten(1)

    def given(some: slice) -> tuple[Tensor, Tensor, Tensor]:
        x = torch.ones(2, 3, device=CARD)
        return x, x, torch.zeros(2, 3, device=CARD)

    monkeypatch.setattr("molebench.descent.device_of", lambda f: CARD)
    looks = looking(CARD)
    assert next(looks)
    monkeypatch.setattr("molebench.descent.looking", lambda device: looks)
    with pytest.raises(RuntimeError, match="item"):  # the look: there are no numbers here to be seen
        list(Descent(0.0, 10, 1.5, 0.1, IMAGE).of(f, given, 2, 2))
    assert len(passes) == 1 + LOOK - 1  # one before the first step; a look comes before its pass


def test_float32_is_whole_while_a_cell_computes() -> None:
    there = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [part.allow_tf32 for part in there]
    with whole_float32(torch):
        assert [part.allow_tf32 for part in there] == [False, False]
    assert [part.allow_tf32 for part in there] == before == [True, False]


# ------------------------------------------------------------------ the cache


def test_what_is_computed_on_a_card_is_cached_apart(fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = dict[str, list[Any]]()
    get = Stages.get

    def noted(self: Stages, name: str, inputs: Any, *more: Any) -> Any:
        asked.setdefault(name, []).append(inputs.get("device"))
        return get(self, name, inputs, *more)

    monkeypatch.setattr(Stages, "get", noted)
    for whose in ("provenance", "scenarios.active"):
        monkeypatch.setattr(f"molebench.{whose}.where", lambda: {"device": "cuda"})
    done = typed(fresh, "run", "--attack", "feature_collision", *SMALL)
    assert done.returncode == 0, done.stderr
    assert asked.keys() == {"features", "poison", "arms"}
    assert {device for devices in asked.values() for device in devices} == {"cuda"}
