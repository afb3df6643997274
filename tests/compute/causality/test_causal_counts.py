"""The four rules by which a feature is causal."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit_artifacts.compute.causality.counts import (
    Calibration,
    causal_count,
    effect_calibration,
    effect_count,
    effective_count,
    mass_calibration,
    null_calibration,
    percentile_calibration,
)
from circuit_artifacts.errors import SchemaError

SCORES = np.random.default_rng(0).exponential(size=16_384)


def test_percentile_forces_the_published_count() -> None:
    """328 of 16,384 whatever the scores, so that the count at the base says nothing about a model."""
    for scores in (SCORES, SCORES**3, np.where(np.arange(16_384) < 400, SCORES, 0.0)):
        calibration = percentile_calibration(scores, base="16k")
        assert causal_count(scores, calibration) == math.ceil(0.02 * 16_384) == 328
    assert (calibration.rule, calibration.q, calibration.base) == ("percentile", 0.98, "16k")


def test_percentile_is_over_dead_features_too() -> None:
    """A percentile of the firing features alone would be another threshold."""
    scores = np.concatenate([SCORES[:1000], np.zeros(1000)])
    tau = percentile_calibration(scores, base="x", q=0.9).tau
    assert tau == pytest.approx(np.quantile(SCORES[:1000], 0.8), rel=1e-2)


def test_too_few_firing_features_for_the_percentile_fail_loudly() -> None:
    scores = np.zeros(16_384)
    scores[:300] = 1.0
    message = r"16k: the percentile .* is zero.*found 300 of 16384 features with a score, expected more than 328"
    with pytest.raises(SchemaError, match=message):
        percentile_calibration(scores, base="16k")


def test_null() -> None:
    null = np.random.default_rng(1).random((20, 500))
    calibration = null_calibration(null, base="16k")
    assert calibration.tau == np.quantile(null.ravel(), 0.999)
    assert causal_count(np.array([0.5, 1.5, 2.0]), calibration) == 2


@pytest.mark.parametrize(("noise", "tau"), [(0.0, 1e-4), (1e-5, 1e-4), (1e-3, 5e-3)])
def test_effect_size_is_above_numerical_noise(noise: float, tau: float) -> None:
    calibration = effect_calibration(noise)
    assert calibration.tau == pytest.approx(tau)
    sizes = np.array([0.0, tau * 0.99, calibration.tau, 1.0])
    assert effect_count(sizes, 400, calibration) == 200


def test_mass_is_the_fewest_features() -> None:
    scores = np.array([0.0, 4.0, 1.0, 5.0])
    assert [causal_count(scores, mass_calibration(q)) for q in (0.5, 0.51, 0.9, 0.95, 1.0)] == [1, 2, 2, 3, 3]
    assert causal_count(np.zeros(3), mass_calibration()) == 0


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.sampled_from([0.5, 0.75, 1.0]))
def test_mass_reaches_its_share_and_not_with_fewer(values: list[int], q: float) -> None:
    scores = np.array(values, np.float64)
    count = int(causal_count(scores, mass_calibration(q)))
    largest = sorted(values, reverse=True)
    assert sum(largest[:count]) >= q * sum(values)
    assert count == 0 or sum(largest[: count - 1]) < q * sum(values)


def test_effective_count() -> None:
    assert effective_count(np.array([2.0, 2.0, 2.0, 0.0])) == pytest.approx(3)
    assert effective_count(np.array([1.0, 0.0])) == pytest.approx(1)
    assert effective_count(np.zeros(4)) == 0
    p = SCORES / SCORES.sum()
    assert effective_count(SCORES) == pytest.approx(np.exp(-(p * np.log(p)).sum()))


def test_many_vectors_of_scores_are_counted_at_once() -> None:
    scores = np.random.default_rng(2).random((5, 3, 40))
    for calibration in (mass_calibration(), percentile_calibration(scores[0, 0], base="x", q=0.7)):
        found = causal_count(scores, calibration)
        assert found.shape == (5, 3)
        assert found[2, 1] == causal_count(scores[2, 1], calibration)


def test_scores_and_exact_effects_are_not_confused() -> None:
    with pytest.raises(SchemaError, match="Use effect_count"):
        causal_count(SCORES, effect_calibration(0.0))
    with pytest.raises(SchemaError, match="Use causal_count"):
        effect_count(SCORES, 10, Calibration(rule="null", q=0.999, tau=0.1, base="x"))
