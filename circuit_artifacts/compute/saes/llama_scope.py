"""Llama Scope: ``hyperparams.json`` and ``checkpoints/final.safetensors``, trained as top-k, published as JumpReLU.

Inputs are scaled so that their average norm in the data becomes sqrt(d_in). That factor is folded into the weights, and
the one threshold of all features is multiplied by it too (sae-locality spec 6).
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Final, Literal

import torch
from pydantic import Field

from circuit_artifacts.compute.saes.autoencoder import SparseAutoencoder
from circuit_artifacts.compute.saes.description import TrainingFacts
from circuit_artifacts.compute.saes.folding import fold_input_scale
from circuit_artifacts.compute.saes.stored import SaeConfig, StoredSae
from circuit_artifacts.errors import ModelError

__all__ = ["CONFIG", "NAME", "read_llama_scope"]

NAME: Final = "llama_scope"
CONFIG: Final = "hyperparams.json"

_LAYOUT: Final = re.compile(r"[\w.-]+-L(?P<layer>\d+)[A-Z]+-\d+x/checkpoints/final\.safetensors$")
_AXES: Final = {"encoder.weight": "sd", "encoder.bias": "s", "decoder.weight": "ds", "decoder.bias": "d"}


class _Norms(SaeConfig):
    input: Annotated[float, Field(alias="in", gt=0)]
    output: Annotated[float | None, Field(alias="out", gt=0)] = None


class _Config(SaeConfig):
    d_model: int
    d_sae: int
    jump_relu_threshold: float
    dataset_average_activation_norm: _Norms
    hook_point_in: str | None = None
    hook_point_out: str | None = None
    act_fn: Literal["jumprelu"] = "jumprelu"
    norm_activation: Literal["dataset-wise"] = "dataset-wise"
    apply_decoder_bias_to_pre_encoder: Literal[False] = False


def read_llama_scope(stored: StoredSae) -> SparseAutoencoder:
    """Read the four tensors, and fold the scale of the inputs.

    Raises:
        MissingArtifactError: there is no ``hyperparams.json``.
        FormatError: it states an activation, normalisation or pre-bias that these autoencoders do not have.
        ModelError: a transcoder, tensors that are missing or unknown, or sizes that disagree.
    """
    config = stored.config(CONFIG, _Config)
    if config.hook_point_out not in {None, config.hook_point_in}:
        problem = "it reads one place of the model and writes another: a transcoder, not an autoencoder"
        raise ModelError(problem, file=stored.folder / CONFIG, where="hook_point_out", found=config.hook_point_out)
    tensors = stored.take(_AXES)
    stored.expect_widths(tensors, _AXES, d_in=config.d_model, d_sae=config.d_sae)
    scale = math.sqrt(config.d_model) / config.dataset_average_activation_norm.input
    weights = {
        "W_enc": tensors["encoder.weight"].T,
        "W_dec": tensors["decoder.weight"].T,
        "b_dec": tensors["decoder.bias"],
    }
    folded = fold_input_scale(weights, scale)
    return SparseAutoencoder(
        "jumprelu",
        folded["W_enc"],
        tensors["encoder.bias"],
        folded["W_dec"],
        folded["b_dec"],
        threshold=torch.full_like(tensors["encoder.bias"], config.jump_relu_threshold * scale),
        trained=TrainingFacts(apply_b_dec_to_input=False, normalization="none"),
        origin=stored.origin(NAME, stored.layout(_LAYOUT), hook_point=config.hook_point_in, folded_scale=scale),
    )
