"""Entropies of synthetic influence vectors, against float64 values from the formula (locality golden numbers)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from circuit_artifacts.compute.locality.entropy import influence_entropy

CASES = {
    "uniform": ([1, 1, 1, 1], 2.0),
    "dyadic": ([0.5, 0.25, 0.125, 0.125], 1.75),
    "one hot": ([0] * 63 + [1], 0.0),
    "all zero": ([0] * 64, 6.0),
    "below epsilon": ([1e-14] * 7 + [1e-13], 2.999400240246991),
    "a spike a little above epsilon": ([0] * 7 + [1e-6], 0.0001496186937668627),
    "geometric": ([0.9**n for n in range(64)], 4.676770704349739),
    "ramp": (list(range(1, 65)), 5.732204757514391),
}


@pytest.mark.parametrize("name", CASES)
def test_synthetic_vectors(name: str) -> None:
    influence, expected = CASES[name]
    found = influence_entropy(np.array(influence, dtype=np.float64))
    assert found.dtype == np.float32
    assert float(found) == pytest.approx(expected, abs=2e-6)


def test_rows_are_independent_and_an_empty_table_stays_empty() -> None:
    rows = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]], dtype=np.float32)
    np.testing.assert_allclose(influence_entropy(rows[None]), [[0, 1, 2]], atol=1e-6)
    assert influence_entropy(np.zeros((0, 8), dtype=np.float32)).shape == (0,)


def test_entropy_never_leaves_its_range() -> None:
    generator = np.random.default_rng(0)
    for scale in (1e-30, 1e-12, 1.0, 1e30):
        influence = (generator.random((50, 64)) ** 40 * scale).astype(np.float32)
        found = influence_entropy(influence)
        assert (found >= 0).all()
        assert (found <= math.log2(64) + 1e-5).all()


def test_one_token_has_no_entropy() -> None:
    np.testing.assert_array_equal(influence_entropy(np.array([[3.0], [0.0]])), [0, 0])
