"""Attacks that adapt: collisions apart from each other or in spite of transforms, moles below a cap or thinned."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from molebench.aims import neighbours, several, shared_out, unlike
from molebench.attacks.feature_collision import FeatureCollision
from molebench.attacks.mole_recruitment import MoleRecruitment
from molebench.attacks.noise import Noise
from molebench.attacks.random_recruitment import RandomRecruitment
from molebench.attacks.unperturbed import Unperturbed
from molebench.collision import chosen_bases, extracted
from molebench.datasets.photo_patches import PhotoPatches
from molebench.defenses.margin_filter import MarginFilter
from molebench.errors import MolebenchError
from molebench.expectation import Expected, Over, kinds_of, shifted, through, transformed
from molebench.hooks import View
from molebench.moles import check_cap, select_all, wrongly
from molebench.nets import FrozenExtractor
from molebench.squeezing import blurred, compressed, shallower
from molebench.types import AUDIO, IMAGE, Array, AttackView, Samples, fingerprint
from molebench.updates import RecruitView, Update, filled
from molebench.workspace import Workspace

ZERO = np.zeros(2, np.float32)
ALIKE = np.zeros(5, dtype=np.int64)  # labels: where all are of one class, none is barred more than another


def away(points: Array) -> Array:
    """How far each point is from its nearest neighbour."""
    gap = np.linalg.norm(points[:, None] - points[None], axis=2)
    found: Array = (gap + np.diag(np.full(len(points), np.inf))).min(axis=1)
    return found


# ------------------------------------------------------------------ points of one's own


def test_rays_are_chosen_to_be_as_unlike_as_can_be_from_the_first_on() -> None:
    angle = np.deg2rad([0, 10, 90, 50, 30])
    rays = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    assert unlike(rays, 3).tolist() == [0, 2, 3]  # 90 degrees away, then 40 and 50 from those
    assert unlike(rays, 1).tolist() == [0]
    assert sorted(unlike(rays, 9).tolist()) == [0, 1, 2, 3, 4]


def test_the_same_ray_twice_is_chosen_once_as_long_as_there_are_others() -> None:
    rays = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    assert unlike(rays, 2).tolist() == [0, 2]
    assert unlike(rays, 3).tolist() == [0, 2, 1]


def test_columns_are_shared_out_as_cheaply_as_any_even_sharing_is(rng: np.random.Generator) -> None:
    cost = rng.random((6, 3))
    mine = shared_out(cost)
    assert np.bincount(mine).tolist() == [2, 2, 2]
    least = min(cost[list(order), [0, 0, 1, 1, 2, 2]].sum() for order in permutations(range(6)))
    assert cost[np.arange(6), mine].sum() == pytest.approx(least)
    assert np.bincount(shared_out(rng.random((5, 2))), minlength=2).max() == 3  # rounded up


def test_a_point_is_no_farther_than_half_of_the_way_to_its_base() -> None:
    features = np.array([[8, 0], [0, 8], [10, 1], [1, 10], [6, 6]], np.float32)  # the median of their norms: 8.49
    mu = several(ZERO, features, ALIKE[:5], np.array([0, 1, 2, 3]), points=2, radius=0.5)
    np.testing.assert_allclose(mu, np.array([[4, 0], [0, 4], [4, 0], [0, 4]]), rtol=1e-5)  # half of 8 is nearer than r


def test_a_point_is_at_the_radius_where_its_base_is_far_enough() -> None:
    features = np.array([[30, 40], [40, -30], [0, 50]], np.float32)
    mu = several(ZERO, features, ALIKE[:3], np.arange(3), points=3, radius=0.2)
    np.testing.assert_allclose(mu, features / 5, rtol=1e-5)  # 0.2 * 50 along each one's own ray


def test_a_poison_goes_to_the_likest_ray_of_another_class() -> None:
    features = np.array([[50, 0], [49, 10], [0, 50], [10, 49]], np.float32)
    mu = several(ZERO, features, np.array([0, 1, 0, 1]), np.arange(4), points=4, radius=0.2)
    np.testing.assert_allclose(mu, several(ZERO, features, np.zeros(4, int), np.arange(4), 4, 0.2)[[1, 0, 3, 2]])


def test_points_surround_a_target_that_is_not_zero() -> None:
    target, features = np.array([2, 2], np.float32), np.array([[12, 2], [2, 12]], np.float32)
    np.testing.assert_allclose(several(target, features, ALIKE[:2], np.arange(2), 2, 0.1), [[3, 2], [2, 3]], rtol=1e-5)


def test_a_base_that_lies_at_the_target_stays_there() -> None:
    features = np.array([[0, 0], [4, 0]], np.float32)
    mu = several(ZERO, features, ALIKE[:2], np.arange(2), points=2, radius=0.1)
    assert np.isfinite(mu).all()
    assert mu[0].tolist() == [0, 0]


def test_a_neighbour_is_the_nearest_image_of_another_class_and_each_is_taken_once() -> None:
    features = np.array([[0, 0], [1, 0], [10, 0], [12, 0]], np.float32)
    labels = np.array([0, 1, 0, 1])
    mu = neighbours(features, labels, np.arange(4), np.arange(4))
    assert mu[:, 0].tolist() == [1, 0, 12, 10]


def test_where_a_class_has_too_few_others_a_neighbour_is_of_its_own_but_never_itself() -> None:
    features, labels = np.arange(5, dtype=np.float32)[:, None], np.array([0, 0, 0, 0, 1])
    mu = neighbours(features, labels, np.arange(5), np.arange(5))
    assert sorted(mu[:, 0].tolist()) == [0, 1, 2, 3, 4]
    assert (mu != features).all()
    assert labels[mu[4].astype(int)].tolist() == [0]


def test_neighbours_among_one_class_are_refused_in_a_line() -> None:
    with pytest.raises(MolebenchError, match=r"target=neighbour with 1 point.*choose points=2 or more"):
        neighbours(np.zeros((2, 1), np.float32), np.array([0, 1]), np.arange(2), np.arange(1))


# ------------------------------------------------------------------ the attack with them


def pixels(x: Tensor) -> Tensor:
    """f(x) = x."""
    return x.flatten(1)


def scenes(n: int = 12, size: int = 2) -> AttackView:
    """Random images of three classes, and pixels as features."""
    x = np.random.default_rng(5).integers(20, 250, (n, size, size, 3)).astype(np.uint8)
    return AttackView(Samples(x, np.arange(n) % 3), ("a", "b", "c"), IMAGE, n, pixels)


def collided(view: AttackView, **more: Any) -> Array:
    """The features of an attack's poisons: their pixels."""
    attack = FeatureCollision(**{"n_poison": 12, "beta": 0.0, "steps": 150, "lr": 3.0, **more})
    found: Array = attack.craft(view, np.random.default_rng(0)).samples.x.reshape(12, -1).astype(np.float64)
    return found


def test_poisons_with_points_of_their_own_stand_apart_and_are_short_all_the_same() -> None:
    view = scenes()
    norm = np.linalg.norm(view.base.x.reshape(12, -1).astype(float), axis=1)
    crowd, apart = collided(view), collided(view, points=12)
    assert away(crowd).max() < 6.0
    assert away(apart).min() > 20.0
    np.testing.assert_allclose(np.linalg.norm(apart, axis=1), 0.25 * np.median(norm), rtol=0.07)


def test_a_wider_radius_sets_points_farther_apart() -> None:
    near, far = (away(collided(scenes(), points=12, radius=r)).mean() for r in (0.2, 0.4))
    assert far == pytest.approx(2 * near, rel=0.1)


def test_poisons_share_as_many_points_as_they_are_given() -> None:
    found = collided(scenes(), points=4)
    together = np.linalg.norm(found[:, None] - found[None], axis=2) < 10.0
    assert together.sum(axis=1).tolist() == [3] * 12


def test_poisons_of_target_neighbour_lie_where_images_of_other_classes_do() -> None:
    view = scenes()
    found = collided(view, target="neighbour")
    clean = view.base.x.reshape(12, -1).astype(float)
    gap = np.linalg.norm(found[:, None] - clean[None], axis=2)
    poison = FeatureCollision(n_poison=12, target="neighbour").craft(view, np.random.default_rng(0))
    assert gap.min(axis=1).max() < 6.0
    assert sorted(gap.argmin(axis=1).tolist()) == list(range(12))
    assert (view.base.y[gap.argmin(axis=1)] != poison.samples.y).all()


def test_the_collision_ratio_is_that_of_each_poison_s_own_point() -> None:
    view, attack = scenes(), FeatureCollision(n_poison=12, points=12, steps=10)
    poison = attack.craft(view, np.random.default_rng(0))
    _, index, mu = chosen_bases(view, 12, "zero", True, True, np.random.default_rng(0), 12, 0.25)
    flat = [x.reshape(12, -1).astype(float) for x in (poison.samples.x, view.base.x[index])]
    expected = np.linalg.norm(flat[0] - mu, axis=1) / np.linalg.norm(flat[1] - mu, axis=1)
    np.testing.assert_allclose(poison.facts["collision_ratio"], expected, rtol=1e-4)
    assert len(np.unique(mu, axis=0)) == 12


@pytest.mark.parametrize("target", ["zero", "neighbour"])
@pytest.mark.parametrize("control", [Unperturbed, Noise])
def test_the_controls_have_the_same_bases_whatever_the_aims(target: Any, control: Any) -> None:
    view = scenes()
    poison = FeatureCollision(n_poison=6, target=target, points=5, steps=1).craft(view, np.random.default_rng(0))
    assert (
        control(n_poison=6, target=target).craft(view, np.random.default_rng(0)).base.tolist() == poison.base.tolist()
    )


def test_by_default_the_poisons_are_those_of_before_there_were_aims() -> None:
    view, attack = scenes(), FeatureCollision(n_poison=12, steps=20)
    before = "87c29af981b35d0b59f2a996247b61fa380b2ab2f7376dc70c86209e55d7606b"
    poison = attack.craft(view, np.random.default_rng(0))
    assert fingerprint(poison.samples.x, poison.base) == before
    for same in (replace(attack, points=1, radius=3.0), replace(attack, draws=7)):
        assert same.craft(view, np.random.default_rng(0)).sha256 == poison.sha256


# ------------------------------------------------------------------ in expectation over transforms


def test_the_descended_distance_is_the_mean_over_the_input_and_its_copies() -> None:
    x, mu = torch.arange(32.0).reshape(2, 16), np.full((2, 16), 3.0, np.float32)
    seen = Expected(pixels, ("shift",), 2, AUDIO, np.random.default_rng(0))
    again = np.random.default_rng(0)
    copies = [x, *(transformed(x, str(again.choice(("shift",))), AUDIO, again) for _ in range(2))]
    expected = torch.stack([(pixels(c) - 3.0).square().sum(dim=1) for c in copies]).mean(dim=0)
    torch.testing.assert_close((seen(x) - torch.from_numpy(seen.aim(mu))).square().sum(dim=1), expected)


def test_a_squeeze_without_a_gradient_passes_it_as_if_it_were_not_there() -> None:
    x = torch.tensor([[[[10.0, 20.0, 30.0]]]], requires_grad=True)
    squeezed = through(x, IMAGE, lambda stored: shallower(stored, 1))
    assert squeezed.flatten().tolist() == [0.0, 0.0, 0.0]
    (gradient,) = torch.autograd.grad((squeezed * torch.tensor([1.0, 2.0, 3.0])).sum(), x)
    assert gradient.flatten().tolist() == [1.0, 2.0, 3.0]


def test_a_shift_rolls_by_a_sixteenth_at_most_along_each_axis() -> None:
    rng, x = np.random.default_rng(0), torch.zeros(1, 32, 32, 1)
    x[0, 16, 16, 0] = 1.0
    found = {tuple((shifted(x, rng)[0, :, :, 0] == 1).nonzero()[0].tolist()) for _ in range(300)}
    assert found == {(16 + i, 16 + j) for i in range(-2, 3) for j in range(-2, 3)}
    assert shifted(torch.arange(160.0)[None], rng).shape == (1, 160)


@pytest.mark.parametrize("kind", ["jpeg", "bits", "median", "shift"])
def test_transforms_of_images_stay_in_range_and_change_something(kind: str) -> None:
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.float32))
    moved = transformed(x, kind, IMAGE, np.random.default_rng(2))
    assert moved.shape == x.shape
    assert 0.0 <= float(moved.min()) <= float(moved.max()) <= 255.0
    assert not torch.equal(moved, x)


def test_sounds_have_every_transform_but_jpeg() -> None:
    assert kinds_of("any", IMAGE) == ("jpeg", "bits", "median", "shift")
    assert kinds_of("any", AUDIO) == ("bits", "median", "shift")
    assert kinds_of("none", AUDIO) == ()
    with pytest.raises(MolebenchError, match="expectation=jpeg of sounds; expected bits, median, shift or any"):
        kinds_of("jpeg", AUDIO)
    x = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (2, 400)).astype(np.float32))
    for kind in kinds_of("any", AUDIO):
        moved = transformed(x, kind, AUDIO, np.random.default_rng(1))
        assert moved.shape == x.shape
        assert float(moved.abs().max()) <= 1.0


def fine_and_coarse(x: Tensor) -> Tensor:
    """One feature: three times a checkerboard's share in an image, and how much lighter its left half is."""
    rows, columns = torch.arange(16)[:, None], torch.arange(16)[None]
    fine, coarse = 1.0 - 2.0 * ((rows + columns) % 2), torch.where(columns < 8, 1.0, -1.0).expand(16, 16)
    return ((3 * fine + coarse) * x.mean(dim=3)).mean(dim=(1, 2))[:, None]


def left_over(x: Array, squeeze: Any) -> float:
    """How far from zero the feature is after a squeeze, on average."""
    found = fine_and_coarse(torch.from_numpy(np.ascontiguousarray(squeeze(x)).astype(np.float32)))
    return float(found.abs().mean())


@pytest.mark.parametrize(
    ("over", "squeeze"), [("shift", lambda x: np.roll(x, 1, axis=1)), ("any", lambda x: blurred(x, 2))]
)
def test_a_collision_in_expectation_outlives_what_it_rehearsed_and_another_does_not(over: Over, squeeze: Any) -> None:
    x = np.full((4, 16, 16, 3), 128, np.uint8)
    x[:, :, :8] += 30  # to be undone by a checkerboard, which is quicker, or by darkening the left half
    assert left_over(x, lambda x: x) == 15.0
    view = AttackView(Samples(x, np.arange(4) % 2), ("a", "b"), IMAGE, 4, fine_and_coarse)
    plain, robust = (
        FeatureCollision(n_poison=4, expectation=each, draws=4).craft(view, np.random.default_rng(0))
        for each in ("none", over)
    )
    assert left_over(plain.samples.x, squeeze) > 8.0
    assert left_over(robust.samples.x, squeeze) < 4.0
    assert plain.unmet == robust.unmet == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("over", "squeeze"), [("jpeg", lambda x: compressed(x, 50)), ("median", lambda x: blurred(x, 2))]
)
def test_on_a_real_network_what_has_no_gradient_is_outlived_too(
    over: Over, squeeze: Any, fetched: Workspace, lite0: FrozenExtractor
) -> None:
    train = PhotoPatches().load(fetched).splits["train"]
    view = AttackView(train[np.arange(0, len(train), len(train) // 4)[:4]], ("a",) * 10, IMAGE, 4, lite0)
    norm: dict[str, Any] = {}
    for each in ("none", over):
        poison = FeatureCollision(steps=40, expectation=each).craft(view, np.random.default_rng(0))
        assert poison.unmet == ()
        norm[each] = np.linalg.norm(extracted(lite0, squeeze(poison.samples.x), IMAGE), axis=1).mean()
    assert norm[over] < 0.6 * norm["none"]


def test_an_expectation_repeats_itself_and_leaves_the_global_generators_alone() -> None:
    view, attack = scenes(size=8), FeatureCollision(n_poison=12, steps=4, expectation="any")
    torch.manual_seed(1)
    theirs: Any = np.random.get_state()  # noqa: NPY002
    before = torch.get_rng_state(), theirs[1].tolist()
    first, second = (attack.craft(view, np.random.default_rng(s)).sha256 for s in (0, 0))
    assert first == second
    assert attack.craft(view, np.random.default_rng(1)).sha256 != first
    assert torch.equal(torch.get_rng_state(), before[0])
    theirs = np.random.get_state()  # noqa: NPY002
    assert theirs[1].tolist() == before[1]


# ------------------------------------------------------------------ moles below a cap

K = 3
Y = np.repeat(np.arange(K), 12)


def pool(scores: Array | None = None) -> RecruitView:
    """A pool of three classes of twelve, and a victim that is unsure of all of it."""
    x = np.arange(len(Y)).astype(np.uint8).reshape(-1, 1, 1, 1)
    found = np.random.default_rng(0).dirichlet(np.ones(K), len(Y)) if scores is None else scores
    return RecruitView(Samples(x, Y), ("ant", "bee", "cat"), 16, found)


def recruited(view: RecruitView, **more: Any) -> tuple[Update, ...]:
    """The updates of an attack."""
    attack = MoleRecruitment(**{"n": 3, **more})
    return attack.craft(view, np.random.default_rng(1)).updates


def test_under_a_cap_moles_are_the_best_of_those_that_no_wrong_class_has_more_of() -> None:
    labels = np.array([0, 1, 1, 1, 1, 2])
    scores = np.array(
        [[0.8, 0.1, 0.1], [0.6, 0.4, 0.0], [0.3, 0.5, 0.2], [0.2, 0.3, 0.5], [0.1, 0.8, 0.1], [0.0, 0.1, 0.9]]
    )
    assert wrongly(scores, labels).tolist() == pytest.approx([0.1, 0.6, 0.3, 0.5, 0.1, 0.1])
    assert select_all(scores, labels, 1)[0, 1].tolist() == [1]
    assert select_all(scores, labels, 1, most=0.3)[0, 1].tolist() == [2]  # of 1, class 0 has 0.6
    assert select_all(scores, labels, 1, most=0.5)[2, 1].tolist() == [3]
    assert select_all(scores, labels, 1, most=0.4)[2, 1].tolist() == [2]  # 3 is the best for class 2, at 0.5


@pytest.mark.parametrize("most", [0.4, 0.5, 0.6])
def test_a_margin_filter_of_the_same_threshold_misses_capped_moles_and_finds_others(most: float) -> None:
    view = pool()
    kept = {"capped": 0, "free": 0}
    for name, updates in (("capped", recruited(view, most=most)), ("free", recruited(view))):
        for moles in (update.index[update.mole] for update in updates):
            shown = View(view.base.x[moles], np.zeros((3, 1)), K, y=Y[moles], p=view.scores[moles])  # type: ignore[index]
            kept[name] += int(MarginFilter(most=most).filter_train(shown, np.random.default_rng(0)).sum())
    assert kept["capped"] == 6 * 3
    assert kept["free"] < 12


def test_too_few_images_below_the_cap_are_refused_in_a_line() -> None:
    scores = np.full((36, K), 0.2)
    scores[np.arange(36), Y] = 0.6
    scores[12:22] = [0.5, 0.4, 0.1]  # of the twelve of class 1 two are left below 0.3
    with pytest.raises(MolebenchError, match=r"3 moles of class 1 that no .* most=0\.3 of; there are 2 such images"):
        recruited(pool(scores), most=0.3)
    assert len(recruited(pool(scores), most=0.3, confounding="cat")) == 2  # other classes have enough
    check_cap(scores, Y, range(K), 12, 1.0)


# ------------------------------------------------------------------ moles thinned


def test_a_spread_update_holds_the_same_moles_in_a_larger_one_that_is_as_balanced() -> None:
    view = pool()
    for thin, plain in zip(recruited(view, spread=3), recruited(view), strict=True):
        assert thin.index[thin.mole].tolist() == plain.index[plain.mole].tolist()
        assert np.bincount(Y[thin.index]).tolist() == [9, 9, 9]
        assert len(np.unique(thin.index)) == 27
        assert thin.pairs[0].n == 3


def test_the_control_of_a_spread_update_differs_in_the_moles_alone() -> None:
    view = pool()
    attack = MoleRecruitment(n=3, spread=3).craft(view, np.random.default_rng(1))
    control = RandomRecruitment().craft(replace(view, scores=None, like=attack), np.random.default_rng(1))
    for mine, other in zip(attack.updates, control.updates, strict=True):
        assert (mine.index[~mine.mole] == other.index[~mine.mole]).all()
        assert not other.mole.any()
        assert Y[mine.index].tolist() == Y[other.index].tolist()
        assert len(np.unique(other.index)) == len(mine)


def test_a_pool_too_small_for_the_spread_is_refused() -> None:
    recruited(pool(), spread=4)  # twelve of each class
    with pytest.raises(MolebenchError, match="n=15 images of every class; class ant has 12"):
        recruited(pool(), spread=5)


def test_images_beside_moles_are_none_of_them(rng: np.random.Generator) -> None:
    update = filled(np.array([12, 13]), (), 5, Y, range(K), rng, beside=10)
    assert np.bincount(Y[update.index]).tolist() == [5, 12, 5]
    assert len(np.unique(update.index)) == 22


def test_by_default_the_recruits_are_those_of_before_there_were_caps() -> None:
    view = pool()
    before = "230e139d0ee6648fb69c99fcab222a7ebd3a2151e197da3f9fe27d04000413cc"
    found = MoleRecruitment(n=3).craft(view, np.random.default_rng(1))
    assert found.sha256 == before
    assert MoleRecruitment(n=3, most=1.0, spread=1).craft(view, np.random.default_rng(1)).sha256 == before
