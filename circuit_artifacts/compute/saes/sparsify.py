"""EleutherAI's sparsify: ``cfg.json`` and ``sae.safetensors`` in a folder named after the hook point.

Top-k of ReLU features; ``b_dec`` is subtracted from the input unless the module transcodes (sae-locality spec 6).
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import Field

from circuit_artifacts.compute.saes.autoencoder import SparseAutoencoder
from circuit_artifacts.compute.saes.description import TrainingFacts
from circuit_artifacts.compute.saes.stored import SaeConfig, StoredSae
from circuit_artifacts.errors import ModelError

__all__ = ["CONFIG", "NAME", "read_sparsify"]

NAME: Final = "sparsify"
CONFIG: Final = "cfg.json"

_LAYOUT: Final = re.compile(r"(?P<site>embed_tokens|layers\.(?P<layer>\d+)[\w.]*)/sae\.safetensors$")
_AXES: Final = {"encoder.weight": "sd", "encoder.bias": "s", "W_dec": "sd", "b_dec": "d"}


class _Config(SaeConfig):
    d_in: Annotated[int, Field(gt=0)]
    k: int
    num_latents: int = 0
    expansion_factor: Annotated[int, Field(gt=0)] | None = None
    activation: str = "topk"
    signed: Literal[False] = False
    transcode: bool = False
    skip_connection: Literal[False] = False

    @property
    def d_sae(self) -> int | None:
        return self.num_latents or (self.expansion_factor and self.expansion_factor * self.d_in)


def read_sparsify(stored: StoredSae) -> SparseAutoencoder:
    """Read the four tensors.

    Raises:
        MissingArtifactError: there is no ``cfg.json``.
        FormatError: it lacks widths or k, or asks for signed features or a skip connection.
        ModelError: an activation other than top-k, tensors that are missing or unknown, or sizes that disagree.
    """
    config = stored.config(CONFIG, _Config)
    if config.activation != "topk":
        problem = "the activation keeps the greatest feature of each group, not the top k"
        if config.activation != "groupmax":
            problem = "the activation is unknown"
        raise ModelError(
            problem,
            file=stored.folder / CONFIG,
            where="activation",
            found=config.activation,
            expected="topk",
            remedy="Read it with the sparsify library.",
        )
    tensors = stored.take(_AXES)
    stored.expect_widths(tensors, _AXES, d_in=config.d_in, d_sae=config.d_sae)
    return SparseAutoencoder(
        "topk",
        tensors["encoder.weight"].T,
        tensors["encoder.bias"],
        tensors["W_dec"],
        tensors["b_dec"],
        k=config.k,
        trained=TrainingFacts(apply_b_dec_to_input=not config.transcode, normalization="none"),
        origin=stored.origin(NAME, stored.layout(_LAYOUT)),
    )
