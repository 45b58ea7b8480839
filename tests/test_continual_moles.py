"""Continual moles: which pairs and images an attacker recruits for each task, on scores that can be checked by eye."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from molebench import registry
from molebench.errors import MolebenchError
from molebench.released import Faults
from molebench.tasks import Tasks
from molebench.types import Array, Samples
from molebench.updates import Recruitment, RecruitView, Update, violations

K, EACH = 6, 20
TASKS = Tasks(((0, 1), (2, 3), (4, 5)))
LABELS = np.repeat(np.arange(K), EACH)


def made(name: str = "continual_moles", **given: Any) -> Any:
    """The attack."""
    plugin = registry.find("attacks", name)
    return plugin.build(plugin.resolve(given, "small"))


def scores(*confused: tuple[int, int, float]) -> Array:
    """P [n, k]: for each (attacked, confounding, p), every image of the confounding class scores p less a little by its
    place for the attacked one; the rest goes to the image's own class."""
    p = np.zeros((len(LABELS), K), dtype=np.float32)
    for a, c, top in confused:
        mine = np.flatnonzero(c == LABELS)
        p[mine, a] = top - 0.001 * np.arange(EACH)
    p[np.arange(len(p)), LABELS] = 1.0 - p.sum(axis=1)
    return p


def view(p: Array | None, batch: int = 10, tasks: Tasks | None = TASKS) -> RecruitView:
    """What the attack sees."""
    names = tuple("abcdef")
    return RecruitView(Samples(np.zeros((len(LABELS), 2, 2, 1), np.uint8), LABELS), names, batch, scores=p, tasks=tasks)


def crafted(p: Array, seed: int = 0, **given: Any) -> Recruitment:
    """Its recruitment."""
    found: Recruitment = made(**given).craft(view(p), np.random.default_rng(seed))
    return found


def pairs(update: Update) -> list[tuple[int, int]]:
    """Its pairs, without rho and N."""
    return [(p.attacked, p.confounding) for p in update.pairs]


def test_old_classes_are_paired_with_new_ones_alone() -> None:
    """0 by 1 is within a task, 4 by 2 is backwards: neither is taken; 0 by 2, 3 by 5 are."""
    found = crafted(scores((0, 1, 0.9), (4, 2, 0.3), (0, 2, 0.6), (3, 5, 0.5)))
    assert [pairs(u) for u in found.updates] == [[], [(0, 2)], [(3, 5)]]


def test_the_first_task_gets_no_update() -> None:
    found = crafted(scores((0, 2, 0.6)))
    assert len(found.updates) == len(TASKS)
    assert len(found.updates[0]) == 0


def test_each_class_is_used_once_in_a_task_and_may_return_in_a_later_one() -> None:
    """0 is confused with 2 and 3: the larger rho wins; in the last task 0 comes again, by 4."""
    p = scores((0, 2, 0.6), (0, 3, 0.5), (1, 3, 0.4), (0, 4, 0.6))
    assert [pairs(u) for u in crafted(p).updates] == [[], [(0, 2), (1, 3)], [(0, 4)]]


def test_overlap_lets_several_new_classes_harm_one_old_class() -> None:
    p = scores((0, 2, 0.6), (0, 3, 0.5))
    assert pairs(crafted(p).updates[1]) == [(0, 2)]
    assert pairs(crafted(p, overlap=True).updates[1]) == [(0, 2), (0, 3)]


def test_no_double_attacks_a_class_in_one_task_only() -> None:
    p = scores((0, 2, 0.6), (0, 4, 0.6))
    assert [pairs(u) for u in crafted(p, no_double=True).updates] == [[], [(0, 2)], []]


def test_safe_drops_a_pair_whose_reverse_is_more_confusable_by_a_tenth() -> None:
    """rho(0, 2) is 0.3, rho(2, 0) 0.45 or 0.35."""
    for reverse, kept in ((0.45, []), (0.35, [(0, 2)])):
        p = scores((0, 2, 0.3), (2, 0, reverse))
        assert [pair for u in crafted(p, safe=True).updates for pair in pairs(u)] == kept
        assert pairs(crafted(p).updates[1]) == [(0, 2)]


def test_an_update_is_moles_of_the_chosen_and_random_images_of_the_tasks_other_classes() -> None:
    """A batch of 10 over 2 classes: N is a multiple of 5. r(0.6) = 0.56: below 0.6 - 0.001 i on average for no n of 20,
    so N = 20 = all of class 2; of class 3, 20 random ones; none of the attacked, old class."""
    update = crafted(scores((0, 2, 0.6))).updates[1]
    labels = LABELS[update.index]
    assert np.bincount(labels, minlength=K).tolist() == [0, 0, 20, 20, 0, 0]
    assert (update.mole == (labels == 2)).all()
    assert len(set(update.index.tolist())) == len(update)


def test_the_moles_are_the_images_that_score_highest() -> None:
    """With r = 0.5981 the mean of the first n scores, 0.6 - 0.0005 (n - 1), is at most r from n = 5 on."""
    update = crafted(scores((0, 2, 0.6)), r="0,0.5981").updates[1]
    assert update.index[update.mole].tolist() == list(range(2 * EACH, 2 * EACH + 5))
    assert update.pairs[0].n == 5


def test_n_is_rounded_to_a_multiple_of_the_batch_over_the_tasks_classes() -> None:
    """N = 7 goes to 5 with units of 5, to 8 with units of 4."""
    p = scores((0, 2, 0.6))
    assert int(crafted(p, r="0,0.5971").updates[1].mole.sum()) == 5
    assert int(crafted(p, r="0,0.5971", unit=4).updates[1].mole.sum()) == 8


def test_n_plus_one_takes_the_released_codes_size() -> None:
    p = scores((0, 2, 0.6))
    sizes = [crafted(p, r="0,0.5971", n_plus_one=on).updates[1].pairs[0].n for on in (False, True)]
    assert sizes == [7, 8]


def test_pairs_below_rho_min_are_left_out_and_nothing_at_all_is_said() -> None:
    assert [pairs(u) for u in crafted(scores((0, 2, 0.6)), rho_min=0.5).updates] == [[], [(0, 2)], []]
    none = crafted(scores((0, 2, 0.4)), rho_min=0.5)
    assert none.updates == ()
    assert none.unmet == ("no pair has rho >= 0.5: the largest is 0.4",)


def test_random_images_depend_on_the_generator_and_moles_do_not() -> None:
    a, b, again = (crafted(scores((0, 2, 0.6)), seed, r="0,0.5981").updates[1] for seed in (0, 1, 0))
    assert a.index[a.mole].tolist() == b.index[b.mole].tolist()
    assert a.index.tolist() == again.index.tolist() != b.index.tolist()


def test_it_keeps_to_its_threat_model() -> None:
    p = scores((0, 2, 0.6), (3, 5, 0.5))
    card = registry.find("attacks", "continual_moles").card
    assert card.threat is not None
    assert list(violations(crafted(p), view(p), card.threat)) == []


def test_as_released_switches_every_fault_on_and_each_is_a_switch_of_its_own() -> None:
    names = [f.name for f in fields(Faults)]
    assert all(getattr(made(protocol="as_released").faults, name) for name in names)
    assert made().faults == Faults()
    each: dict[str, Any] = {
        "pool": "train_and_test",
        "teacher": "just_trained",
        "memory": "reselected",
        "il2m_statistics": "doubled",
        "train_on_moles": False,
        "prototypes": "doubled",
        "attention_grad": False,
        "reset_confusion": False,
    }
    assert each.keys() == set(names)
    for name, value in each.items():
        assert made(**{name: value}).faults == Faults(**{name: True})


def test_one_task_cannot_be_attacked() -> None:
    one = view(scores((0, 2, 0.6)), tasks=Tasks((tuple(range(K)),)))
    with pytest.raises(MolebenchError, match=r"^attack continual_moles needs two tasks or more"):
        made().check(one)


def test_a_line_that_is_none_is_refused() -> None:
    with pytest.raises(MolebenchError, match=r"^r='steep'; expected published, or slope,intercept"):
        made(r="steep").check(view(None))


def test_the_control_has_random_images_of_the_same_classes_in_the_moles_places() -> None:
    p = scores((0, 2, 0.6), (3, 5, 0.5))
    attack = crafted(p, r="0,0.5981")
    shown = RecruitView(view(None).base, view(None).classes, 10, like=attack, tasks=TASKS)
    control = made("random_recruitment").craft(shown, np.random.default_rng(5))
    for mine, other in zip(attack.updates, control.updates, strict=True):
        assert LABELS[mine.index].tolist() == LABELS[other.index].tolist()
        assert mine.index[~mine.mole].tolist() == other.index[~mine.mole].tolist()
        assert not other.mole.any()
    assert attack.updates[1].index.tolist() != control.updates[1].index.tolist()


def test_random_recruitment_by_itself_draws_the_same_number_of_every_class_of_a_task() -> None:
    found = made("random_recruitment", n=7).craft(view(None), np.random.default_rng(0))
    counts = [np.bincount(LABELS[u.index], minlength=K).tolist() for u in found.updates]
    assert counts == [[0, 0, 0, 0, 0, 0], [0, 0, 7, 7, 0, 0], [0, 0, 0, 0, 7, 7]]


@pytest.mark.parametrize(
    ("given", "said"),
    [({"n": 21}, "n=21 images of every class; the smallest has 20"), ({"pairs": "a<b"}, "random_recruitment has no")],
)
def test_random_recruitment_refuses_what_it_cannot_draw(given: dict[str, Any], said: str) -> None:
    with pytest.raises(MolebenchError, match=f"^{said}"):
        made("random_recruitment", **given).check(view(None))
