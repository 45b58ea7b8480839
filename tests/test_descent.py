"""The descent: the same way as a plain loop's, whoever else is in the batch, and memory that follows the batch."""

from itertools import cycle

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from molebench.descent import FULL, Descent
from molebench.nets import FrozenExtractor
from molebench.rng import torch_stream
from molebench.types import AUDIO, IMAGE
from tests.descending import descend, plainly


def smooth(width: int = 5) -> FrozenExtractor:
    """A small smooth network with fixed weights, images to features."""
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(24, width)
    )
    for i, parameter in enumerate(net.parameters()):
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=torch_stream(i, "weights"))
    return FrozenExtractor(net, (128.0,) * 3, (64.0,) * 3)


def images(n: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, 6, 6, 3)).astype(np.float32))


def loud(x: Tensor) -> Tensor:
    """Features of a sound: sums of short pieces, squashed."""
    return (4 * x.unflatten(1, (4, -1)).sum(dim=2)).tanh()


# ------------------------------------------------------------------ the plain loop


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 40])
@pytest.mark.parametrize("beta", [0.0, 1e-4])
def test_after_any_number_of_steps_samples_are_where_a_plain_loop_has_them(steps: int, beta: float) -> None:
    f, x, mu = smooth(), images(7), torch.full((5,), 0.2)
    given = (f, x, x, mu, beta, steps, 1.5, 0.0, IMAGE)
    ours, theirs = descend(*given, size=4), plainly(*given)
    assert float((theirs[0] - x).abs().max()) > 1.0
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=1e-3 * steps)  # grey values of 255


def test_each_sample_takes_as_many_steps_as_in_a_plain_loop_to_a_mu_of_its_own() -> None:
    f, x, far = smooth(), images(12), torch.randn(12, 5, generator=torch_stream(0, "mu"))
    given = (f, x, x, 0.1 * far, 1e-6, 60, 1.5, 0.3, IMAGE)
    ours, theirs = descend(*given, size=5), plainly(*given)
    assert len(set(theirs[1]["steps"].tolist())) > 4  # they leave at different times
    assert (ours[1]["steps"] == theirs[1]["steps"]).all()
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=0.02)


def test_sounds_that_begin_beside_themselves_go_where_a_plain_loop_takes_them() -> None:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.uniform(-0.9, 0.9, (6, 32)).astype(np.float32))
    begin = (x + 0.01 * torch.from_numpy(rng.standard_normal((6, 32)).astype(np.float32))).clamp(AUDIO.low, AUDIO.high)
    given = (loud, x, begin, torch.zeros(4), 1e-2, 30, 0.02, 0.1, AUDIO)
    ours, theirs = descend(*given, size=4), plainly(*given)
    assert (ours[1]["steps"] == theirs[1]["steps"]).all()
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=1e-4)


# ------------------------------------------------------------------ the batch


class Counting:
    """f(x) = x as features, and how many samples each pass with a gradient had."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            self.sizes.append(len(x))
        return x.flatten(1)


def greys(n: int) -> Tensor:
    """Images of one grey each, so that the way to zero is of every length."""
    return torch.linspace(10, 250, n)[torch.randperm(n, generator=torch_stream(0, "order"))].view(-1, 1, 1, 1)


def test_a_place_that_is_free_is_taken_by_another_so_that_the_batch_stays_full() -> None:
    f, x, size = Counting(), greys(64), 8
    _, facts = descend(f, x, x, torch.zeros(1), 0.0, 300, 3.0, 0.5, IMAGE, size=size)
    assert facts["converged"].all()
    tail = int(facts["steps"].max())  # nobody is left to begin
    assert max(f.sizes) == size
    assert min(f.sizes[: -tail - 1]) > FULL * size
    slices = [facts["steps"][i : i + size].max() + 1 for i in range(0, 64, size)]
    assert len(f.sizes) < 0.8 * sum(slices)  # passes, against those of one batch after another


@pytest.mark.parametrize("size", [1, 3, 64, 100])
def test_who_shares_the_batch_changes_nothing(size: int) -> None:
    x = greys(20)
    given = (Counting(), x, x, torch.zeros(1), 0.0, 100, 3.0, 0.5, IMAGE)
    together, alone = descend(*given), descend(*given, size=size)
    assert torch.equal(together[0], alone[0])
    assert all((together[1][name] == alone[1][name]).all() for name in together[1])


def test_samples_are_asked_for_when_they_begin_and_handed_over_when_they_leave() -> None:
    x, inside = greys(50), [0]

    def given(some: slice) -> tuple[Tensor, Tensor, Tensor]:
        part = x[some]
        inside.append(inside[-1] + len(part))
        return part, part, torch.zeros(len(part), 1)

    for left in Descent(0.0, 300, 3.0, 0.5, IMAGE).of(Counting(), given, len(x), 6):
        inside.append(inside[-1] - len(left.who))
    assert max(inside) == 6
    assert inside[-1] == 0


@pytest.mark.parametrize("steps", [7, 100])
def test_how_often_it_is_asked_who_is_done_changes_nothing(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    x = greys(20)
    x[3] = torch.nan  # is never finite
    given = (Counting(), x, x, torch.zeros(1), 0.0, steps, 3.0, 0.5, IMAGE)
    always = descend(*given, size=6)
    monkeypatch.setattr("molebench.descent.looking", lambda device: cycle([True, False, False, False, False]))
    seldom = descend(*given, size=6)
    assert always[1]["diverged"].tolist() == [i == 3 for i in range(20)]
    assert len(set(always[1]["steps"].tolist())) > (4 if steps == 100 else 1)
    assert torch.equal(always[0].nan_to_num(), seldom[0].nan_to_num())
    assert all((always[1][name] == seldom[1][name]).all() for name in always[1])
