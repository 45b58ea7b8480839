"""The dense head: against a slow twin made of PyTorch's own modules, and where it stops."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from molebench.head_training import fit
from molebench.heads import ROWS, Head, HeadSpec, dropped, entropy, highest, initial, kept
from molebench.rng import torch_stream

Kind = Literal["nn1", "nn2"]
KINDS: tuple[Kind, ...] = ("nn1", "nn2")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """So small a head is only slowed down by threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def problem(n: int = 50, d: int = 6, k: int = 3) -> tuple[Tensor, Tensor]:
    """Features around one centre a class, and labels."""
    rng = torch_stream(0, "problem")
    y = torch.arange(n) % k
    return 3.0 * torch.eye(k, d)[y] + torch.randn(n, d, generator=rng), y


class Twin(nn.Module):
    """The head written the usual way; dropout masks are drawn as the head draws them."""

    def __init__(self, spec: HeadSpec, weights: list[Tensor]) -> None:
        super().__init__()
        self.spec = spec
        self.layers = nn.ModuleList()
        for w, b in zip(weights[::2], weights[1::2], strict=True):
            layer = nn.Linear(*w.shape)
            layer.weight.data, layer.bias.data = w.T.clone(), b.clone()
            self.layers.append(layer)

    def forward(self, z: Tensor, order: Generator | None) -> Tensor:
        for i, layer in enumerate(self.layers):
            if i:
                z = torch.relu(z)
            if order is not None and self.spec.dropout:
                z = torch.where(kept(z.shape, self.spec.dropout, order) == 0, 0.0, z)
                z = z / (1 - self.spec.dropout)
            z = layer(z)
        return z


def slowly(spec: HeadSpec, z: Tensor, y: Tensor, k: int, init: Generator, order: Generator) -> tuple[Twin, int]:
    """The twin after training, and how many epochs that took."""
    twin = Twin(spec, initial(spec, z.shape[1], k, init))
    adam = torch.optim.Adam(twin.parameters(), lr=spec.lr, fused=False)
    losses: list[float] = []
    for _ in range(spec.epochs):
        shuffled = torch.randperm(len(z), generator=order)
        for start in range(0, len(z), spec.batch):
            batch = shuffled[start : start + spec.batch]
            adam.zero_grad()
            F.cross_entropy(twin(z[batch], order), y[batch]).backward()
            adam.step()
        losses.append(F.cross_entropy(twin(z, None), y).item())
        if len(losses) - 1 - losses.index(min(losses)) >= spec.patience:
            break
    return twin, len(losses)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dropout", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("d", [6, 8], ids=["batches drawn one by one", "epochs drawn at once"])
def test_a_head_is_what_pytorchs_modules_and_adam_make_of_the_same_draws(kind: Kind, dropout: float, d: int) -> None:
    z, y = problem(d=d)
    spec = HeadSpec(kind, hidden=8, dropout=dropout, lr=0.01, epochs=20, batch=16)
    head = fit(spec, z, y, 3, torch_stream(1, "init"), torch_stream(1, "order"))
    twin, _ = slowly(spec, z, y, 3, torch_stream(1, "init"), torch_stream(1, "order"))
    ours = [p.T if p.dim() == 2 else p for p in head.layers]
    for o, t in zip(ours, twin.parameters(), strict=True):
        torch.testing.assert_close(o, t.detach(), atol=1e-4, rtol=0)
    torch.testing.assert_close(head.logits(z), twin(z, None).detach(), atol=1e-3, rtol=0)
    before = initial(spec, d, 3, torch_stream(1, "init"))
    assert max(float((p - q).abs().max()) for p, q in zip(head.layers, before, strict=True)) > 0.05  # it did learn


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_two_threads_make_the_head_that_one_makes_and_leave_the_draws_where_it_leaves_them(
    kind: Kind, epochs: int
) -> None:
    z, y = problem(d=8)
    spec = HeadSpec(kind, hidden=8, lr=0.5, epochs=epochs, batch=16, patience=3)
    made = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        order = torch_stream(12, "order")
        made[threads] = *fit(spec, z, y, 3, torch_stream(12, "init"), order).layers, order.get_state()
        assert torch.get_num_threads() == threads
    torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(made[1], made[2], strict=True))


def test_training_stops_where_the_twin_stops() -> None:
    z, y = problem(n=40, d=2, k=2)
    spec = HeadSpec("nn1", dropout=0.0, lr=2.0, epochs=200, batch=8, patience=3)  # so large a step soon overshoots
    order = torch_stream(2, "order")
    fit(spec, z, y, 2, torch_stream(2, "init"), order)
    order_twin = torch_stream(2, "order")
    _, epochs = slowly(spec, z, y, 2, torch_stream(2, "init"), order_twin)
    assert 3 < epochs < 200
    assert torch.equal(order.get_state(), order_twin.get_state())


def test_training_stops_after_patience_epochs_without_a_better_loss() -> None:
    # all features zero, classes balanced, one batch: the gradient is zero from the start
    z, y = torch.zeros(8, 3), torch.arange(8) % 2
    order, counted = torch_stream(3, "order"), torch_stream(3, "order")
    fit(HeadSpec(dropout=0.0, batch=8, patience=4), z, y, 2, torch_stream(3, "init"), order)
    for _ in range(1 + 4):  # the first epoch is the best; four more are waited for
        torch.randperm(8, generator=counted)
    assert torch.equal(order.get_state(), counted.get_state())


def test_training_never_takes_more_epochs_than_allowed() -> None:
    z, y = problem(n=8)
    order, counted = torch_stream(4, "order"), torch_stream(4, "order")
    fit(HeadSpec(dropout=0.0, epochs=3), z, y, 3, torch_stream(4, "init"), order)
    for _ in range(3):
        torch.randperm(8, generator=counted)
    assert torch.equal(order.get_state(), counted.get_state())


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_separates_what_is_separable(kind: Kind) -> None:
    y = torch.arange(30) % 3
    z = 5.0 * torch.eye(3)[y]
    head = fit(HeadSpec(kind, lr=0.05), z, y, 3, torch_stream(5, "init"), torch_stream(5, "order"))
    p = head.probabilities(z)
    assert torch.equal(p.argmax(dim=1), y)
    torch.testing.assert_close(p.sum(dim=1), torch.ones(30))


def test_nn1_cannot_learn_exclusive_or_and_nn2_can() -> None:
    z = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).repeat(10, 1) * 4 - 2
    y = torch.tensor([0, 1, 1, 0]).repeat(10)
    spec = HeadSpec("nn2", hidden=32, dropout=0.0, lr=0.05, epochs=100, patience=100)
    right = {}
    for kind in KINDS:
        head = fit(replace(spec, kind=kind), z, y, 2, torch_stream(6, "init"), torch_stream(6, "order"))
        right[kind] = float((head.logits(z).argmax(dim=1) == y).float().mean())
    assert right["nn2"] == 1.0
    assert right["nn1"] <= 0.75


def test_the_same_streams_give_the_same_weights_and_others_give_others() -> None:
    z, y = problem()
    spec = HeadSpec(epochs=3)

    def weights(init: int, order: int) -> Tensor:
        return fit(spec, z, y, 3, torch_stream(init, "init"), torch_stream(order, "order")).layers[0]

    assert torch.equal(weights(1, 1), weights(1, 1))
    assert not torch.equal(weights(1, 1), weights(2, 1))
    assert not torch.equal(weights(1, 1), weights(1, 2))


def test_fit_touches_no_global_generator_and_no_input() -> None:
    z, y = problem()
    z_before, y_before = z.clone(), y.clone()
    before = str(np.random.get_state()), torch.get_rng_state().tolist()  # noqa: NPY002
    fit(HeadSpec("nn2", epochs=2), z, y, 3, torch_stream(7, "init"), torch_stream(7, "order"))
    after = str(np.random.get_state()), torch.get_rng_state().tolist()  # noqa: NPY002
    assert before == after
    assert torch.equal(z, z_before)
    assert torch.equal(y, y_before)


def test_initial_weights_are_glorot_uniform_and_biases_zero() -> None:
    w1, b1, w2, b2 = initial(HeadSpec("nn2", hidden=100), 500, 10, torch_stream(8, "init"))
    assert [tuple(p.shape) for p in (w1, b1, w2, b2)] == [(500, 100), (100,), (100, 10), (10,)]
    assert not b1.any()
    assert not b2.any()
    for w, limit in ((w1, (6 / 600) ** 0.5), (w2, (6 / 110) ** 0.5)):
        assert 0.99 * limit < float(w.abs().max()) <= limit
        assert float(w.std()) == pytest.approx(limit / 3**0.5, rel=0.05)


def test_dropout_keeps_the_mean_and_drops_its_share() -> None:
    z = torch.ones(200, 100)
    dropped_z = dropped(z, 0.25, torch_stream(9, "dropout"))
    assert sorted(set(dropped_z.flatten().tolist())) == pytest.approx([0.0, 1 / 0.75])
    assert float((dropped_z == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert dropped(z, 0.25, None) is z


def test_each_input_of_each_sample_is_kept_or_dropped_by_a_bit_of_its_own() -> None:
    rng = torch_stream(10, "dropout")
    keep = torch.stack([kept((64, 300), 0.5, rng) for _ in range(20)]).double()
    assert set(keep.flatten().tolist()) == {0.0, 1.0}
    assert float(keep.mean()) == pytest.approx(0.5, abs=0.004)  # 0.0008 is the standard error
    for dim in range(3):  # neither draws, nor samples, nor inputs follow one another
        centred = (keep - 0.5).flatten() * (keep.roll(1, dim) - 0.5).flatten()
        assert float(centred.mean()) * 4 == pytest.approx(0.0, abs=0.01)
    assert kept((3, 5), 0.5, rng).shape == (3, 5)  # no whole number of words


@pytest.mark.parametrize("kind", KINDS)
def test_many_samples_are_scored_in_parts_as_in_one(kind: Kind) -> None:
    spec = HeadSpec(kind, hidden=8)
    head = Head(tuple(initial(spec, 20, 5, torch_stream(11, "init"))))
    z = 3.0 * torch.randn(3 * ROWS + 17, 20, generator=torch_stream(11, "z"))
    with torch.no_grad():
        expected = head.logits(z).softmax(dim=1)
    torch.testing.assert_close(head.probabilities(z), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(head.doubts(z), entropy(expected), atol=1e-5, rtol=0)


def test_the_highest_are_those_of_a_whole_stable_sort() -> None:
    values = np.random.default_rng(0).integers(0, 30, 200).astype(np.float32)  # with many ties
    for count in (0, 1, 7, 199, 200, 300):
        assert highest(values, count).tolist() == np.argsort(-values, kind="stable")[:count].tolist()
    assert highest(np.array([1.0, np.nan, 2.0]), 3).tolist() == [2, 0, 1]
    assert highest(np.array([np.nan] * 3), 2).tolist() == [0, 1]
    assert highest(np.zeros(0), 2).tolist() == []


def test_entropy_is_scipys() -> None:
    p = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.7, 0.2, 0.1]])
    np.testing.assert_allclose(entropy(p).numpy(), scipy.stats.entropy(p.numpy(), axis=1), rtol=1e-5, atol=1e-7)
