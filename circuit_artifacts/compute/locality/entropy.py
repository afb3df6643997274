"""The entropy of an influence vector: over how many tokens a feature's sensitivity is spread, in bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["EPSILON", "influence_entropy"]

EPSILON = 1e-12
"""Added to every influence and to their sum. It is absolute, so H depends a little on the scale of tiny influences."""


def influence_entropy(influence: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Shannon entropy in bits of influences as shares of their sum, in float32 (locality spec 5.1 step 6).

    Equal influences give log2 T; so do influences that are all zero, through the epsilon.

    Args:
        influence: (..., T), not negative; computed in float32 whatever its dtype.

    Returns:
        (...), from 0 to log2 T up to rounding.
    """
    values = np.asarray(influence, dtype=np.float32)
    epsilon = np.float32(EPSILON)
    shares = (values + epsilon) / (values.sum(axis=-1, keepdims=True) + epsilon)
    # Their sum is not 1: an epsilon was added to each influence, but only one to the sum.
    shares /= shares.sum(axis=-1, keepdims=True)
    # A share can underflow to 0, where p log p is 0.
    logarithms = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    entropy: npt.NDArray[np.float32] = np.maximum(-(shares * logarithms).sum(axis=-1), np.float32(0))
    return entropy  # cut at 0, since a share of 1 can round to just above
