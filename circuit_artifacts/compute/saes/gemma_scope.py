"""Gemma Scope: ``layer_L/width_W/average_l0_N/params.npz``, JumpReLU without pre-bias (sae-locality spec 6).

Some files name their arrays in lower case. Autoencoders of the token embeddings were trained on embeddings before the
model multiplies them by sqrt(d_in); here that factor is folded into the weights, so that they take what the model adds
to its residual stream.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Final

from circuit_artifacts.compute.saes.autoencoder import SparseAutoencoder
from circuit_artifacts.compute.saes.description import TrainingFacts
from circuit_artifacts.compute.saes.folding import fold_input_scale
from circuit_artifacts.compute.saes.stored import StoredSae

__all__ = ["NAME", "read_gemma_scope"]

NAME: Final = "gemma_scope"

_LAYOUT: Final = re.compile(r"(?P<site>layer_(?P<layer>\d+)|embedding)/width_[^/]+/average_l0_[^/]+/params\.npz$")
_AXES: Final = {"W_enc": "ds", "b_enc": "s", "W_dec": "sd", "b_dec": "d", "threshold": "s"}


def read_gemma_scope(stored: StoredSae) -> SparseAutoencoder:
    """Read the five arrays; there is no configuration.

    Raises:
        ModelError: arrays are missing, unknown, or disagree in size.
    """
    names = {name.lower(): name for name in _AXES}
    renamed = {names.get(name.lower(), name): tensor for name, tensor in stored.tensors.items()}
    tensors = dataclasses.replace(stored, tensors=renamed).take(_AXES)
    layout = stored.layout(_LAYOUT)
    scale = 1 / math.sqrt(len(tensors["b_dec"])) if layout and layout["site"] == "embedding" else None
    if scale is not None:
        tensors = fold_input_scale(tensors, scale)
    return SparseAutoencoder(
        "jumprelu",
        tensors["W_enc"],
        tensors["b_enc"],
        tensors["W_dec"],
        tensors["b_dec"],
        tensors["threshold"],
        trained=TrainingFacts(apply_b_dec_to_input=False, normalization="none"),
        origin=stored.origin(NAME, layout, folded_scale=scale),
    )
