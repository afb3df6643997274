"""A constant factor of the inputs, multiplied into the weights so that raw inputs can be fed."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

__all__ = ["fold_input_scale"]


def fold_input_scale(tensors: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Weights that make of x the features which the given ones make of ``scale * x``, and decode them back to x.

    Args:
        tensors: in the shapes and under the names of `SparseAutoencoder`; those of the features stay as they are.
        scale: the factor.
    """
    factors = {"W_enc": scale, "W_dec": 1 / scale, "b_dec": 1 / scale}
    return {name: tensor * factors[name] if name in factors else tensor for name, tensor in tensors.items()}
