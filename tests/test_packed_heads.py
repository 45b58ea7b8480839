"""Compiled heads: the same as PyTorch's from the same streams, and arithmetic that can be checked by eye."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from molebench import head_kernels, head_training, packed_heads
from molebench.fitting import OFTEN, fitter
from molebench.heads import Head, HeadSpec, entropy
from molebench.hooks import Pipeline
from molebench.packed_heads import PIECE, packed
from molebench.rng import stream, torch_stream
from molebench.scenarios.query_loop import Budget, Loop, items
from molebench.types import Samples

CPU = torch.device("cpu")


def problem(n: int, d: int, k: int) -> tuple[Tensor, Tensor]:
    """Features around one centre a class, and labels."""
    y = torch.arange(n) % k
    return 2.0 * torch.eye(k, d)[y] + torch.randn(n, d, generator=torch_stream(0, "problem")), y


def both(spec: HeadSpec, z: Tensor, y: Tensor, k: int) -> tuple[Any, Any, list[Tensor]]:
    """The head of either arithmetic, and what its stream draws next."""
    heads, after = [], []
    for way in (packed_heads, head_training):
        order = torch_stream(0, "order")
        heads.append(way.fit(spec, z, y, k, torch_stream(0, "init"), order))
        after.append(torch.rand(3, generator=order))
    return heads[0], heads[1], after


def unpacked(head: packed_heads.Packed, d: int) -> tuple[Tensor, Tensor]:
    """W [d, k] and b [k] as they were before `packed`."""
    rows = head.w.swapaxes(0, 1).reshape(len(head.b), -1)
    return torch.from_numpy(rows[: head.k, :d].T.copy()), torch.from_numpy(head.b[: head.k])


@pytest.mark.parametrize(
    ("n", "d", "k", "batch"),
    [(50, 6, 3, 16), (5, 8, 2, 64), (130, 1280, 10, 64), (61, 515, 7, 13), (64, 512, 2, 8)],
    ids=["a small one", "fewer than eight samples", "two and a half parts", "nothing is even", "everything is"],
)
@pytest.mark.parametrize("dropout", [0.0, 0.3, 0.5])
def test_a_compiled_head_is_pytorchs_head(n: int, d: int, k: int, batch: int, dropout: float, threads: int) -> None:
    (z, y), spec = problem(n, d, k), HeadSpec(dropout=dropout, batch=batch, epochs=25)
    quick, slow, after = both(spec, z, y, k)
    w, b = unpacked(quick, d)
    assert torch.allclose(w, slow.layers[0], atol=2e-5)
    assert torch.allclose(b, slow.layers[1], atol=2e-5)
    assert torch.equal(after[0], after[1])
    assert torch.allclose(quick.probabilities(z), slow.probabilities(z), atol=1e-5)
    assert torch.allclose(quick.doubts(z), slow.doubts(z), atol=2e-5)


def test_a_compiled_head_stops_at_the_epoch_at_which_pytorchs_stops() -> None:
    (z, y), spec = problem(40, 8, 2), HeadSpec(lr=1.0, epochs=60, patience=2)
    quick, slow, after = both(spec, z, y, 2)
    longer = both(HeadSpec(lr=1.0, epochs=60, patience=60), z, y, 2)[2]
    assert torch.equal(after[0], after[1])
    assert not torch.equal(after[0], longer[0])  # it did stop early
    assert torch.allclose(unpacked(quick, 8)[0], slow.layers[0], atol=1e-3)


def test_one_thread_and_two_give_the_same_bits() -> None:
    z, y = problem(100, 600, 4)
    before, found = torch.get_num_threads(), []
    for count in (1, 2):
        torch.set_num_threads(count)
        found.append(both(HeadSpec(epochs=10), z, y, 4)[0])
    torch.set_num_threads(before)
    assert np.array_equal(found[0].w, found[1].w)
    assert np.array_equal(found[0].b, found[1].b)


@pytest.mark.parametrize("n", [1, 7, 8, 9, PIECE + 3, 3 * PIECE + 1])
def test_logits_are_the_product_whatever_the_number_of_rows(n: int) -> None:
    z, w, b = (torch.randn(*size, generator=torch_stream(n, "any")) for size in ((n, 40), (40, 5), (5,)))
    assert np.allclose(packed(w, b).logits(z), torch.addmm(b, z, w), atol=1e-5)


def test_a_product_small_enough_for_the_eye() -> None:
    head = packed(torch.tensor([[1.0, 0.0, 2.0], [0.0, -1.0, 3.0]]), torch.tensor([0.5, 0.0, -1.0]))
    assert head.logits(torch.tensor([[1.0, 0.0], [2.0, 4.0]])).tolist() == [[1.5, 0.0, 1.0], [2.5, -4.0, 15.0]]


def test_entropy_and_loss_are_those_of_the_softmax_also_of_large_logits() -> None:
    a = torch.tensor([[0.0, 0.0], [1000.0, 0.0], [1.0, -1.0], [-500.0, -499.0]])
    found = np.empty(4, np.float32)
    head_kernels.doubts(a.numpy(), found)
    assert np.allclose(found, entropy(a.softmax(dim=1)), atol=1e-6)
    assert found[:2].tolist() == pytest.approx([np.log(2), 0.0])
    y = torch.tensor([0, 1, 1, 0])
    assert head_kernels.loss(a.numpy(), y.numpy()) == pytest.approx(F.cross_entropy(a, y).item())


def test_what_is_not_a_number_stays_none() -> None:
    z = torch.zeros(20, 6)
    z[3, 2] = torch.nan
    head = packed(torch.ones(6, 2), torch.zeros(2))
    assert np.isnan(head.logits(z)).any(axis=1).tolist() == [i == 3 for i in range(20)]
    assert head.doubts(z).isnan().tolist() == [i == 3 for i in range(20)]


def test_packing_keeps_what_dropout_leaves_and_touches_nothing_else() -> None:
    z = np.arange(12, dtype=np.float32).reshape(3, 4)
    into, keep = np.full((1, 8, head_kernels.PART), -1, np.float32), np.array([[1, 0, 1, 1], [0, 1, 1, 0]], np.uint8)
    head_kernels.pack(z, np.array([2, 0]), keep, into)
    assert into[0, :2, :4].tolist() == [[8, 0, 10, 11], [0, 1, 2, 0]]
    assert (into[:, 2:] == -1).all()
    assert (into[:, :, 4:] == -1).all()


def test_heads_are_compiled_where_many_linear_ones_are_trained_on_a_processor() -> None:
    assert fitter(HeadSpec(), OFTEN, CPU) is packed_heads.fit
    assert fitter(HeadSpec(), OFTEN - 1, CPU) is head_training.fit
    assert fitter(HeadSpec("nn2"), OFTEN, CPU) is head_training.fit
    assert fitter(HeadSpec(), OFTEN, torch.device("meta")) is head_training.fit


def test_a_loop_of_compiled_heads_asks_for_what_one_of_pytorchs_heads_asks_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = stream(0, "pool")
    y = rng.integers(0, 3, 400)
    z = rng.standard_normal((400, 24), dtype=np.float32) + 2 * np.eye(3, 24, dtype=np.float32)[y]
    pool = items(Samples(np.zeros((400, 1, 1, 1), np.uint8), y), z)
    budget = Budget(OFTEN, 1, 10)
    arms = []
    for often in (OFTEN, OFTEN + 1):
        monkeypatch.setattr("molebench.fitting.OFTEN", often)
        loop = Loop(HeadSpec(epochs=10), budget, pool, pool, 3, 0, 0, Pipeline())
        assert isinstance(loop.plain(np.arange(10)).head, Head) == (often > OFTEN)
        arms.append(loop.play(lambda n: None))
    quick, slow = arms
    assert np.array_equal(quick.queried, slow.queried)
    assert np.array_equal(quick.accuracy, slow.accuracy)
