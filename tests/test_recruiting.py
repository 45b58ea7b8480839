"""Recruiting: what may be asked for in words, updates in balance, and a control that differs in moles only."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from molebench.attacks.mole_recruitment import MoleRecruitment
from molebench.attacks.optimized_moles import OptimizedMoles
from molebench.attacks.random_recruitment import RandomRecruitment
from molebench.classnames import class_index, pair_list
from molebench.datasets.cifar10 import CLASSES as CIFAR
from molebench.datasets.fashion_mnist import CLASSES as FASHION
from molebench.errors import MolebenchError
from molebench.moles import Pair, select_moles
from molebench.recruiting import by_pair, check_pool, pairs_asked, sizes_asked
from molebench.types import Array, Samples, ThreatModel
from molebench.updates import Recruitment, RecruitView, Update, filled, violations

K = 4
NAMES = ("ant", "bee", "cat", "dog")
Y = np.arange(48) % K  # twelve of each class
ANY = ThreatModel(may=frozenset({"recruit"}))


def view(y: Array = Y, batch: int = 64, scores: Array | None = None, like: Recruitment | None = None) -> RecruitView:
    """A pool in which an image's only pixel is its number, and a victim that is unsure of all of it."""
    x = np.arange(len(y)).astype(np.uint8).reshape(-1, 1, 1, 1)
    if scores is None:
        scores = np.random.default_rng(0).dirichlet(np.ones(K), len(y))
    return RecruitView(Samples(x, y), NAMES, batch, scores, like)


def crafted(attack: Any, shown: RecruitView | None = None, seed: int = 1) -> tuple[Update, ...]:
    """The updates of an attack."""
    found: Recruitment = attack.craft(shown or view(), np.random.default_rng(seed))
    assert list(violations(found, shown or view(), ANY)) == []
    return found.updates


# ------------------------------------------------------------------ names of classes


@pytest.mark.parametrize(
    ("typed", "classes", "name"),
    [
        ("plane", CIFAR, "airplane"),
        ("car", CIFAR, "automobile"),
        ("Car", CIFAR, "automobile"),
        ("automobile", CIFAR, "automobile"),
        (" dog ", CIFAR, "dog"),
        ("ankle boot", FASHION, "ankle_boot"),
        ("boot", FASHION, "ankle_boot"),
        ("t-shirt", FASHION, "top"),
        ("shirt", FASHION, "shirt"),
        ("car", ("bus", "car"), "car"),  # a class of that very name comes before the one that it is short for
        ("3", tuple("0123456789"), "3"),
    ],
)
def test_a_class_is_known_by_its_name_and_by_the_papers_short_one(
    typed: str, classes: Sequence[str], name: str
) -> None:
    assert classes[class_index(typed, classes)] == name


def test_a_class_that_does_not_exist_is_answered_with_the_nearest() -> None:
    with pytest.raises(MolebenchError, match="no class named 'trukc'; did you mean 'truck'"):
        class_index("trukc", CIFAR)


def test_pairs_are_read_as_attacked_before_confounding() -> None:
    assert pair_list("dog<cat, car<truck", CIFAR) == [(5, 3), (1, 9)]


ODD_PAIRS = {
    "dog": "pairs='dog': expected all, or attacked<confounding pairs such as dog<cat,car<truck",
    "dog>cat": "pairs='dog>cat': expected all",
    "": "pairs='': expected all",
    "dog<cat,": "pairs='dog<cat,': expected all",
    "dog<": "no class named ''",
    "dog<cat<ant": "no class named 'cat<ant'",
    "dog<dog": "the attacked and the confounding class are both dog",
    "dog<cow": "no class named 'cow'",
}


@pytest.mark.parametrize(("text", "says"), ODD_PAIRS.items(), ids=[repr(text) for text in ODD_PAIRS])
def test_pairs_that_cannot_be_read_are_quoted_with_what_is_expected(text: str, says: str) -> None:
    with pytest.raises(MolebenchError) as refusal:
        pair_list(text, NAMES)
    assert says in str(refusal.value)


# ------------------------------------------------------------------ what is asked for


def test_without_a_class_every_ordered_pair_is_asked_for_once() -> None:
    found = pairs_asked("", "", "all", NAMES)
    assert len(found) == len(set(found)) == K * (K - 1)
    assert all(a != c for a, c in found)


def test_one_class_or_two_narrow_the_pairs_down() -> None:
    assert pairs_asked("bee", "", "all", NAMES) == [(1, 0), (1, 2), (1, 3)]
    assert pairs_asked("", "bee", "all", NAMES) == [(0, 1), (2, 1), (3, 1)]
    assert pairs_asked("bee", "dog", "all", NAMES) == [(1, 3)]
    assert pairs_asked("", "", "dog<bee,ant<cat", NAMES) == [(3, 1), (0, 2)]


def test_a_class_for_itself_and_pairs_beside_a_class_are_refused() -> None:
    with pytest.raises(MolebenchError, match="both bee; moles of a class for itself are its own best images"):
        pairs_asked("bee", "Bee", "all", NAMES)
    with pytest.raises(MolebenchError, match="pairs='dog<bee' beside attacked or confounding; give one or the other"):
        pairs_asked("ant", "", "dog<bee", NAMES)


def test_the_sizes_of_a_sweep_replace_n_and_come_in_order() -> None:
    assert sizes_asked(100, "") == [100]
    assert sizes_asked(100, "200, 25,50") == [25, 50, 200]


@pytest.mark.parametrize("text", ["25,", ",", "25,x", "0,25", "-5", "25,25", "2.5", " "])
def test_a_sweep_that_cannot_be_read_is_quoted_with_what_is_expected(text: str) -> None:
    with pytest.raises(MolebenchError, match=f"sweep_n='{text}': expected different sizes of 1 or more, such as"):
        sizes_asked(100, text)


UNFIT = {
    "more than the smallest class has": (view(), 13, "n=13 images of every class; class ant has 12 in the pool of 48"),
    "a class that is not there": (view(Y % 3), 5, "class dog has 0 in the pool of 48"),
    "a batch below k": (
        view(batch=3),
        5,
        "a batch of 3 cannot hold an image of each of 4 classes; choose victim.batch",
    ),
}


@pytest.mark.parametrize(("shown", "n", "says"), UNFIT.values(), ids=UNFIT)
def test_a_pool_that_no_balanced_update_comes_from_is_refused(shown: RecruitView, n: int, says: str) -> None:
    with pytest.raises(MolebenchError) as refusal:
        check_pool(shown, n)
    assert says in str(refusal.value)


def test_a_pool_that_just_suffices_is_not_refused() -> None:
    check_pool(view(batch=K), 12)


# ------------------------------------------------------------------ updates


def test_an_update_has_its_moles_and_n_images_of_every_other_class() -> None:
    moles = np.array([5, 1, 9])  # of class 1
    update = filled(moles, (), 3, Y, range(K), np.random.default_rng(0))
    assert update.index[:3].tolist() == [5, 1, 9]
    assert update.mole.tolist() == [True] * 3 + [False] * 9
    assert np.bincount(Y[update.index]).tolist() == [3, 3, 3, 3]
    assert len(set(update.index.tolist())) == 12


def test_classes_that_moles_come_from_get_no_random_images() -> None:
    update = filled(np.array([1, 2]), (), 2, Y, range(K), np.random.default_rng(0))  # a mole of class 1, one of class 2
    assert np.bincount(Y[update.index]).tolist() == [2, 1, 1, 2]


def test_an_update_of_size_0_is_empty() -> None:
    assert len(filled(np.zeros(0, dtype=np.int64), (), 0, Y, range(K), np.random.default_rng(0))) == 0


def test_an_update_is_nobody_s_to_change() -> None:
    index = np.array([0, 1])
    update = Update(index, np.array([True, False]))
    index[0] = 7
    assert update.index.tolist() == [0, 1]
    with pytest.raises(ValueError, match="read-only"):
        update.index[0] = 7


BROKEN = {
    "an image that is not there": (Update(np.array([0, 48]), np.zeros(2, bool)), "names an image outside 0..47"),
    "an image from behind": (Update(np.array([-1, 0]), np.zeros(2, bool)), "names an image outside 0..47"),
    "an image twice": (Update(np.array([3, 3]), np.zeros(2, bool)), "names an image twice"),
    "a pair of one class": (Update(np.array([3]), np.zeros(1, bool), (Pair(1, 1, 0.5, 1),)), "two different classes"),
    "a class that is not there": (Update(np.array([3]), np.zeros(1, bool), (Pair(0, 4, 0.5, 1),)), "classes of 0..3"),
}


@pytest.mark.parametrize(("update", "says"), BROKEN.values(), ids=BROKEN)
def test_an_update_that_cannot_be_trained_on_is_a_violation(update: Update, says: str) -> None:
    good = Update(np.array([1]), np.array([True]))
    (wrong,) = violations(Recruitment((good, update)), view(), ANY)
    assert wrong.startswith("update 1: ")
    assert says in wrong


def test_recruiting_without_leave_is_a_violation() -> None:
    (wrong,) = violations(Recruitment((Update(np.array([1]), np.array([True])),)), view(), ThreatModel())
    assert "recruits images, which its threat model does not allow" in wrong
    assert list(violations(Recruitment(()), view(), ThreatModel())) == []


def test_a_recruitment_is_named_by_what_reaches_the_victim() -> None:
    update = Update(np.array([1, 2]), np.array([True, False]), (Pair(0, 1, 0.5, 1),))
    same = Update(np.array([1, 2]), np.array([True, False]), (Pair(0, 1, 0.7, 9),))  # another belief, the same images
    others = (
        Update(np.array([2, 1]), update.mole, update.pairs),
        Update(update.index, ~update.mole, update.pairs),
        Update(update.index, update.mole, (Pair(2, 1, 0.5, 1),)),
    )
    assert Recruitment((update,)).sha256 == Recruitment((same,)).sha256
    assert len({Recruitment((u,)).sha256 for u in (update, *others)}) == 4
    assert len(Recruitment((update, same))) == 2  # moles


# ------------------------------------------------------------------ the attacks


def test_mole_recruitment_takes_the_moles_of_every_pair_best_first() -> None:
    shown = view()
    assert shown.scores is not None
    updates = crafted(MoleRecruitment(n=3), shown)
    assert [u.pairs[0][:2] for u in updates] == pairs_asked("", "", "all", NAMES)
    for update in updates:
        a, c, rho, n = update.pairs[0]
        assert update.index[:3].tolist() == select_moles(shown.scores, Y, a, c, 3).tolist()
        assert update.mole.tolist() == [True] * 3 + [False] * 9
        assert np.bincount(Y[update.index]).tolist() == [3] * K
        assert rho == np.percentile(shown.scores[c == Y, a], 99)
        assert n == 3


def test_a_sweep_tries_every_size_of_every_pair_and_a_larger_one_begins_with_the_smaller_one_s_moles() -> None:
    small, large = crafted(MoleRecruitment(attacked="ant", confounding="dog", sweep_n="5,2"))
    assert (len(small), len(large)) == (8, 20)
    assert large.index[:2].tolist() == small.index[:2].tolist()


@pytest.mark.parametrize("attack", [MoleRecruitment, RandomRecruitment])
def test_a_pair_alone_gets_the_images_that_it_gets_among_all_others(attack: Any) -> None:
    among = {u.pairs[0][:2]: u.index.tolist() for u in crafted(attack(n=3))}
    for attacked, confounding in ((0, 3), (3, 0), (2, 1)):
        (alone,) = crafted(attack(NAMES[attacked], NAMES[confounding], n=3))
        assert alone.index.tolist() == among[attacked, confounding]
    (swept, _) = crafted(attack("ant", "dog", sweep_n="3,4"))
    assert swept.index.tolist() == among[0, 3]


def test_pairs_do_not_share_their_random_images() -> None:
    draws = by_pair(np.random.default_rng(0))
    found = {tuple(draws(a, c, 5).integers(1000, size=4)) for a in range(K) for c in range(K)}
    assert len(found) == K * K
    again = by_pair(np.random.default_rng(0))
    assert again(1, 2, 5).integers(1000) == by_pair(np.random.default_rng(0))(1, 2, 5).integers(1000)
    assert [again(1, 2, 5).integers(10**9), draws(1, 2, 6).integers(10**9)] != [draws(1, 2, 5).integers(10**9)] * 2


def test_another_seed_draws_other_images_but_takes_the_same_moles() -> None:
    one, other = (crafted(MoleRecruitment("ant", "dog", n=4), seed=seed)[0] for seed in (1, 2))
    assert one.index[one.mole].tolist() == other.index[other.mole].tolist()
    assert one.index[~one.mole].tolist() != other.index[~other.mole].tolist()


def sure(mistaken: dict[tuple[int, int], float]) -> Array:
    """Beliefs that take every image of c for a with the probability given for (a, c), and are right otherwise."""
    scores = np.eye(K)[Y]
    for (a, c), p in mistaken.items():
        scores[c == Y, a] = p
    return scores / scores.sum(axis=1, keepdims=True)


def test_optimized_moles_compounds_the_pairs_that_share_no_class() -> None:
    shown = view(scores=sure({(0, 1): 0.5, (1, 0): 0.4, (2, 3): 0.3, (0, 2): 0.05}))
    (update,) = crafted(OptimizedMoles(unit=2, r="0,1"), shown)  # r = 1: one mole of each, so one unit
    assert [p[:2] for p in update.pairs] == [(0, 1), (2, 3)]
    assert update.mole.tolist() == [True] * 4 + [False] * 4
    assert Y[update.index].tolist() == [1, 1, 3, 3, 0, 0, 2, 2]


def test_optimized_moles_says_why_it_recruits_nobody() -> None:
    shown = view(scores=sure({(0, 1): 0.05}))
    found = OptimizedMoles(unit=2).craft(shown, np.random.default_rng(0))
    assert found.updates == ()
    assert found.unmet == ("no pair has rho >= 0.1: the largest is 0.0476",)


def test_optimized_moles_may_recruit_nobody_where_no_unit_is_enough() -> None:
    shown = view(scores=sure({(0, 1): 0.5}))
    found = OptimizedMoles(unit=10, min_units=0, r="0,1").craft(shown, np.random.default_rng(0))
    (update,) = found.updates
    assert (len(update), [p[:2] for p in update.pairs]) == (0, [(0, 1)])


@pytest.mark.parametrize("attack", [MoleRecruitment(n=3), OptimizedMoles(unit=3, rho_min=0.0)])
def test_what_ranks_by_scores_says_so_where_it_is_shown_none(attack: Any) -> None:
    with pytest.raises(MolebenchError, match="needs the scores of a victim"):
        attack.craft(replace(view(), scores=None), np.random.default_rng(0))


@pytest.mark.parametrize("r", ["1", "a,b", "1,2,3", "", "published,"])
def test_a_line_that_cannot_be_read_is_quoted(r: str) -> None:
    with pytest.raises(MolebenchError, match=f"r='{r}'; expected published, or slope,intercept such as 0.77,0.10"):
        OptimizedMoles(r=r, unit=2).check(view())


@pytest.mark.parametrize("r", ["nan,0", "0,inf"])
def test_a_line_that_is_not_finite_is_refused(r: str) -> None:
    with pytest.raises(MolebenchError, match=f"r='{r}'"):
        OptimizedMoles(r=r, unit=2).check(view())


# ------------------------------------------------------------------ the control


def control(attack: Any) -> tuple[tuple[Update, ...], tuple[Update, ...]]:
    """An attack's updates, and those of its control beside it."""
    updates = crafted(attack)
    return updates, crafted(RandomRecruitment(), view(like=Recruitment(updates)))


@pytest.mark.parametrize("attack", [MoleRecruitment(n=4), OptimizedMoles(unit=4, rho_min=0.0)])
def test_the_control_keeps_the_random_images_and_replaces_the_moles_by_random_ones_of_their_class(attack: Any) -> None:
    for update, other in zip(*control(attack), strict=True):
        assert other.pairs == update.pairs
        assert not other.mole.any()
        assert other.index[~update.mole].tolist() == update.index[~update.mole].tolist()
        assert Y[other.index].tolist() == Y[update.index].tolist()  # class by class, in the same places
        assert len(set(other.index.tolist())) == len(other)
        assert update.mole.any()


def test_the_control_draws_anew_for_every_pair() -> None:
    updates, others = control(MoleRecruitment(confounding="dog", n=4))
    drawn = [tuple(other.index[update.mole]) for update, other in zip(updates, others, strict=True)]
    assert len(set(drawn)) == len(drawn) == 3


def test_moles_may_be_drawn_by_the_control_as_any_other_image() -> None:
    updates, others = control(MoleRecruitment(n=10))  # ten of twelve: some must be
    assert any(set(o.index[u.mole]) & set(u.index[u.mole]) for u, o in zip(updates, others, strict=True))


def test_alone_the_control_is_a_random_update_for_every_pair() -> None:
    updates = crafted(RandomRecruitment(n=3), replace(view(), scores=None))
    assert len(updates) == K * (K - 1)
    assert all(np.bincount(Y[u.index]).tolist() == [3] * K and not u.mole.any() for u in updates)
    assert all(np.isnan(u.pairs[0].rho) for u in updates)


def test_a_pair_that_is_listed_twice_is_refused_for_it_would_count_twice() -> None:
    with pytest.raises(MolebenchError, match="3<5 comes twice"):
        pairs_asked("", "", "3<5,8<1, 3<5", tuple("0123456789"))
