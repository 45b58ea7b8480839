"""Defenses of the active learner's pool and queries, on points that can be drawn on paper and on planted collisions."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from molebench import registry
from molebench.collision import extracted
from molebench.defenses.collision_screen import CollisionScreen, nearness, projected, strangers, unlikeness
from molebench.defenses.diversity_query import DiversityQuery, disparate, farthest
from molebench.defenses.epsilon_mix import EpsilonMix, mixed
from molebench.defenses.mahalanobis import Mahalanobis, distances, whitened
from molebench.defenses.transform_instability import TransformInstability, against, blurred, walked
from molebench.errors import MolebenchError
from molebench.heads import least_certain
from molebench.hooks import View
from molebench.metrics import auroc
from molebench.nets import FrozenExtractor
from molebench.stats import robust_z
from molebench.types import AUDIO, IMAGE, Array
from molebench.workspace import Workspace

LINE = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [20.0]], np.float32)


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def pictures(n: int, seed: int = 1) -> Array:
    """Images of noise, which are all unlike each other."""
    return np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3)).astype(np.uint8)


def seen(z: Array, x: Array | None = None, k: int = 2, **more: Any) -> View:
    """A view of items with these features, and images of noise where none are given."""
    return View(pictures(len(z)) if x is None else x, z.astype(np.float32), k, **more)


def certain(first: Array) -> Array:
    """Beliefs in two classes, by the probability of the first."""
    return np.stack([first, 1 - first], axis=1).astype(np.float32)


def photos(fetched: Workspace, lite0: FrozenExtractor, n: int) -> tuple[Array, Array, Array]:
    """Photo patches, their features and their labels."""
    plugin = registry.find("datasets", "photo_patches")
    train = plugin.build(plugin.resolve({}, "tiny")).load(fetched).splits["train"]
    some = train[np.random.default_rng(0).permutation(len(train))[:n]]
    return some.x, extracted(lite0, some.x, IMAGE), some.y


@pytest.fixture(scope="module")
def patches(fetched: Workspace, lite0: FrozenExtractor) -> tuple[Array, Array, Array]:
    """Four hundred of them."""
    return photos(fetched, lite0, 400)


def planted(z: Array, count: int, point: Array) -> tuple[Array, Array]:
    """Features of which the last `count` are moved to a point, but for a hundredth of the way; and which those are."""
    moved = z.copy()
    moved[-count:] = point + 0.01 * (z[-count:] - point)
    return moved, np.arange(len(z)) >= len(z) - count


# ------------------------------------------------------------------ collision_screen


def test_strangers_are_counted_by_how_near_and_how_unlike_they_are() -> None:
    z, x = np.array([[0.0], [0.5], [0.5], [9.0]]), np.array([[0.0], [10.0], [30.0], [10.0]])
    # nearest neighbours are 0.5, 0, 0 and 8.5 away: r = 4 * the median 0.25 = 1; unlike inputs: |10 20 20 10|, 15
    near, half = 1 - 0.5**2, (10 / 15) ** 2
    expected = [near * (half + 1), near * half + 1, near + 1, 0.0]
    assert strangers(z, x, np.arange(4), 4.0) == pytest.approx(expected)


def test_few_witnesses_stand_for_all() -> None:
    z, x = np.zeros((100, 1), np.float32), np.arange(100.0)[:, None] * 1000
    assert strangers(z, x, np.arange(0, 100, 10), 1.0)[::10] == pytest.approx(90.0)
    assert strangers(z, x, np.arange(100), 1.0) == pytest.approx(99.0)


def test_what_is_near_and_unlike_is_read_off_the_pool() -> None:
    assert nearness(LINE) == pytest.approx(1.0)  # 1 1 1 1 1 9
    assert unlikeness(LINE * 100) == pytest.approx(450.0)  # to the one before: 20, 1, 1, 8, 1, 9 hundred
    assert unlikeness(np.zeros((3, 2))) == 1.0
    assert 0 < nearness(np.zeros((3, 2))) < 1e-9
    assert nearness(LINE[:1]) > 0


def test_projections_keep_distances_and_leave_few_dimensions_alone() -> None:
    a = generator().standard_normal((40, 3000)).astype(np.float32)
    b = projected(a, generator())
    assert b.shape == (40, 128)
    ratio = np.square(b[:20] - b[20:]).sum(axis=1) / np.square(a[:20] - a[20:]).sum(axis=1)
    assert ratio.mean() == pytest.approx(1.0, abs=0.15)
    assert ratio.std() < 0.3
    assert np.array_equal(projected(LINE, generator()), LINE)
    assert np.array_equal(projected(pictures(3), generator()), pictures(3).reshape(3, 48))


@pytest.mark.parametrize("target", ["zero", "mean"])
def test_a_collision_anywhere_is_hidden_and_few_clean_photos_are(
    target: str, patches: tuple[Array, Array, Array]
) -> None:
    x, clean, _ = patches
    z, poison = planted(clean, 20, np.zeros(clean.shape[1]) if target == "zero" else clean.mean(axis=0))
    keep = CollisionScreen().screen_pool(seen(z, x), generator())
    assert not keep[poison].any()
    assert (~keep[~poison]).mean() < 0.02
    assert auroc(CollisionScreen().suspicion(seen(z, x), generator()), poison) > 0.99


def test_hardly_any_clean_photo_is_hidden(patches: tuple[Array, Array, Array]) -> None:
    x, z, _ = patches
    assert (~CollisionScreen().screen_pool(seen(z, x), generator())).mean() < 0.01


def test_copies_of_an_image_are_no_collision_and_unlike_ones_are(patches: tuple[Array, Array, Array]) -> None:
    x, clean, _ = patches
    z, many = planted(clean, 30, clean[0])
    same = x.copy()
    same[many] = x[0]
    assert CollisionScreen().screen_pool(seen(z, same), generator())[many].all()
    assert not CollisionScreen().screen_pool(seen(z, x), generator())[many].any()


def test_a_cell_may_hold_its_capacity() -> None:
    z = np.concatenate([np.arange(20.0)[:, None] * 10, np.zeros((3, 1))])
    keep = [CollisionScreen(capacity=c).screen_pool(seen(z), generator()) for c in (3.0, 1.0)]
    assert keep[0].all()
    assert np.flatnonzero(~keep[1]).tolist() == [0, 20, 21, 22]


def test_spread_over_many_points_a_collision_is_not_seen(patches: tuple[Array, Array, Array]) -> None:
    x, clean, _ = patches
    z, poison = clean.copy(), np.arange(400) >= 380
    z[poison] = clean[np.arange(10).repeat(2)] * 1.001  # two poisons at each of ten clean images
    assert CollisionScreen().screen_pool(seen(z, x), generator())[poison].mean() >= 0.9


@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_pool_at_one_point_is_kept_whole(n: int) -> None:
    for z in (np.zeros((n, 3)), np.full((n, 300), 7.0)):
        assert CollisionScreen(capacity=0.5).screen_pool(seen(z), generator()).all()
        assert np.isfinite(CollisionScreen().suspicion(seen(z), generator())).all()


def test_equal_images_are_no_strangers_wherever_their_features_are() -> None:
    x = np.full((30, 8, 8, 3), 200, np.uint8)
    z = generator().standard_normal((30, 2)).repeat(1, axis=0) * 1e-3
    assert not CollisionScreen(radius=50.0).suspicion(seen(z, x), generator()).any()


def test_sounds_collide_as_images_do() -> None:
    x = generator().integers(-3000, 3000, (60, 500)).astype(AUDIO.dtype)
    z, poison = planted(generator().standard_normal((60, 40)).astype(np.float32), 8, np.zeros(40))
    assert np.array_equal(CollisionScreen().screen_pool(seen(z, x), generator()), ~poison)


# ------------------------------------------------------------------ mahalanobis


def textbook(z: Array, mu: Array, sigma: Array) -> Array:
    """The definition, one item and one class at a time."""
    inverse = np.linalg.inv(sigma)
    return np.array([min(np.sqrt((a - m) @ inverse @ (a - m)) for m in mu) for a in z])


@pytest.mark.parametrize(("n", "d"), [(60, 5), (12, 40)])
def test_the_distance_is_that_under_scikit_learns_shrunk_covariance(n: int, d: int) -> None:
    from sklearn.covariance import LedoitWolf

    rng = generator()
    labelled = (rng.standard_normal((n, d)) @ rng.standard_normal((d, d))).astype(np.float32)
    y = np.arange(n) % 3
    mu = np.stack([labelled[y == c].mean(axis=0) for c in range(3)])
    sigma = LedoitWolf(assume_centered=True).fit((labelled - mu[y]).astype(np.float64)).covariance_
    z = rng.standard_normal((7, d)).astype(np.float32) * 5
    assert distances(z, None, labelled, y, rng) == pytest.approx(textbook(z, mu, sigma), rel=1e-3)
    own = np.array([2, 0, 1, 1, 0, 2, 2])
    expected = [textbook(a[None], mu[c][None], sigma)[0] for a, c in zip(z, own, strict=True)]
    assert distances(z, own, labelled, y, rng) == pytest.approx(np.array(expected), rel=1e-3)


def test_a_label_that_nothing_else_bears_is_measured_to_the_nearest_class() -> None:
    labelled, y = np.array([[0.0, 1.0], [0.0, -1.0], [9.0, 1.0], [9.0, -1.0]], np.float32), np.array([0, 0, 1, 1])
    z = np.array([[8.0, 0.0]], np.float32)
    alone, near, far = (float(distances(z, np.array([c]), labelled, y, generator())[0]) for c in (5, 1, 0))
    assert alone == near
    assert far > 7 * near


def test_without_residuals_distances_are_euclidean() -> None:
    labelled, z = LINE[:2], np.array([[4.0], [-2.0]], np.float32)
    assert distances(z, None, labelled, np.array([0, 1]), generator()) == pytest.approx([3.0, 2.0])
    assert np.array_equal(whitened(z, np.zeros((3, 1))), z)


def test_a_robust_z_score_is_in_median_absolute_deviations() -> None:
    assert robust_z(np.array([5.0, 6.0, 4.0, 7.0, 15.0])) * 1.4826 == pytest.approx([-1, 0, -2, 1, 9])
    assert not robust_z(np.ones(3)).any()


def gaussians(n: int, d: int = 30) -> tuple[Array, Array]:
    """Two classes of Gaussian features."""
    y = np.arange(n) % 2
    return (generator().standard_normal((n, d)) + 6 * y[:, None]).astype(np.float32), y


def test_what_no_class_explains_is_hidden_and_hardly_anything_else() -> None:
    z, y = gaussians(400)
    pool = np.concatenate([z[40:], np.full((5, 30), -20.0)])
    keep = Mahalanobis().screen_pool(seen(pool, labelled_z=z[:40], labelled_y=y[:40]), generator())
    assert not keep[-5:].any()
    assert keep[:-5].mean() > 0.98


def test_a_wrongly_labelled_item_is_not_trained_on_and_no_class_is_lost() -> None:
    z, y = gaussians(60)
    flipped = y.copy()
    flipped[:3] = 1 - y[:3]
    view = seen(z, y=flipped, labelled_z=z, labelled_y=y)
    keep = Mahalanobis().filter_train(view, generator())
    assert np.flatnonzero(~keep).tolist() == [0, 1, 2]
    alone = replace(view, y=np.where(np.arange(60) < 3, 7, y))  # their own class, which would be empty
    assert set(alone.labels[Mahalanobis(limit=0.01).filter_train(alone, generator())]) == {0, 1, 7}


def test_a_collision_at_zero_is_nearer_to_the_classes_than_clean_photos_are(
    patches: tuple[Array, Array, Array],
) -> None:
    x, clean, y = patches
    z, poison = planted(clean[40:], 20, np.zeros(clean.shape[1]))
    view = seen(z, x[40:], k=10, labelled_z=clean[:40], labelled_y=y[:40])
    assert auroc(Mahalanobis().suspicion(view, generator()), poison) < 0.2  # a negative result: it does not help
    assert Mahalanobis().screen_pool(view, generator())[poison].all()
    assert Mahalanobis().screen_pool(view, generator()).mean() > 0.97
    far, poison = planted(clean[40:], 20, np.ones(clean.shape[1]))
    assert not Mahalanobis().screen_pool(replace(view, z=far), generator())[poison].any()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_equal_features_are_all_explained(n: int) -> None:
    z, y = np.ones((n, 3)), np.arange(n) % 2
    view = seen(z, y=y, labelled_z=np.ones((n, 3), np.float32), labelled_y=y)
    assert Mahalanobis().filter_train(view, generator()).all()
    assert Mahalanobis().screen_pool(replace(view, y=None), generator()).all()


# ------------------------------------------------------------------ diversity_query


def obvious(z: Array, labelled: Array, count: int) -> list[int]:
    """Greedy k-centre by its definition."""
    chosen: list[int] = []
    for _ in range(count):
        centres = np.concatenate([labelled, z[chosen]])
        gap = np.linalg.norm(z[:, None] - centres[None], axis=2).min(axis=1)
        gap[chosen] = -1.0
        chosen.append(int(gap.argmax()))
    return chosen


def test_the_farthest_come_first_and_then_what_is_far_from_them() -> None:
    assert farthest(LINE, LINE[:1], 4).tolist() == [5, 3, 2, 1]  # at 20, 10 and 2; then 1 and 11 are as far


def test_farthest_is_the_greedy_k_centre_of_its_definition_and_of_scikit_activeml() -> None:
    from skactiveml.pool import CoreSet

    z, labelled = generator().standard_normal((50, 6)), generator().standard_normal((4, 6)) + 1
    mine = farthest(z, labelled, 20)
    assert mine.tolist() == obvious(z, labelled, 20)
    y = np.where(np.arange(54) < 50, np.nan, 0.0)
    assert mine.tolist() == CoreSet(random_state=0).query(np.concatenate([z, labelled]), y, batch_size=20).tolist()


@pytest.mark.parametrize("strategy", ["coreset", "badge"])
def test_of_a_collision_hardly_any_poison_is_asked_for(strategy: Any) -> None:
    rng = generator()
    z, poison = planted(rng.standard_normal((200, 150)).astype(np.float32), 80, np.full(150, 0.5))
    p = certain(np.where(poison, 0.5, rng.random(200) * 0.3))
    view = seen(z, p=p, labelled_z=z[:3], labelled_y=np.array([0, 1, 0]), count=20)
    assert poison[least_certain(p, 20)].all()
    chosen = DiversityQuery(strategy=strategy).select(view, rng)
    assert len(set(chosen.tolist())) == 20
    assert poison[chosen].sum() <= 2


@pytest.mark.parametrize("strategy", ["coreset", "badge"])
@pytest.mark.parametrize("count", [1, 9])
def test_copies_are_chosen_once_each_and_not_before_the_rest(strategy: Any, count: int) -> None:
    z = np.concatenate([np.full((7, 3), 0.1), 100 * np.eye(3)[:2]]).astype(np.float32)
    view = seen(z, p=certain(np.full(9, 0.4)), labelled_z=z[:1], labelled_y=np.array([0]), count=count)
    chosen = DiversityQuery(strategy=strategy).select(view, generator()).tolist()
    assert len(set(chosen)) == count
    assert chosen[0] in (7, 8)
    assert set(chosen[:2]) <= {7, 8}


@pytest.mark.parametrize("strategy", ["coreset", "badge"])
def test_equal_items_can_still_be_chosen_from(strategy: Any) -> None:
    for p in (np.full((6, 1), 1.0, np.float32), certain(np.full(6, 0.3))):
        view = seen(np.full((6, 200), 3.3), p=p, labelled_z=np.zeros((1, 200), np.float32), count=6)
        assert sorted(DiversityQuery(strategy=strategy).select(view, generator()).tolist()) == list(range(6))


def test_badge_takes_the_longest_gradient_and_then_draws_by_squared_distance() -> None:
    z, p = np.array([[1.0], [-0.5], [-0.5], [4.0]], np.float32), certain(np.array([0.4, 0.4, 0.4, 0.6]))
    # g = (p - e) z, times (1, -1): 0.4, -0.2, -0.2, -1.6; then as far from the last as from the origin at most
    drawn = np.array([disparate(z, p, 2, np.random.default_rng(s)) for s in range(120)])
    assert (drawn[:, 0] == 3).all()
    expected = np.array([0.4**2, 0.2**2, 0.2**2, 0.0])
    assert np.bincount(drawn[:, 1], minlength=4) / 120 == pytest.approx(expected / expected.sum(), abs=0.12)


def test_a_query_repeats_itself() -> None:
    z, p = generator().standard_normal((80, 300)).astype(np.float32), certain(generator().random(80))
    assert disparate(z, p, 10, generator()).tolist() == disparate(z, p, 10, generator()).tolist()


# ------------------------------------------------------------------ epsilon_mix


def test_without_epsilon_the_least_certain_are_asked_for() -> None:
    p = certain(np.linspace(0, 1, 21))
    assert mixed(p, 5, 0.0, generator()).tolist() == least_certain(p, 5).tolist()


def test_a_part_of_each_query_is_random_and_the_rest_least_certain() -> None:
    p = certain(np.linspace(0.5, 1, 40))
    for seed in range(20):
        chosen = mixed(p, 8, 0.25, np.random.default_rng(seed))
        assert chosen[:6].tolist() == [0, 1, 2, 3, 4, 5]
        assert len(set(chosen.tolist())) == 8


def test_a_part_of_a_label_is_one_as_often_as_it_is_large() -> None:
    p = certain(np.linspace(0.5, 1, 1000))
    rng = generator()
    random = [int(mixed(p, 1, 0.3, rng)[0] > 0) for _ in range(1000)]
    assert np.mean(random) == pytest.approx(0.3, abs=0.05)


def test_an_attack_that_owns_every_doubt_gets_no_more_than_its_share() -> None:
    poison = np.arange(1000) < 50
    view = seen(np.zeros((1000, 1)), p=certain(np.where(poison, 0.5, 0.99)), count=20)
    rng = generator()
    got = [poison[EpsilonMix(epsilon=0.5).select(view, rng)].sum() for _ in range(50)]
    assert np.mean(got) == pytest.approx(10 + 10 * 40 / 990, abs=0.4)
    assert sorted(EpsilonMix().select(replace(view, count=1000), rng).tolist()) == list(range(1000))


# ------------------------------------------------------------------ transform_instability


def test_the_median_filter_takes_what_stands_alone_and_stays_within_an_image_and_a_channel() -> None:
    x = np.zeros((2, 5, 5, 3), np.uint8)
    x[0, 2, 2, 0], x[1, :, :, 1] = 255, 9
    assert not blurred(x, 3)[0].any()
    assert np.array_equal(blurred(x, 3)[1], x[1])
    sound = np.array([[0, 0, 900, 0, 0], [5, 5, 5, 5, 5]], AUDIO.dtype)
    assert blurred(sound, 3).tolist() == [[0] * 5, [5] * 5]
    assert blurred(sound, 3).dtype == sound.dtype


def test_scores_are_robust_z_scores_against_what_is_usual() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 100.0])
    judge = against(lambda which: values[which], np.arange(5))  # median 3, MAD 1
    assert judge(np.array([5, 2])) * 1.4826 == pytest.approx([97.0, 0.0])
    same = against(lambda which: np.zeros(len(which)), np.arange(3))
    assert same(np.array([0])).tolist() == [0.0]


def test_it_walks_down_the_candidates_until_enough_have_passed() -> None:
    values, asked = np.array([9.0, 9.0, 9.0, 1.0, 9.0, 1.0, 9.0, 9.0]), []

    def score(which: Array) -> Array:
        asked.extend(which.tolist())
        return values[which]

    found = walked(score, np.arange(8), 2, limit=3.5)
    assert asked == [0, 1, 2, 3, 4, 5]
    assert found.tolist() == [9, 9, 9, 1, 9, 1, 0, 0]
    assert walked(score, np.arange(8), 50, limit=3.5).tolist() == values.tolist()


@pytest.fixture(scope="module")
def collided(patches: tuple[Array, Array, Array], lite0: FrozenExtractor) -> tuple[View, Array]:
    """Sixty photo patches, six of them in a collision at zero that was made by the attack's own descent."""
    import torch

    from molebench.attacks.feature_collision import collide

    x = patches[0][:60].copy()
    poison = np.arange(60) < 6
    zero = torch.zeros(patches[1].shape[1])
    x[poison] = IMAGE.quantise(collide(lite0, torch.from_numpy(IMAGE.values(x[poison])), zero, steps=40).numpy())
    p = certain(np.where(poison, 0.5, 0.9))
    return seen(extracted(lite0, x, IMAGE), x, p=p, extractor=lite0), poison


def test_a_little_blur_gives_a_real_collision_away(collided: tuple[View, Array]) -> None:
    view, poison = collided
    made = TransformInstability(reference=40, stable=30)
    keep = made.screen_pool(view, generator())
    assert not keep[poison].any()
    assert keep[~poison].mean() > 0.95
    assert auroc(made.suspicion(view, generator()), poison) > 0.99


def test_only_those_that_would_be_asked_for_are_judged(collided: tuple[View, Array]) -> None:
    view, poison = collided
    score = TransformInstability(reference=10, stable=10).suspicion(view, generator())
    assert 16 <= (score != 0).sum() <= 30
    assert (score[poison] > 2.5).all()


def test_features_of_zero_are_no_division_by_zero(collided: tuple[View, Array]) -> None:
    view, _ = collided
    few = replace(view, x=np.zeros((3, 32, 32, 3), np.uint8), z=np.zeros_like(view.z[:3]), p=None)
    assert np.isfinite(TransformInstability().suspicion(few, generator())).all()


def test_it_needs_an_extractor_to_look_through() -> None:
    with pytest.raises(MolebenchError, match="transform_instability needs an extractor"):
        TransformInstability().screen_pool(seen(LINE), generator())
