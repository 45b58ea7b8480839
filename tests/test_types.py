"""The nouns: what cannot be changed, how inputs are stored, and each rule that a poison can break."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from molebench.types import (
    IMAGE,
    Array,
    AttackView,
    Modality,
    Poison,
    Samples,
    ThreatModel,
    fingerprint,
    frozen,
    malformed,
    violations,
)

AUDIO = Modality("audio", "int16", low=-1.0, high=1.0 - 2.0**-15, step=2.0**-15)


def pixels(*values: int) -> Array:
    """One-pixel images of these values."""
    return np.array(values, np.uint8).reshape(-1, 1, 1, 1)


def samples() -> Samples:
    return Samples(pixels(10, 20, 30), np.array([0, 1, 2]))


# ------------------------------------------------------------------ immutability


def test_nobody_can_write_into_samples() -> None:
    s = samples()
    for array in (s.x, s.y):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(FrozenInstanceError):
        s.x = pixels(1)  # type: ignore[misc]


def test_samples_do_not_follow_the_array_they_were_made_from() -> None:
    x, y = pixels(10, 20), np.array([0, 1])
    s = Samples(x, y)
    x[0], y[0] = 99, 9
    assert (s.x.ravel().tolist(), s.y.tolist()) == ([10, 20], [0, 1])


def test_a_read_only_view_of_a_writeable_array_is_copied() -> None:
    owner = pixels(10, 20)
    view = owner[:]
    view.flags.writeable = False
    s = Samples(view, np.array([0, 1]))
    owner[0] = 99
    assert s.x.ravel().tolist() == [10, 20]


def test_a_frozen_array_that_nobody_can_write_is_not_copied_again() -> None:
    once = frozen(pixels(1))
    assert frozen(once) is once


def test_indexing_selects_inputs_and_labels_together() -> None:
    chosen = samples()[np.array([2, 0])]
    assert (chosen.x.ravel().tolist(), chosen.y.tolist()) == ([30, 10], [2, 0])
    assert len(chosen) == 2
    assert len(samples()[:0]) == 0


def test_nobody_can_write_into_a_poison() -> None:
    facts = {"psnr": np.array([30.0, 31.0, 32.0])}
    poison = Poison(samples(), np.array([0, 1, 2]), facts)
    facts["psnr"][0] = 0.0
    assert poison.facts["psnr"].tolist() == [30.0, 31.0, 32.0]
    for array in (poison.samples.x, poison.base, poison.facts["psnr"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(TypeError):
        poison.facts["more"] = np.zeros(3)  # type: ignore[index]


def test_a_poison_is_named_by_what_reaches_the_victim_not_by_how_it_was_made() -> None:
    poison = Poison(samples(), np.array([0, 1, 2]))
    assert Poison(samples(), np.array([0, 1, 2]), {"seconds": np.ones(3)}).sha256 == poison.sha256
    assert Poison(samples(), np.array([0, 1, 1])).sha256 != poison.sha256
    assert Poison(Samples(pixels(10, 20, 31), samples().y), poison.base).sha256 != poison.sha256


def test_a_fingerprint_depends_on_bytes_shape_dtype_and_order() -> None:
    a, b = np.array([1, 2], np.uint8), np.array([3], np.uint8)
    prints = [
        fingerprint(a, b),
        fingerprint(b, a),
        fingerprint(a.reshape(2, 1), b),
        fingerprint(a.astype(np.int64), b),
        fingerprint(np.array([1, 3], np.uint8), b),
        fingerprint(np.array([1, 2, 3], np.uint8)),
    ]
    assert len(set(prints)) == len(prints)
    assert fingerprint(np.arange(6).reshape(2, 3).T) == fingerprint(np.arange(6).reshape(2, 3).T.copy())


# ------------------------------------------------------------------ modalities


def test_images_are_clipped_and_rounded_to_whole_numbers() -> None:
    stored = IMAGE.quantise(np.array([-3.0, 0.4, 0.6, 254.9, 300.0]))
    assert stored.tolist() == [0, 0, 1, 255, 255]
    assert stored.dtype == np.uint8
    assert IMAGE.peak == 255.0


@pytest.mark.parametrize("modality", [IMAGE, AUDIO], ids=lambda m: m.name)
def test_every_stored_value_survives_values_and_quantise(modality: Modality) -> None:
    info = np.iinfo(modality.dtype)
    every = np.arange(info.min, info.max + 1).astype(modality.dtype)
    values = modality.values(every)
    assert (values.min(), values.max()) == (modality.low, modality.high)
    assert modality.quantise(values).tolist() == every.tolist()


# ------------------------------------------------------------------ threat models


def test_a_threat_model_knows_its_words() -> None:
    with pytest.raises(ValueError, match=r"has \['read'\]; allowed: \['inject', 'perturb', 'recruit', 'reorder'\]"):
        ThreatModel(may=frozenset({"read", "inject"}))
    with pytest.raises(ValueError, match=r"has \['test'\]; allowed: \['data', 'defense', 'extractor', 'victim'\]"):
        ThreatModel(knows=frozenset({"test"}))


INJECT = ThreatModel(may=frozenset({"inject"}))
PERTURB = ThreatModel(may=frozenset({"inject", "perturb"}))
VIEW = AttackView(samples(), ("a", "b", "c"), IMAGE, budget=2)


def injected(*indices: int) -> Poison:
    """The bases of these indices, as they are."""
    index = np.array(indices, dtype=np.int64)
    return Poison(samples()[index], index)


def moved(by: int) -> Poison:
    """Base 0 (value 10), brighter by this."""
    return Poison(Samples(pixels(10 + by), np.array([0])), np.array([0]))


def test_unchanged_bases_within_the_budget_break_nothing() -> None:
    assert violations(injected(0, 2), VIEW, INJECT) == []


def test_no_poison_breaks_no_threat_model() -> None:
    assert violations(injected(), VIEW, ThreatModel()) == []


def test_injecting_needs_leave() -> None:
    assert "injects 1 samples" in violations(injected(0), VIEW, ThreatModel())[0]
    assert violations(injected(0), VIEW, INJECT) == []


def test_the_budget_holds() -> None:
    assert violations(injected(0, 1, 2), VIEW, INJECT) == ["poisons 3 samples; the benchmark allows 2"]
    assert violations(injected(0, 1), VIEW, INJECT) == []


def test_every_poison_names_its_base() -> None:
    nameless = Poison(samples()[:1], np.zeros(0, np.int64))
    assert violations(nameless, VIEW, INJECT) == ["1 poisons name 0 bases"]
    assert violations(injected(0), VIEW, INJECT) == []


@pytest.mark.parametrize(
    "x", [np.full((1, 2, 1, 1), 10, np.uint8), np.full((1, 1, 1, 1), 10, np.int64)], ids=["shape", "dtype"]
)
def test_a_poison_has_the_shape_and_type_of_the_data(x: Array) -> None:
    broken = violations(Poison(Samples(x, np.array([0])), np.array([0])), VIEW, PERTURB)
    assert len(broken) == 1
    assert "the data is uint8 (1, 1, 1)" in broken[0]
    assert violations(moved(0), VIEW, PERTURB) == []


@pytest.mark.parametrize("outside", [-1, 3])
def test_a_base_exists(outside: int) -> None:
    poison = Poison(samples()[:1], np.array([outside]))
    assert violations(poison, VIEW, INJECT) == ["names a base outside 0..2"]
    assert violations(injected(2), VIEW, INJECT) == []


def test_a_poison_keeps_its_bases_label() -> None:
    relabelled = Poison(Samples(pixels(10), np.array([1])), np.array([0]))
    assert violations(relabelled, VIEW, PERTURB) == ["changes a label; every poison keeps its base's true label"]
    assert violations(injected(0), VIEW, PERTURB) == []


def test_changing_an_input_needs_leave() -> None:
    assert violations(moved(1), VIEW, INJECT) == ["changes an input, which its threat model does not allow"]
    assert violations(moved(1), VIEW, PERTURB) == []


@pytest.mark.parametrize("by", [-10, 10])
def test_a_change_stays_within_the_bound_in_either_direction(by: int) -> None:
    bounded = replace(PERTURB, norm="linf", bound=9.0)
    assert violations(moved(by), VIEW, bounded) == ["changes an input by 10 in linf; the threat model allows 9"]
    assert violations(moved(by), VIEW, replace(bounded, bound=10.0)) == []


def test_the_norm_decides_what_a_change_costs() -> None:
    base = Samples(np.full((1, 2, 2, 1), 10, np.uint8), np.array([0]))
    poison = Poison(Samples(base.x + np.uint8(3), base.y), np.array([0]))  # linf 3, l2 sqrt(4 * 9) = 6
    view = replace(VIEW, base=base)
    assert violations(poison, view, replace(PERTURB, norm="linf", bound=3.0)) == []
    assert "by 6 in l2" in violations(poison, view, replace(PERTURB, norm="l2", bound=5.9))[0]
    assert violations(poison, view, replace(PERTURB, norm="l2", bound=6.0)) == []


def test_a_bound_is_in_input_units_not_in_stored_steps() -> None:
    base = Samples(np.array([[0, 0]], np.int16), np.array([0]))
    poison = Poison(Samples(np.array([[3277, 0]], np.int16), np.array([0])), np.array([0]))  # 0.1 of [-1, 1]
    view = AttackView(base, ("a",), AUDIO, budget=1)
    assert violations(poison, view, replace(PERTURB, norm="linf", bound=0.11)) == []
    assert "by 0.1 in linf" in violations(poison, view, replace(PERTURB, norm="linf", bound=0.09))[0]


def test_several_broken_rules_are_all_named() -> None:
    poison = Poison(Samples(pixels(11, 20, 30), np.array([1, 1, 2])), np.array([0, 1, 2]))
    assert len(violations(poison, VIEW, ThreatModel())) == 4  # injects, exceeds, relabels, perturbs


@pytest.mark.parametrize("fact", [np.array([np.nan]), np.array([np.inf])])
def test_a_fact_that_is_not_one_finite_number_a_poison_makes_it_malformed(fact: np.ndarray) -> None:
    poison = Poison(injected(0).samples, np.array([0]), {"odd": fact})
    assert malformed(poison, VIEW) == "fact odd is not one finite number a poison"
    assert malformed(injected(0), VIEW) == ""
