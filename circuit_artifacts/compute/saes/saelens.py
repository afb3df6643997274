"""SAELens: ``cfg.json`` and ``sae_weights.safetensors``, as its versions before and since 6 write them.

Keys that a configuration lacks stand for the library's defaults of its time; those that matter are noted as assumed.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated, Any, Final

from pydantic import AliasChoices, AliasPath, Field, StrictBool
from torch import Tensor

from circuit_artifacts.compute.saes.autoencoder import Gate, SparseAutoencoder
from circuit_artifacts.compute.saes.description import Architecture, Normalization, TrainingFacts
from circuit_artifacts.compute.saes.stored import SaeConfig, StoredSae
from circuit_artifacts.errors import ModelError

__all__ = ["CONFIG", "FACTS", "NAME", "WEIGHTS", "read_saelens"]

NAME: Final = "saelens"
CONFIG: Final = "cfg.json"
WEIGHTS: Final = "sae_weights.safetensors"
FACTS: Final = "circuit_artifacts"
"""Key of the metadata under which this package keeps what the format has no room for."""

_LAYER: Final = re.compile(r"blocks\.(\d+)\.")
_AXES: Final = {"W_enc": "ds", "b_enc": "s", "W_dec": "sd", "b_dec": "d"}
_ARCHITECTURES: Final[dict[str, tuple[Architecture, dict[str, str]]]] = {
    "standard": ("relu", _AXES),
    "topk": ("topk", _AXES),
    "jumprelu": ("jumprelu", _AXES | {"threshold": "s"}),
    "gated": ("gated", {"W_enc": "ds", "W_dec": "sd", "b_dec": "d", "b_gate": "s", "r_mag": "s", "b_mag": "s"}),
}


def _in_metadata(*names: str) -> AliasChoices:
    return AliasChoices(*names, *(AliasPath("metadata", name) for name in names))


class _Facts(SaeConfig):
    activation_scale: float | None = None
    folded_scale: float | None = None
    assumed: Annotated[tuple[str, ...], Field(strict=False)] = ()


class _Arguments(SaeConfig):
    k: int | None = None


class _Config(SaeConfig):
    d_in: int
    d_sae: int
    architecture: str = "standard"
    activation: Annotated[str, Field(validation_alias=AliasChoices("activation_fn", "activation_fn_str"))] = "relu"
    arguments: Annotated[_Arguments | None, Field(validation_alias="activation_fn_kwargs")] = None
    k: int | None = None
    apply_b_dec_to_input: StrictBool | None = None
    # Text since version 3; before that whether one factor was used.
    normalize_activations: StrictBool | Normalization | None = None
    rescale_acts_by_decoder_norm: bool = False
    hook_point: Annotated[str | None, Field(validation_alias=_in_metadata("hook_name", "hook_point"))] = None
    layer: Annotated[int | None, Field(validation_alias=_in_metadata("hook_layer", "hook_point_layer"))] = None
    model: Annotated[str | None, Field(validation_alias=_in_metadata("model_name"))] = None
    facts: Annotated[_Facts, Field(validation_alias=AliasPath("metadata", FACTS))] = _Facts()

    @property
    def normalization(self) -> Normalization:
        if isinstance(self.normalize_activations, bool):
            return "expected_average_only_in" if self.normalize_activations else "none"
        return self.normalize_activations or "none"

    @property
    def block(self) -> int | None:
        match = _LAYER.search(self.hook_point or "")
        return int(match[1]) if match and self.layer is None else self.layer


def read_saelens(stored: StoredSae) -> SparseAutoencoder:
    """Read a folder of SAELens.

    Raises:
        MissingArtifactError: there is no ``cfg.json``.
        FormatError: it lacks widths, or has a value of another type.
        ModelError: an architecture or activation that is not read, a scaling found by fine-tuning, top-k without k,
            tensors that are missing or unknown, or sizes that disagree.
    """
    config = stored.config(CONFIG, _Config)
    arch, axes = _architecture(stored, config)
    tensors = dataclasses.replace(stored, tensors=_current_names(stored)).take(_stored_axes(stored, axes))
    if "log_threshold" in tensors:
        tensors["threshold"] = tensors.pop("log_threshold").exp()
    stored.expect_widths(tensors, axes, d_in=config.d_in, d_sae=config.d_sae)
    return SparseAutoencoder(
        arch,
        tensors["W_enc"],
        tensors.get("b_enc"),
        tensors["W_dec"],
        tensors["b_dec"],
        tensors.get("threshold"),
        k=_k(stored, config) if arch == "topk" else None,
        gate=Gate(*(tensors[name] for name in Gate._fields)) if arch == "gated" else None,
        trained=_trained(config),
        origin=stored.origin(
            NAME,
            hook_point=config.hook_point,
            layer=config.block,
            model=config.model,
            folded_scale=config.facts.folded_scale,
        ),
    )


def _architecture(stored: StoredSae, config: _Config) -> tuple[Architecture, dict[str, str]]:
    # Before version 6, top-k was the standard architecture with another activation.
    name = "topk" if config.activation == "topk" else config.architecture
    where: dict[str, Any] = {"file": stored.folder / CONFIG, "remedy": "Read it with the SAELens library."}
    if name not in _ARCHITECTURES:
        problem = "autoencoders of this architecture are not read"
        raise ModelError(
            problem, **where, where="architecture", found=config.architecture, expected=", ".join(_ARCHITECTURES)
        )
    if config.activation not in {"relu", "topk"}:
        problem = "autoencoders with this activation are not read"
        raise ModelError(problem, **where, where="activation_fn", found=config.activation, expected="relu, topk")
    return _ARCHITECTURES[name]


def _current_names(stored: StoredSae) -> dict[str, Tensor]:
    """The tensors without a scaling that does nothing."""
    tensors = dict(stored.tensors)
    scaling = tensors.pop("scaling_factor", None)
    if scaling is not None and not bool((scaling == 1).all()):
        problem = "decoding would need the factors that fine-tuning found, which are not supported"
        raise ModelError(problem, file=stored.weights, where="scaling_factor", expected="ones")
    return tensors


def _stored_axes(stored: StoredSae, axes: dict[str, str]) -> dict[str, str]:
    """Names as in the file: in training the threshold was kept as its logarithm."""
    if "threshold" in axes and "threshold" not in stored.tensors and "log_threshold" in stored.tensors:
        return {"log_threshold" if name == "threshold" else name: letters for name, letters in axes.items()}
    return axes


def _k(stored: StoredSae, config: _Config) -> int:
    k = config.arguments.k if config.k is None and config.arguments else config.k
    if k is None:
        problem = "a top-k autoencoder without its k"
        raise ModelError(problem, file=stored.folder / CONFIG, where="k or activation_fn_kwargs.k")
    return k


def _trained(config: _Config) -> TrainingFacts:
    silent = {
        "apply_b_dec_to_input": config.apply_b_dec_to_input is None,
        "normalization": config.normalize_activations is None,
    }
    return TrainingFacts(
        # Version 6 always writes it; before, the library took it for true where it was absent.
        apply_b_dec_to_input=config.apply_b_dec_to_input is not False,
        normalization=config.normalization,
        activation_scale=config.facts.activation_scale,
        decoder_norm_rescaling=config.rescale_acts_by_decoder_norm,
        assumed=tuple(name for name, is_silent in silent.items() if is_silent or name in config.facts.assumed),
    )
