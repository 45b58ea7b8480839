"""On a graphics processor: no step fetches anything, and none makes a tensor elsewhere; shown on a stand-in for one."""

from typing import Literal

import pytest
import torch

from molebench.head_training import Lesson, epochs
from molebench.heads import Head, HeadSpec, initial
from molebench.rng import torch_stream
from tests.card import CARD, Elsewhere, nothing_else


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
