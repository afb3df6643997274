"""The state dicts of the dictionary_learning library (``ae.pt``), told apart by their keys.

The published dictionaries of Pythia (sae-locality spec 6, causal-dimensionality spec 1.2) are the first kind: one
vector ``bias`` is subtracted before encoding and added after decoding. Linear layers keep their weights as
(out, in), so both matrices are used transposed.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Final

from torch import Tensor

from circuit_artifacts.compute.saes.autoencoder import Gate, SparseAutoencoder
from circuit_artifacts.compute.saes.description import SaeOrigin, TrainingFacts
from circuit_artifacts.compute.saes.stored import SaeConfig, StoredSae
from circuit_artifacts.errors import ModelError

__all__ = ["CONFIG", "NAME", "read_dictionary_learning"]

NAME: Final = "dictionary_learning"
CONFIG: Final = "config.json"

_LAYOUT: Final = re.compile(
    r"(pythia-[\w.-]+/)?(?P<site>embed|(?:attn|mlp|resid)_out_layer(?P<layer>\d+))/\d+_(?P<d_sae>\d+)/ae\.(pt|safetensors)$"
)
_LINEAR: Final = {"encoder.weight": "sd", "decoder.weight": "ds"}
_BIASED: Final = _LINEAR | {"encoder.bias": "s"}
_STANDARD: Final = _BIASED | {"bias": "d"}
_APRIL_UPDATE: Final = _BIASED | {"decoder.bias": "d"}
_TOP_K: Final = _BIASED | {"b_dec": "d"}
_GATED: Final = _LINEAR | {"decoder_bias": "d", "r_mag": "s", "gate_bias": "s", "mag_bias": "s"}
_SCALARS: Final = ("k", "threshold")
_JUMP: Final = {"W_enc": "ds", "b_enc": "s", "W_dec": "sd", "b_dec": "d", "threshold": "s"}


class _Trainer(SaeConfig):
    dict_class: str | None = None
    activation_dim: int | None = None
    dict_size: int | None = None
    layer: int | None = None
    lm_name: str | None = None
    submodule_name: str | None = None


class _Config(SaeConfig):
    trainer: _Trainer = _Trainer()


def read_dictionary_learning(stored: StoredSae) -> SparseAutoencoder:
    """Read a state dict of one of the library's classes; its ``config.json`` is not required.

    Raises:
        ModelError: keys of no known class, sizes that disagree, or a top-k dictionary whose class cannot be told.
        FormatError: the configuration cannot be understood.
    """
    has_config = (stored.folder / CONFIG).is_file()
    trainer = (stored.config(CONFIG, _Config) if has_config else _Config()).trainer
    layout = stored.layout(_LAYOUT)
    # Top-k dictionaries count k and a threshold among their tensors.
    scalars = {name: stored.tensors[name] for name in _SCALARS if "k" in stored.tensors and name in stored.tensors}
    others = {name: tensor for name, tensor in stored.tensors.items() if name not in scalars}
    stored = dataclasses.replace(stored, tensors=others)
    axes = _TOP_K if scalars else _axes(stored)
    tensors = stored.take(axes)
    stored.expect_widths(tensors, axes, d_in=trainer.activation_dim, d_sae=trainer.dict_size)
    if layout:
        stored.expect_widths(tensors, axes, d_sae=int(layout["d_sae"]))
    place = {} if layout else {"hook_point": trainer.submodule_name, "layer": trainer.layer}
    origin = stored.origin(NAME, layout, model=trainer.lm_name, **place)
    if axes is _JUMP:
        trained = TrainingFacts(apply_b_dec_to_input=False, normalization="none", assumed=("apply_b_dec_to_input",))
        w_enc, b_enc, w_dec, b_dec, threshold = (tensors[name] for name in _JUMP)
        return SparseAutoencoder("jumprelu", w_enc, b_enc, w_dec, b_dec, threshold, trained=trained, origin=origin)
    return _linear(axes, tensors, _k(stored, scalars, trainer.dict_class), origin)


def _axes(stored: StoredSae) -> dict[str, str]:
    """The kind of dictionary whose own keys the file has; the published kind if it has none."""
    marks = {"W_enc": _JUMP, "gate_bias": _GATED, "r_mag": _GATED, "decoder.bias": _APRIL_UPDATE}
    return next((axes for mark, axes in marks.items() if mark in stored.tensors), _STANDARD)


def _linear(axes: dict[str, str], tensors: dict[str, Tensor], k: int | None, origin: SaeOrigin) -> SparseAutoencoder:
    b_dec = next(tensor for name, tensor in tensors.items() if axes[name] == "d")
    # The update of April 2024 stopped subtracting the decoder's bias.
    trained = TrainingFacts(apply_b_dec_to_input=axes is not _APRIL_UPDATE, normalization="none")
    gated = axes is _GATED
    return SparseAutoencoder(
        "gated" if gated else "relu" if k is None else "topk",
        tensors["encoder.weight"].T,
        None if gated else tensors["encoder.bias"],
        tensors["decoder.weight"].T.contiguous(),  # whose rows are read one by one
        b_dec,
        k=k,
        gate=Gate(tensors["gate_bias"], tensors["r_mag"], tensors["mag_bias"]) if gated else None,
        trained=trained,
        origin=origin,
    )


def _k(stored: StoredSae, scalars: dict[str, Tensor], dict_class: str | None) -> int | None:
    if not scalars:
        return None
    if dict_class != "AutoEncoderTopK" and (dict_class or "threshold" in scalars):
        # Batch top-k has the same keys, and uses the threshold in place of k once it is trained.
        problem = "the keys are those of top-k and of batch top-k dictionaries, and only the first kind is read"
        found = dict_class or f"no dict_class in a {CONFIG}"
        raise ModelError(problem, file=stored.weights, where="k", found=found, expected="AutoEncoderTopK")
    return int(scalars["k"])
