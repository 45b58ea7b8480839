"""Defenses that train in the victim's stead: votes of neighbours, of means, of parts; a hardened extractor."""

import copy
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from molebench import registry
from molebench.collision import extracted
from molebench.defenses.adversarial_seed import AdversarialSeed, hardened, movement, worst
from molebench.defenses.dpa import ABSTAINS, Dpa, cast, certificate, digests, tallies
from molebench.defenses.knn_head import KnnHead, nearest, trimmed, voted
from molebench.errors import MolebenchError
from molebench.finetuning import batches, generators, prepared, tuned
from molebench.hooks import View
from molebench.nets import FrozenExtractor
from molebench.types import AUDIO, IMAGE, Array
from molebench.workspace import Workspace

RNG = np.random.default_rng(0)


def pictures(z: Array) -> Array:
    """Inputs as different as their features are: the same bytes for the same row."""
    return np.ascontiguousarray(z.astype(np.float32)).view(np.uint8).reshape(len(z), 1, 1, -1)


def view(z: Array, own: Array, y: Array, k: int) -> View:
    """A view of items to score, and of labelled ones."""
    z, own = z.astype(np.float32), own.astype(np.float32)
    return View(pictures(z), z, k, labelled_x=pictures(own), labelled_z=own, labelled_y=y)


def blobs(each: int, k: int = 3, d: int = 8, seed: int = 1, noise: float = 0.5) -> tuple[Array, Array]:
    """Features around k orthogonal directions, 4 long, with noise a value, and their classes."""
    rng, y = np.random.default_rng(seed), np.repeat(np.arange(k), each)
    return (np.eye(d)[y] * 4 + noise * rng.standard_normal((len(y), d))).astype(np.float32), y


# ------------------------------------------------------------------ knn_head: neighbours


def test_the_shares_of_the_nearest_are_what_scikit_learns_classifier_says() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    (own, y), (z, _) = blobs(20), blobs(10, seed=2)
    reference = KNeighborsClassifier(7).fit(own, y).predict_proba(z)
    assert voted(z, own, y, 3, 7, weighted=False) == pytest.approx(reference)


def test_a_nearer_neighbour_weighs_more_but_not_without_limit() -> None:
    own, y = np.array([[0.0], [1.0], [3.0]]), np.array([0, 1, 1])
    # distances 0, 1, 3, h = 1: weights 1, 1/2, 1/4
    assert voted(np.array([[0.0]]), own, y, 2, 3, weighted=True) == pytest.approx(np.array([[4 / 7, 3 / 7]]))
    assert voted(np.array([[0.0]]), own, y, 2, 3, weighted=False) == pytest.approx(np.array([[1 / 3, 2 / 3]]))


def test_with_fewer_labels_than_neighbours_all_vote() -> None:
    p = KnnHead(neighbours=50, weights="plain", smoothing=0.0).fit(view(np.eye(2), np.eye(2), np.array([0, 2]), 4), RNG)
    assert p == pytest.approx(np.array([[0.5, 0, 0.5, 0]] * 2))


@pytest.mark.parametrize("head", ["nn", "mean"])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_clean_classes_are_told_apart_and_the_uncertain_item_has_the_highest_entropy(head: Any, metric: Any) -> None:
    (own, y), (z, truth) = blobs(10), blobs(30, seed=2)
    between = (np.eye(8)[0] + np.eye(8)[1]) * 3
    p = KnnHead(head, metric=metric).fit(view(np.concatenate([z, between[None]]), own, y, 3), RNG)
    assert (p[:-1].argmax(axis=1) == truth).mean() > 0.98
    entropy = -(p * np.log(p)).sum(axis=1)
    assert (entropy[-1] > entropy[:-1]).mean() > 0.95
    assert p.sum(axis=1) == pytest.approx(np.ones(len(p)))


@pytest.mark.parametrize("head", ["nn", "mean"])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_one_item_one_class_equal_rows_and_zeros_are_answered_with_probabilities(head: Any, metric: Any) -> None:
    some = KnnHead(head, metric=metric)
    for own, y in ((np.ones((1, 3)), [1]), (np.ones((4, 3)), [0, 0, 1, 2]), (np.zeros((3, 3)), [2, 2, 2])):
        p = some.fit(view(np.array([[0.0, 0, 0], [1, 2, 3]]), own, np.array(y), 3), RNG)
        assert np.isfinite(p).all()
        assert p.sum(axis=1) == pytest.approx(np.ones(2))
        assert (p >= some.smoothing / 3 - 1e-12).all()


def test_a_collision_at_zero_is_near_everything_by_distance_and_nothing_by_direction() -> None:
    (own, y), (z, truth) = blobs(20, d=64, noise=0.8), blobs(30, d=64, noise=0.8, seed=2)
    zeros = 1e-3 * np.random.default_rng(5).standard_normal((30, 64))
    hit, labels = np.concatenate([own, zeros]), np.concatenate([y, np.arange(30) % 3])

    def accuracy(metric: Any) -> float:
        p = KnnHead(metric=metric).fit(view(z, hit, labels, 3), RNG)
        return float((p.argmax(axis=1) == truth).mean())

    assert accuracy("cosine") > 0.85
    assert accuracy("l2") < 0.75


# ------------------------------------------------------------------ knn_head: means


def test_a_trimmed_mean_leaves_out_the_ends_of_each_coordinate() -> None:
    z = np.array([[0.0, 5], [1, 6], [2, 7], [3, 8], [1000, -1000], [9, 9]])
    y = np.array([0, 0, 0, 0, 0, 2])
    means = trimmed(z, y, 3, 0.2)
    assert means[0] == pytest.approx([2.0, 6.0])
    assert np.isnan(means[1]).all()
    assert means[2].tolist() == [9, 9]


def test_few_collisions_move_a_trimmed_mean_less_than_the_clean_items_are_apart() -> None:
    own, y = blobs(50)
    hit = np.concatenate([own, np.full((9, 8), 100.0)])  # 9 of 59 in class 0, far away
    labels = np.concatenate([y, np.zeros(9, dtype=np.int64)])
    clean, robust, plain = trimmed(own, y, 3, 0.2), trimmed(hit, labels, 3, 0.2), trimmed(hit, labels, 3, 0.0)
    assert np.linalg.norm(robust[0] - clean[0]) < 1.0
    assert np.linalg.norm(plain[0] - clean[0]) > 20
    assert robust[1:] == pytest.approx(clean[1:], abs=1e-5)


def test_the_nearest_mean_has_the_highest_probability_and_a_class_without_items_none() -> None:
    means = np.array([[0.0, 0], [np.nan, np.nan], [2, 0]])
    p = nearest(np.array([[0.5, 0.0], [1.0, 7.0]]), means, heat=0.5)  # T = 4: logits -|z - m|^2 / 2
    assert p[0, 2] / p[0, 0] == pytest.approx(np.exp((0.25 - 2.25) / 2))
    assert p[1].tolist() == [0.5, 0, 0.5]


# ------------------------------------------------------------------ dpa


def withstood(votes: tuple[int, ...], k: int) -> int:
    """How many votes may be changed to anything before the prediction changes, by trying all."""

    def decided(v: tuple[int, ...]) -> int:
        return int(np.argmax([v.count(c) for c in range(k)]))

    for changed in range(1, len(votes) + 1):
        for which in itertools.combinations(range(len(votes)), changed):
            for new in itertools.product(range(k), repeat=changed):
                other = list(votes)
                for i, c in zip(which, new, strict=True):
                    other[i] = c
                if decided(tuple(other)) != decided(votes):
                    return changed - 1
    return len(votes)


@pytest.mark.parametrize(("parts", "k"), [(1, 2), (2, 2), (3, 3), (4, 3), (5, 2), (5, 3), (3, 1)])
def test_the_certificate_is_exactly_what_every_change_of_votes_shows(parts: int, k: int) -> None:
    every = list(itertools.product(range(k), repeat=parts))
    found = certificate(np.array(every), k)
    assert found.tolist() == [withstood(votes, k) for votes in every]


def test_the_certificate_is_no_larger_than_the_truth_where_parts_abstain() -> None:
    every = list(itertools.product((ABSTAINS, 0, 1, 2), repeat=4))
    found = certificate(np.array(every), 3)
    truth = np.array([withstood(votes, 3) for votes in every])
    assert (found <= truth).all()
    assert (found == truth).mean() > 0.9


def test_a_tie_goes_to_the_lower_class_and_withstands_nothing() -> None:
    votes = np.array([[1, 2, 1, 2, 0], [2, 1, 1, 2, 2]])
    assert tallies(votes, 3).argmax(axis=1).tolist() == [1, 2]
    assert certificate(votes, 3).tolist() == [0, 0]  # the second: 3 to 2, and the tie after one more is class 1's


def test_one_poison_more_changes_the_vote_of_one_part_at_most() -> None:
    (own, y), (z, _) = blobs(20), blobs(10, seed=2)
    rng = np.random.default_rng(7)
    before = cast(z, own, y, digests(pictures(own)), 5, 0.03)
    certain = certificate(before, 3)
    for _ in range(5):
        more = np.concatenate([own, rng.standard_normal((1, 8)).astype(np.float32) * 9])
        after = cast(z, more, np.append(y, rng.integers(3)), digests(pictures(more)), 5, 0.03)
        assert (before != after).any(axis=0).sum() <= 1
        same = tallies(before, 3).argmax(axis=1) == tallies(after, 3).argmax(axis=1)
        assert same[certain >= 1].all()
    assert (certain >= 1).any()


def test_the_order_in_which_items_come_changes_no_vote() -> None:
    (own, y), (z, _) = blobs(20), blobs(10, seed=2)
    order = np.random.default_rng(3).permutation(len(y))
    one, two = Dpa(5).fit(view(z, own, y, 3), RNG), Dpa(5).fit(view(z, own[order], y[order], 3), RNG)
    assert np.array_equal(one, two)


def test_a_part_is_a_uniform_choice_by_the_bytes_of_an_item() -> None:
    x = np.random.default_rng(1).integers(0, 256, (3000, 2, 2, 3)).astype(np.uint8)
    names = digests(x)
    counts = np.bincount([int.from_bytes(name, "big") % 5 for name in names])
    assert np.abs(counts - 600).max() < 4 * np.sqrt(3000 * 0.2 * 0.8)
    assert digests(x[7:8]) == names[7:8]


def test_parts_learn_clean_classes_and_their_shares_are_the_probabilities() -> None:
    (own, y), (z, truth) = blobs(20), blobs(30, seed=2)
    p = Dpa(5, smoothing=0.5).fit(view(z, own, y, 3), RNG)
    assert (p.argmax(axis=1) == truth).mean() > 0.95
    votes = cast(z, own, y, digests(pictures(own)), 5, 0.03)
    assert p == pytest.approx((tallies(votes, 3) + 0.5) / 6.5)


def test_a_part_of_one_class_votes_for_it_and_an_empty_one_for_nobody() -> None:
    one = np.ones((1, 2))
    votes = cast(np.eye(2), one, np.array([2]), digests(pictures(one)), 4, 0.03)
    assert sorted(votes[0].tolist()) == [ABSTAINS, ABSTAINS, ABSTAINS, 2]
    p = Dpa(4).fit(view(np.eye(2), one, np.array([2]), 3), RNG)
    assert p.argmax(axis=1).tolist() == [2, 2]
    assert p.sum(axis=1) == pytest.approx(np.ones(2))


def test_equal_items_and_features_of_zeros_are_learned_without_complaint(recwarn: pytest.WarningsRecorder) -> None:
    p = Dpa(2).fit(view(np.zeros((2, 3)), np.zeros((6, 3)), np.array([0, 1, 2] * 2), 3), RNG)
    assert p.sum(axis=1) == pytest.approx(np.ones(2))
    assert not recwarn.list


# ------------------------------------------------------------------ fine-tuning and adversarial_seed


def bent(x: torch.Tensor) -> torch.Tensor:
    """Features of tiny images: three sums of pixels, one of them steep."""
    h = x.flatten(1)
    return torch.stack([h[:, 0] * 5, h[:, 1], h[:, 2] * h[:, 2] / 255], dim=1)


def test_the_worst_image_is_within_eps_in_range_and_farther_than_random_ones() -> None:
    x = torch.tensor([4.0, 100, 200, 255]).repeat(6, 1).view(6, 2, 2, 1)
    order, still = generators(np.random.default_rng(0), 1)[0], bent(x)
    far = worst(bent, x, still, 8.0, 2, order)
    assert (far - x).abs().max() <= 8.0
    assert far.min() >= 0
    assert far.max() <= 255
    assert not far.requires_grad
    random = torch.clamp(x + 8 * (2 * torch.rand(x.shape, generator=order) - 1), 0, 255)
    moved = [float((bent(v) - still).square().sum()) for v in (far, random)]
    assert moved[0] > 1.5 * moved[1]
    assert set(far[:, 0, 0, 0].tolist()) <= {0.0, 12.0}  # the steep pixel is at an end of its range


def test_movement_is_the_mean_squared_distance() -> None:
    still = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert float(movement(still + torch.tensor([[0.0, 1.0], [2.0, 0.0]]), still)) == pytest.approx((1 + 4) / 2)


def test_tuning_descends_and_its_steps_fade_to_nothing() -> None:
    net, y = nn.Linear(1, 1, bias=False), torch.zeros(8)
    net.weight.data.fill_(1.0)
    seen: list[float] = []

    def loss(layers: tuple[torch.Tensor, ...], chosen: torch.Tensor) -> torch.Tensor:
        seen.append(float(net.weight.detach()))
        return (net(torch.ones(len(chosen), 1)).squeeze(1) + layers[0] - y[chosen]).square().mean()

    order = torch.Generator().manual_seed(0)
    (bias,) = tuned(net, (torch.zeros(1),), batches(8, 4, 20, 1, order), 20, loss, 0.02, 0.0)
    walked = -np.diff(seen)
    assert len(seen) == 20
    assert walked[0] == pytest.approx(0.02, rel=1e-3)
    assert 0 < walked[-1] < 0.1 * walked[0]
    assert bias == 0  # its own step was 0
    assert not any(p.requires_grad for p in net.parameters())


@pytest.fixture(scope="module")
def labelled(fetched: Workspace, lite0: FrozenExtractor) -> View:
    """Thirty labelled photo patches of three classes, which are to be scored as well."""
    plugin = registry.find("datasets", "photo_patches")
    train = plugin.build(plugin.resolve({}, "tiny")).load(fetched).splits["train"]
    some = train[np.concatenate([np.flatnonzero(train.y == c)[:10] for c in range(3)])]
    z = extracted(lite0, some.x, IMAGE)
    return View(some.x, z, 3, labelled_x=some.x, labelled_z=z, labelled_y=some.y)


def sensitivity(f: Any, x: torch.Tensor) -> float:
    """How far two ascent steps within eps = 8 move features, as a share of their length, in squares."""
    still = f(x)
    moved = movement(f(worst(f, x, still, 8.0, 2, torch.Generator().manual_seed(9))), still)
    return float(moved / still.square().sum(dim=1).mean())


def test_after_hardening_small_noise_moves_features_less(labelled: View, lite0: FrozenExtractor) -> None:
    extractor = copy.deepcopy(lite0)
    trained = nn.Sequential(*extractor.blocks)

    def f(values: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = trained(prepared(extractor, values))
        return found

    assert labelled.labelled_y is not None
    x, y = torch.from_numpy(IMAGE.values(labelled.x)), torch.from_numpy(labelled.labelled_y.copy())
    before, scale = sensitivity(f, x), float(f(x).square().sum(dim=1).max())
    layers = (torch.zeros(1280, 3), torch.zeros(3))
    hardened(
        AdversarialSeed(steps=8, batch=15, weight=1.0),
        f,
        scale,
        trained,
        layers,
        x,
        y,
        torch.Generator().manual_seed(0),
    )
    assert sensitivity(f, x) < 0.75 * before


def test_a_hardened_extractor_learns_repeats_itself_and_leaves_the_published_one(
    labelled: View, lite0: FrozenExtractor
) -> None:
    before = {name: value.clone() for name, value in lite0.state_dict().items()}
    made = AdversarialSeed(steps=2, items=8, head_lr=0.01)
    views = [replace(labelled, extractor=copy.deepcopy(lite0)) for _ in range(2)]
    one, two = (made.fit(v, np.random.default_rng(3)) for v in views)
    assert np.array_equal(one, two)
    assert one.shape == (30, 3)
    assert (one.argmax(axis=1) == np.arange(30) // 10).mean() > 0.6
    assert all(torch.equal(value, before[name]) for name, value in lite0.state_dict().items())
    pairs = zip(lite0.blocks, views[0].extractor.blocks, strict=True)
    moved = [any(not torch.equal(a, b) for a, b in zip(o.parameters(), n.parameters(), strict=True)) for o, n in pairs]
    assert moved == [True] * (len(moved) - 1) + [False]  # the last one pools


def test_hardening_needs_blocks_and_images(labelled: View, lite0: FrozenExtractor) -> None:
    with pytest.raises(MolebenchError, match="adversarial_seed needs an extractor with trainable blocks"):
        AdversarialSeed().fit(labelled, RNG)
    sound = copy.deepcopy(lite0)
    sound.modality = AUDIO
    with pytest.raises(MolebenchError, match="is for images; for sounds try unfreeze"):
        AdversarialSeed().fit(replace(labelled, extractor=sound), RNG)


@pytest.mark.parametrize("made", [Dpa(), KnnHead()])
def test_without_labelled_items_there_is_nothing_to_fit(made: Any) -> None:
    with pytest.raises(MolebenchError, match="needs labelled items with features"):
        made.fit(View(np.zeros((1, 1, 1, 1), np.uint8), np.zeros((1, 2), np.float32), 2), RNG)
