"""From predictions to figures: by hand on six items, and against scipy where scipy has the same."""

import numpy as np
import pytest
from scipy.stats import bootstrap, f_oneway, ttest_1samp

from molebench import metrics
from molebench.metrics import DEFINITIONS, SUFFIXES, Metric, definition
from molebench.stats import percentile_interval, resamples, seed_interval, trial_interval, variance_split
from molebench.types import Array

#                    class 0   class 1   class 2
Y = np.array([0, 0, 1, 1, 2, 2])
BEFORE = np.array([0, 0, 1, 0, 2, 0])  # 1.0, 0.5, 0.5: 4 of 6
AFTER = np.array([0, 1, 1, 1, 0, 0])  # 0.5, 1.0, 0.0: 3 of 6


def test_confusion_counts_true_classes_in_rows_and_predicted_ones_in_columns() -> None:
    assert metrics.confusion(Y, BEFORE, 3).tolist() == [[2, 0, 0], [1, 1, 0], [1, 0, 1]]


def test_confusion_has_a_row_and_a_column_for_a_class_that_never_occurs() -> None:
    assert metrics.confusion(np.array([0]), np.array([0]), 2).tolist() == [[1, 0], [0, 0]]


def test_class_accuracy_of_six_items() -> None:
    right = (BEFORE == Y).astype(np.float32)
    assert metrics.class_accuracy(np.ones((1, 6), np.float32), Y, right, 3).tolist() == [[1.0, 0.5, 0.5]]


def test_a_class_without_items_has_no_accuracy_and_spoils_no_statistic(rng: np.random.Generator) -> None:
    right = (BEFORE == Y).astype(np.float32)
    assert np.isnan(metrics.class_accuracy(np.ones((1, 6), np.float32), Y, right, 4)[0, 3])
    found = metrics.deltas(Y, BEFORE, AFTER, 4, rng)
    assert found["max_delta_a"].value == pytest.approx(-50.0)


def test_deltas_of_six_items(rng: np.random.Generator) -> None:
    found = metrics.deltas(Y, BEFORE, AFTER, 3, rng)
    # Delta by class: -50, +50, -50
    assert found["delta_total"].value == pytest.approx(100 * (3 - 4) / 6)
    assert found["max_delta_a"].value == pytest.approx(-50.0)
    assert found["mean_delta_a"].value == pytest.approx(-50.0 / 3)
    assert found["p95_delta_a"].value == pytest.approx(np.percentile([-50, 50, -50], 5))


def test_a_drop_is_negative_and_a_gain_positive(rng: np.random.Generator) -> None:
    wrong = (Y + 1) % 3
    assert metrics.deltas(Y, Y, wrong, 3, rng)["delta_total"].value == -100.0
    assert metrics.deltas(Y, wrong, Y, 3, rng)["delta_total"].value == 100.0


def test_what_both_arms_get_right_or_wrong_cancels(rng: np.random.Generator) -> None:
    found = metrics.deltas(Y, BEFORE, BEFORE, 3, rng)["delta_total"]
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def arms(n: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Labels of n items and predictions of two arms, the second worse."""
    y = rng.integers(0, 5, n)
    before = np.where(rng.random(n) < 0.8, y, (y + 1) % 5)
    return y, before, np.where(rng.random(n) < 0.8, before, (y + 2) % 5)


def test_the_interval_of_delta_total_is_the_paired_percentile_bootstrap_of_scipy() -> None:
    y, before, after = arms(500, np.random.default_rng(1))
    ours = metrics.deltas(y, before, after, 5, np.random.default_rng(2))["delta_total"]
    theirs = bootstrap(
        ((before == y).astype(float), (after == y).astype(float)),
        lambda b, a, axis: 100 * (a.mean(axis=axis) - b.mean(axis=axis)),
        paired=True,
        method="percentile",
        n_resamples=9999,
        rng=np.random.default_rng(3),
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.5)
    assert ours.high == pytest.approx(theirs.high, abs=0.5)
    assert theirs.high - theirs.low > 3  # the tolerance is small against what it judges


def test_the_interval_of_an_accuracy_is_the_percentile_bootstrap_of_scipy() -> None:
    y, before, _ = arms(500, np.random.default_rng(4))
    ours = metrics.accuracy("accuracy_clean", y, before, np.random.default_rng(5))
    sample = (before == y).astype(float)
    theirs = bootstrap((sample,), np.mean, method="percentile", rng=np.random.default_rng(6)).confidence_interval
    assert ours.value == sample.mean()
    assert ours.low == pytest.approx(theirs.low, abs=0.005)
    assert ours.high == pytest.approx(theirs.high, abs=0.005)


def test_every_bootstrap_sample_has_as_many_items_as_there_are(rng: np.random.Generator) -> None:
    drawn = resamples(7, rng, times=50)
    assert drawn.shape == (50, 7)
    assert (drawn.sum(axis=1) == 7).all()
    assert len(np.unique(drawn, axis=0)) > 40


def test_the_percentile_interval_is_the_central_95_percent() -> None:
    assert percentile_interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))


@pytest.mark.parametrize("values", [[1.0, 2.0], [-3.2, -1.0, -2.5, -4.0, -2.2]])
def test_the_interval_over_seeds_is_students(values: list[float]) -> None:
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert seed_interval(values) == pytest.approx((np.mean(values), expected.low, expected.high))


def test_one_seed_has_no_interval() -> None:
    assert seed_interval([-4.0]) == (-4.0, -4.0, -4.0)


def test_the_interval_over_five_seeds_holds_the_truth_95_times_of_100() -> None:
    rng = np.random.default_rng(9)
    intervals = [seed_interval(rng.normal(-12.0, 3.0, 5).tolist()) for _ in range(2000)]
    covered = np.mean([low <= -12.0 <= high for _, low, high in intervals])
    assert 0.935 < covered < 0.965  # three standard errors of 2000 draws


def test_draws_of_one_model_are_no_trials_of_their_own() -> None:
    values, models = [-1.0, -3.0, -5.0, -7.0, -9.0, -11.0], [0, 0, 1, 1, 2, 2]
    assert trial_interval(values, models) == seed_interval([-2.0, -6.0, -10.0])
    assert trial_interval(values, [0, 1, 2, 3, 4, 5]) == seed_interval(values)
    assert trial_interval(values, [4] * 6) == seed_interval(values)  # one model: its draws are all there is


def test_the_variance_of_four_values_is_split_by_hand() -> None:
    # means 2 and 6 about 4: MS_b = 2 (4 + 4) = 16; MS_w = (1 + 1 + 1 + 1) / 2 = 2; between = (16 - 2) / 2
    assert variance_split([[1.0, 3.0], [5.0, 7.0]]) == (4.0, 7.0, 2.0)


def test_a_negative_variance_between_models_is_given_as_none() -> None:
    assert variance_split([[1.0, 5.0], [2.0, 4.0]]) == (3.0, 0.0, 5.0)


def test_the_split_of_unequal_groups_is_that_of_scipy_s_f(rng: np.random.Generator) -> None:
    groups = [(rng.normal(rng.normal(0, 3), 1, n)).tolist() for n in (2, 5, 3, 9)]
    sizes = np.array([len(group) for group in groups])
    within = sum((len(g) - 1) * np.var(g, ddof=1) for g in groups) / (sizes.sum() - 4)
    usual = sizes.mean() - np.var(sizes, ddof=1) / (4 * sizes.mean())
    expected = within * (f_oneway(*groups).statistic - 1) / usual
    assert variance_split(groups) == pytest.approx((np.mean(np.concatenate(groups)), expected, within))


def test_the_split_is_unbiased() -> None:
    rng = np.random.default_rng(8)
    found = [
        variance_split([(rng.normal(0, 10) + rng.normal(0, 2, n)).tolist() for n in (2, 3, 6, 2, 4)])
        for _ in range(4000)
    ]
    assert np.mean([f.within for f in found]) == pytest.approx(4.0, rel=0.03)
    assert np.mean([f.between for f in found]) == pytest.approx(100.0, rel=0.04)  # three standard errors


@pytest.mark.parametrize("groups", [[], [[1.0, 2.0]], [[1.0], [2.0]]])
def test_what_cannot_be_split_is_refused(groups: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="two groups and one of them two values"):
        variance_split(groups)


def test_a_count_has_no_interval_and_says_what_it_means() -> None:
    assert metrics.count("success_rate", 0.5) == Metric(0.5, None, None, DEFINITIONS["success_rate"])


def test_a_renamed_metric_keeps_its_figures_and_extends_its_meaning(rng: np.random.Generator) -> None:
    plain = metrics.deltas(Y, BEFORE, AFTER, 3, rng)
    renamed = metrics.renamed(plain, "_vs_control")
    assert renamed.keys() == {f"{name}_vs_control" for name in plain}
    before, after = plain["delta_total"], renamed["delta_total_vs_control"]
    assert (after.value, after.low, after.high) == (before.value, before.low, before.high)
    assert after.definition == before.definition + SUFFIXES["_vs_control"]


def test_every_definition_and_every_suffix_of_a_delta_is_in_words() -> None:
    deltas = ("delta_total", "max_delta_a", "p95_delta_a", "mean_delta_a")
    assert all(definition(name) == DEFINITIONS[name] for name in DEFINITIONS)
    for name in deltas:
        for suffix, meaning in SUFFIXES.items():
            assert definition(name + suffix) == DEFINITIONS[name] + meaning


def test_a_name_without_a_definition_is_an_error() -> None:
    with pytest.raises(KeyError):
        definition("delta_nonsense")
