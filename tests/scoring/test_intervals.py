import numpy as np
import pytest
from scipy.stats import bootstrap

from slideunet.scoring.intervals import interval_of, interval_of_mean, interval_of_ratio


def test_fewer_than_three_groups_give_no_interval():
    assert interval_of_mean([0.1, 0.2, 0.9], ["a", "b", "b"]) is None
    assert interval_of_ratio([1] * 4, [1] * 4, list("aabb")) is None
    assert interval_of_mean([], []) is None


def test_is_reproducible_and_contains_the_mean():
    values, groups = np.linspace(0.5, 1.0, 12), [f"g{i % 5}" for i in range(12)]
    interval = interval_of_mean(values, groups, seed=4)
    assert interval == interval_of_mean(values, groups, seed=4)
    assert interval[0] < values.mean() < interval[1]


def test_groups_are_the_unit_of_resampling():
    """Ten copies of every slide add no evidence if they belong to the same groups."""
    values = np.array([0.2, 0.4, 0.6, 0.8, 0.9])
    few = interval_of_mean(values, list("abcde"))
    many = interval_of_mean(np.tile(values, 10), list("abcde") * 10)
    as_if_independent = interval_of_mean(np.tile(values, 10), [str(i) for i in range(50)])
    assert many == pytest.approx(few)
    assert np.ptp(as_if_independent) < 0.6 * np.ptp(many)


def test_covers_the_true_mean_about_as_often_as_promised():
    random = np.random.default_rng(0)
    hits = 0
    for trial in range(60):
        centres = random.normal(0.0, 1.0, 25)
        values = np.repeat(centres, 4) + random.normal(0.0, 0.2, 100)
        low, high = interval_of_mean(values, [str(i // 4) for i in range(100)], seed=trial)
        hits += low <= 0.0 <= high
    assert hits >= 50


def test_a_ratio_weighs_slides_by_their_denominator_and_accepts_empty_groups():
    low, high = interval_of_ratio([1800, 2, 0], [1900, 11, 0], list("abc"))
    assert 0.0 < low <= 1802 / 1911 <= high <= 1.0


@pytest.mark.parametrize("n_groups", [3, 7, 40])
def test_agrees_with_the_bootstrap_of_scipy(n_groups):
    random = np.random.default_rng(n_groups)
    above, below = random.random(n_groups), random.random(n_groups) + 0.5
    expected = bootstrap(
        (above, below),
        lambda a, b, axis=-1: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=2000,
        method="percentile",
        rng=5,
    ).confidence_interval
    groups = [f"{i:02d}" for i in range(n_groups)]
    assert interval_of_ratio(above, below, groups, seed=5) == pytest.approx(tuple(expected), rel=1e-12)


def test_resamples_without_a_value_are_left_out():
    """One of three groups has the cells in question: 8 of 27 resamples have none."""

    def derive(sums):
        return np.divide(sums[0], sums[1], out=np.full_like(sums[0], np.nan), where=sums[1] > 0)

    assert interval_of(derive, [[3, 4], [0, 0], [0, 0]], list("abc")) == (0.75, 0.75)
    assert interval_of(derive, np.zeros((3, 2)), list("abc")) is None
