"""The entropy against the golden vectors (sae_locality spec 5.1)."""

from __future__ import annotations

import numpy as np
import pytest

from circuit_artifacts.sae_locality.entropy import entropy_bits


@pytest.mark.parametrize(
    ("influence", "bits"),
    [
        ([1, 1, 1, 1], 2.0),
        ([0.5, 0.25, 0.125, 0.125], 1.7500000000020002),
        (np.eye(64)[3], 2.6022674987418607e-09),
        (np.zeros(64), 6.0),
        ([1e-14] * 7 + [1e-13], 2.999400240246991),
        ([0] * 7 + [1e-6], 0.0001496186937668627),
        (0.9 ** np.arange(64), 4.676770704349739),
    ],
    ids=["uniform", "dyadic", "one token", "zeros", "below epsilon", "faint", "geometric"],
)
def test_golden_vectors(influence: list[float], bits: float) -> None:
    assert entropy_bits(np.array(influence)) == pytest.approx(bits, abs=1e-11)


def test_profiles_of_one_length_at_once() -> None:
    profiles = np.random.default_rng(0).random((3, 5, 16)).astype(np.float32)
    together = entropy_bits(profiles)
    assert together.shape == (3, 5)
    assert together[1, 2] == entropy_bits(profiles[1, 2])
