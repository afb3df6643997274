"""What is known of a sparse autoencoder beside its weights: how it was trained, and where it came from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

from circuit_artifacts.errors import ModelError, UnknownNameError

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "EncodeMode",
    "Normalization",
    "SaeDescription",
    "SaeOrigin",
    "TrainingFacts",
]

Architecture = Literal["relu", "jumprelu", "topk", "gated"]
ARCHITECTURES: Final[tuple[str, ...]] = get_args(Architecture)

EncodeMode = Literal["compat", "faithful"]
"""``compat`` encodes as the published code of sae-locality does, ``faithful`` as the autoencoder was trained."""

Normalization = Literal["none", "layer_norm", "constant_norm_rescale", "expected_average_only_in"]
"""What was done to an input vector x of width d in training, in the terms of SAELens (sae-locality spec 6).

==============================  ==================================================================
``layer_norm``                  the mean is subtracted, then x divided by (standard deviation + 1e-5)
``constant_norm_rescale``       x is multiplied by sqrt(d) / norm of x
``expected_average_only_in``    x is multiplied by one factor, the same for all inputs
==============================  ==================================================================
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFacts:
    """How features were computed in training, as far as weights do not tell; faithful mode follows it.

    Attributes:
        apply_b_dec_to_input: the decoder's bias is subtracted from the input.
        normalization: what is done to the input before that.
        activation_scale: the factor of ``expected_average_only_in``; None while it is unknown.
        decoder_norm_rescaling: features are multiplied by the norms of their decoder rows before the top k are chosen.
        assumed: names of attributes that no file stated.

    Raises:
        UnknownNameError: no such normalization.
        ModelError: a factor that is not positive, or one that the normalization has no use for.
    """

    apply_b_dec_to_input: bool
    normalization: Normalization
    activation_scale: float | None = None
    decoder_norm_rescaling: bool = False
    assumed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.normalization not in get_args(Normalization):
            problem = "there is no such normalization of activations"
            raise UnknownNameError(problem, found=repr(self.normalization), expected=", ".join(get_args(Normalization)))
        if self.activation_scale is None:
            return
        if self.normalization != "expected_average_only_in":
            problem = "a scale was given for an autoencoder whose normalization has no use for it"
            raise ModelError(problem, where="activation_scale", found=self.normalization)
        if not (math.isfinite(self.activation_scale) and self.activation_scale > 0):
            problem = "the scale of the activations is not a positive number"
            raise ModelError(problem, where="activation_scale", found=self.activation_scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class SaeOrigin:
    """Where the weights came from; what a file does not say is None.

    Attributes:
        format: name of the file format.
        source: address on the Hub, or the last parts of a local path.
        dtype: of the tensors in the file.
        model: the language model.
        hook_point: the place in it, in the format's own words.
        layer: number of the block.
        folded_scale: the factor by which inputs are scaled, where reading has multiplied it into the weights.
    """

    format: str
    source: str
    dtype: str
    model: str | None = None
    hook_point: str | None = None
    layer: int | None = None
    folded_scale: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SaeDescription:
    """Everything but the weights, for provenance: `dataclasses.asdict` gives plain values.

    Attributes:
        architecture: one of ``ARCHITECTURES``.
        d_in: width of the input.
        d_sae: number of features.
        k: the most features active at once, for ``topk``.
        trained: what faithful mode follows.
        origin: None for an autoencoder that was not read from a file.
    """

    architecture: Architecture
    d_in: int
    d_sae: int
    k: int | None
    trained: TrainingFacts
    origin: SaeOrigin | None
