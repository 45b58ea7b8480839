"""The maths that attacks on a frozen extractor share: targets, bases, distances, collision ratios."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from molebench.aims import Target
from molebench.collision import (
    BATCH,
    chosen_bases,
    distances,
    extracted,
    finite_rows,
    ratios,
    select_bases,
    target_vector,
)
from molebench.types import IMAGE, Array, AttackView, Samples


def sums(x: Tensor) -> Tensor:
    """f(x) = (sum of the pixels, 1), an extractor to do in one's head."""
    total = x.flatten(1).sum(dim=1)
    return torch.stack([total, torch.ones_like(total)], dim=1)


@pytest.mark.parametrize(("kind", "expected"), [("zero", [0, 0]), ("one", [1, 1]), ("mean", [2, 5])])
def test_a_target_is_zero_one_or_the_mean_feature(kind: Target, expected: list[float]) -> None:
    features = np.array([[1, 4], [3, 6]], dtype=np.float32)
    mu = target_vector(kind, features)
    assert mu.tolist() == expected
    assert mu.dtype == np.float32


def test_without_balance_the_nearest_are_taken_whatever_their_class() -> None:
    distance = np.array([5.0, 1.0, 3.0, 2.0, 4.0])
    y = np.array([1, 0, 0, 0, 1])
    assert select_bases(distance, y, 3, balance=False).tolist() == [1, 3, 2]


def test_with_balance_classes_take_turns_each_giving_its_nearest() -> None:
    distance = np.array([5.0, 1.0, 3.0, 2.0, 4.0])
    y = np.array([1, 0, 0, 0, 1])
    assert select_bases(distance, y, 4, balance=True).tolist() == [1, 4, 3, 0]


def test_a_class_that_runs_out_leaves_its_turns_to_the_others() -> None:
    distance = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    y = np.array([0, 0, 0, 0, 1])
    assert select_bases(distance, y, 4, balance=True).tolist() == [0, 4, 1, 2]


@pytest.mark.parametrize("balance", [False, True])
def test_ties_keep_the_lower_index(balance: bool) -> None:
    assert select_bases(np.zeros(6), np.array([1, 0, 1, 0, 1, 0]), 6, balance).tolist() == [0, 1, 2, 3, 4, 5]


def test_no_more_bases_come_back_than_there_are() -> None:
    assert select_bases(np.zeros(2), np.array([0, 1]), 9, balance=True).tolist() == [0, 1]


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(st.data())
def test_counts_differ_by_at_most_one_until_a_class_runs_out(data: st.DataObject) -> None:
    y = np.array(data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=30)))
    distance = np.array(data.draw(st.lists(st.integers(0, 5), min_size=len(y), max_size=len(y))), dtype=float)
    count = data.draw(st.integers(1, 35))
    chosen = select_bases(distance, y, count, balance=True)
    assert len(set(chosen.tolist())) == len(chosen) == min(count, len(y))
    have, there = np.bincount(y[chosen], minlength=4), np.bincount(y, minlength=4)
    for c in range(4):
        assert have[c] == there[c] or have[c] >= have.max() - 1
        mine = np.flatnonzero(y == c)
        nearest = sorted(zip(distance[mine].tolist(), mine.tolist(), strict=True))[: have[c]]
        assert sorted(chosen[y[chosen] == c].tolist()) == sorted(i for _, i in nearest)


def test_distances_of_a_hand_computed_example() -> None:
    base = np.full((1, 2, 2, 1), 100, np.uint8)
    x = base.copy()
    x[0, 0, 0, 0] = 110
    found = distances(x, base, IMAGE)
    assert found["l2"].tolist() == [10.0]
    assert found["linf"].tolist() == [10.0]
    # the root mean square error is 10 / sqrt(4) = 5; the signal's norm is 200
    assert found["psnr"][0] == pytest.approx(20 * np.log10(255 / 5))
    assert found["snr"][0] == pytest.approx(20 * np.log10(200 / 10))


def test_darker_and_brighter_are_equally_far_despite_unsigned_pixels() -> None:
    base = np.full((2, 1, 1, 1), 100, np.uint8)
    found = distances(np.array([90, 110], np.uint8).reshape(2, 1, 1, 1), base, IMAGE)
    assert found["linf"].tolist() == [10.0, 10.0]


def test_an_unchanged_sample_gets_the_finite_psnr_of_half_a_step() -> None:
    base = np.full((1, 2, 2, 1), 100, np.uint8)
    found = distances(base, base, IMAGE)
    assert (found["l2"][0], found["linf"][0]) == (0.0, 0.0)
    assert found["psnr"][0] == pytest.approx(20 * np.log10(255 / 0.5))
    assert found["snr"][0] == pytest.approx(20 * np.log10(100 / 0.5))


def test_a_black_sample_has_a_finite_snr() -> None:
    base = np.zeros((1, 2, 2, 1), np.uint8)
    assert np.isfinite(distances(base + np.uint8(3), base, IMAGE)["snr"]).all()


def test_psnr_is_that_of_scikit_image(rng: np.random.Generator) -> None:
    base, x = rng.integers(0, 256, (2, 4, 8, 8, 3)).astype(np.uint8)
    psnr: Any = peak_signal_noise_ratio
    expected = [psnr(b, p, data_range=255) for b, p in zip(base, x, strict=True)]
    np.testing.assert_allclose(distances(x, base, IMAGE)["psnr"], expected, rtol=1e-9)


def test_a_ratio_is_the_share_of_the_way_to_the_target_that_is_left() -> None:
    base = np.array([[[[10]]], [[[40]]], [[[20]]]], np.uint8)
    x = np.array([[[[5]]], [[[40]]], [[[0]]]], np.uint8)
    assert ratios(sums, x, base, np.array([0, 1], np.float32), IMAGE).tolist() == [0.5, 1.0, 0.0]


def test_a_base_already_at_the_target_gives_a_finite_ratio() -> None:
    base = np.zeros((1, 1, 1, 1), np.uint8)
    assert ratios(sums, base, base, np.array([0, 1], np.float32), IMAGE).tolist() == [0.0]


def test_features_are_extracted_in_batches_in_order_and_without_gradients() -> None:
    sizes = []

    def counting(x: Tensor) -> Tensor:
        sizes.append(len(x))
        assert not torch.is_grad_enabled()
        return sums(x)

    x = np.arange(4 * BATCH + 1).astype(np.uint8).reshape(-1, 1, 1, 1)
    assert extracted(counting, x, IMAGE)[:, 0].tolist() == x.ravel().tolist()
    assert sizes == [2 * BATCH, 2 * BATCH, 1]
    sizes.clear()
    extracted(counting, np.zeros((BATCH + 1, 33, 32, 3), np.uint8), IMAGE)
    assert sizes == [BATCH, 1]


def view(values: list[int], labels: list[int], budget: int, known: bool = True) -> AttackView:
    x: Array = np.array(values, np.uint8).reshape(-1, 1, 1, 1)
    return AttackView(Samples(x, np.array(labels)), ("a", "b"), IMAGE, budget, sums if known else None)


def test_the_closest_bases_are_those_whose_features_are_nearest_to_the_target(rng: np.random.Generator) -> None:
    seen = view([9, 2, 7, 1], [0, 0, 1, 1], budget=4)
    bases, index, mu = chosen_bases(seen, 2, "zero", closest=True, balance=True, rng=rng)
    assert mu.tolist() == [0.0, 0.0]
    assert index.tolist() == [3, 1]
    assert bases.x.ravel().tolist() == [1, 2]
    assert bases.y.tolist() == [1, 0]


def test_the_target_moves_what_is_closest(rng: np.random.Generator) -> None:
    seen = view([0, 10, 50], [0, 0, 0], budget=3)  # the mean is 20: 10 is nearest, then 0
    _, index, mu = chosen_bases(seen, 2, "mean", closest=True, balance=True, rng=rng)
    assert mu.tolist() == [20.0, 1.0]
    assert index.tolist() == [1, 0]


def test_no_more_bases_are_chosen_than_the_budget_allows(rng: np.random.Generator) -> None:
    assert len(chosen_bases(view([1, 2, 3], [0, 0, 0], budget=2), 9, "zero", True, True, rng)[1]) == 2


@pytest.mark.parametrize("known", [True, False])
def test_random_bases_come_from_the_generator_and_are_balanced(known: bool) -> None:
    seen = view(list(range(20)), [0, 1] * 10, budget=20, known=known)
    draws = [
        chosen_bases(seen, 6, "zero", closest=False, balance=True, rng=np.random.default_rng(s))[1] for s in (1, 1, 2)
    ]
    assert draws[0].tolist() == draws[1].tolist() != draws[2].tolist()
    assert np.bincount(seen.base.y[draws[0]]).tolist() == [3, 3]


def test_a_row_with_nan_or_infinity_is_not_finite() -> None:
    a = torch.tensor([[[1.0, 2.0]], [[float("nan"), 0.0]], [[0.0, float("-inf")]]])
    assert finite_rows(a).tolist() == [True, False, False]
