"""What autoencoders do to their input before they encode it, and how a reconstruction is brought back."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from torch import Tensor

from circuit_artifacts.compute.saes.description import TrainingFacts
from circuit_artifacts.errors import ModelError

__all__ = ["NEEDS_INPUT", "Normalizer", "normalizer"]

NEEDS_INPUT: Final = frozenset({"layer_norm", "constant_norm_rescale"})
"""Kinds that measure each input vector, so that bringing a reconstruction back takes the input too."""

_EPSILON: Final = 1e-5  # added to the standard deviation (sae-locality spec 6)


class Normalizer(NamedTuple):
    """An affine map and the way back.

    Attributes:
        shift: subtracted first.
        divisor: the rest is divided by it.
        restore: a reconstruction is multiplied by it, before the shift is added. SAELens leaves the epsilon of
            ``layer_norm`` out here, so it is not always the divisor.
    """

    shift: Tensor | float = 0.0
    divisor: Tensor | float = 1.0
    restore: Tensor | float = 1.0

    def apply(self, x: Tensor) -> Tensor:
        """Normalise inputs (..., d_in)."""
        return (x - self.shift) / self.divisor

    def undo(self, y: Tensor) -> Tensor:
        """Bring reconstructions (..., d_in) back to the scale of the inputs."""
        return y * self.restore + self.shift


def normalizer(facts: TrainingFacts, x: Tensor | None) -> Normalizer | None:
    """The normalisation of given inputs; None if there is none.

    Args:
        facts: which kind.
        x: the inputs (..., d_in); kinds that are not in ``NEEDS_INPUT`` do without.

    Raises:
        ModelError: the inputs, or the factor of ``expected_average_only_in``, are needed and not known.
    """
    if facts.normalization == "none":
        return None
    if facts.normalization == "expected_average_only_in":
        if facts.activation_scale is None:
            problem = "the autoencoder was trained on activations scaled by a factor that its file does not state"
            remedy = "Pass activation_scale= to load_sae, or encode with mode='compat'"
            raise ModelError(problem, where="activation_scale", remedy=remedy)
        return Normalizer(divisor=1 / facts.activation_scale, restore=1 / facts.activation_scale)
    if x is None:
        problem = f"undoing {facts.normalization} takes the input that was encoded"
        raise ModelError(problem, where="x", remedy="Pass it: decode(f, 'faithful', x=x)")
    if facts.normalization == "layer_norm":
        deviation = x.std(dim=-1, keepdim=True)
        return Normalizer(x.mean(dim=-1, keepdim=True), deviation + _EPSILON, deviation)
    length = x.norm(dim=-1, keepdim=True) / math.sqrt(x.shape[-1])
    return Normalizer(divisor=length, restore=length)
