"""The entropy of an influence profile, as the files define it (sae_locality spec 5.1, item 6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["EPSILON", "entropy_bits"]

EPSILON = 1e-12
"""Added to every influence. It is absolute: a profile of zeros has the greatest entropy, not none."""


def entropy_bits(influence: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Shannon entropy over tokens, in bits.

    Args:
        influence: raw J, not negative, (..., tokens).

    Returns:
        float64 (...), from 0 to log2 of the number of tokens.
    """
    shifted = np.asarray(influence, np.float64) + EPSILON
    share = shifted / shifted.sum(axis=-1, keepdims=True)
    entropy: npt.NDArray[np.float64] = -(share * np.log2(share)).sum(axis=-1)
    return entropy
