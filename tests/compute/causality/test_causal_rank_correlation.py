"""Samples of features, and rank correlations with intervals, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from circuit_artifacts.compute.causality.rank_correlation import rank_correlation, sample_features
from circuit_artifacts.errors import SchemaError

RNG = np.random.default_rng(0)
EXACT = (RNG.standard_normal((40, 12)) * 4).round() / 4  # with ties, and sums without rounding
ATP = EXACT + RNG.standard_normal((40, 12))


def test_rho_is_that_of_effects_summed_over_sequences() -> None:
    found = rank_correlation(ATP, EXACT, n_boot=10)
    expected = scipy.stats.spearmanr(ATP.sum(axis=1), EXACT.sum(axis=1))
    assert (found.n_features, found.rho) == (40, pytest.approx(expected.statistic))
    assert found.p_value == pytest.approx(expected.pvalue)
    absolute = rank_correlation(ATP, EXACT, absolute=True, n_boot=10)
    assert absolute.rho == pytest.approx(scipy.stats.spearmanr(abs(ATP.sum(axis=1)), abs(EXACT.sum(axis=1))).statistic)


def test_intervals_over_features_are_a_paired_bootstrap() -> None:
    found = rank_correlation(ATP, EXACT, n_boot=4000).over_features

    def rho(x: np.ndarray, y: np.ndarray) -> float:
        return scipy.stats.spearmanr(x, y).statistic

    data = (ATP.sum(axis=1), EXACT.sum(axis=1))
    expected = scipy.stats.bootstrap(
        data, rho, paired=True, vectorized=False, n_resamples=2000, method="percentile", rng=1
    ).confidence_interval
    assert (found.unit, found.method) == ("feature", "percentile")
    assert (found.lo, found.hi) == (pytest.approx(expected.low, abs=0.05), pytest.approx(expected.high, abs=0.03))


def test_intervals_over_sequences_resample_columns() -> None:
    found = rank_correlation(ATP, EXACT, n_boot=500, seed=3).over_sequences
    rng = np.random.default_rng(3)
    rng.integers(40, size=(500, 40))  # the features come first
    weights = rng.multinomial(12, np.full(12, 1 / 12), size=500)
    values = []
    for row in weights:
        drawn = np.repeat(np.arange(12), row)
        values.append(scipy.stats.spearmanr(ATP[:, drawn].sum(axis=1), EXACT[:, drawn].sum(axis=1)).statistic)
    np.testing.assert_allclose([found.lo, found.median, found.hi], np.quantile(values, [0.025, 0.5, 0.975]))
    assert found.unit == "sequence"


def test_equal_seeds_give_equal_intervals() -> None:
    assert rank_correlation(ATP, EXACT, n_boot=50, seed=1) == rank_correlation(ATP, EXACT, n_boot=50, seed=1)
    assert rank_correlation(ATP, EXACT, n_boot=50, seed=1) != rank_correlation(ATP, EXACT, n_boot=50, seed=2)


def test_resamples_without_an_order_are_left_out() -> None:
    """Where one feature alone differs, resamples of features without it have no order."""
    exact = np.zeros((4, 2))
    exact[0] = 1.0
    found = rank_correlation(ATP[:4, :2], exact, n_boot=200)
    assert np.isfinite([found.over_features.lo, found.over_features.hi]).all()
    assert found.over_features.n_boot < 200


def test_what_has_no_rank_correlation_is_refused() -> None:
    with pytest.raises(SchemaError, match="at least three features"):
        rank_correlation(ATP[:2], EXACT[:2])
    with pytest.raises(SchemaError, match="at least three features"):
        rank_correlation(ATP, EXACT[:, :3])
    with pytest.raises(SchemaError, match="all features are equal"):
        rank_correlation(ATP, np.zeros_like(EXACT))


def test_samples_hold_features_that_fire_from_every_decile() -> None:
    scores = np.random.default_rng(1).exponential(size=1000)
    firing = (np.arange(1000) % 4 > 0).astype(np.int64)
    found = sample_features(scores, firing, n_uniform=100, n_stratified=100, seed=1)
    for drawn in found:
        assert len(np.unique(drawn)) == len(drawn) == 100
        assert (np.diff(drawn) > 0).all()
        assert firing[drawn].all()
    alive = np.sort(scores[firing > 0])
    decile = np.searchsorted(alive, scores[found.stratified]) * 10 // len(alive)
    assert np.bincount(decile).tolist() == [10] * 10
    assert np.bincount(np.searchsorted(alive, scores[found.uniform]) * 10 // len(alive)).tolist() != [10] * 10
    np.testing.assert_array_equal(found.features, np.union1d(*found))
    again = sample_features(scores, firing, n_uniform=100, n_stratified=100, seed=1)
    np.testing.assert_array_equal(again.uniform, found.uniform)


def test_few_features_are_all_taken() -> None:
    firing = np.array([0, 1, 0, 2, 5, 1, 1])
    found = sample_features(np.arange(7.0), firing)
    assert found.uniform.tolist() == found.stratified.tolist() == [1, 3, 4, 5, 6]
    with pytest.raises(SchemaError, match="no feature fires"):
        sample_features(np.zeros(3), np.zeros(3, np.int64))
