"""Activations of chosen features along a text: the model up to a layer, and of the autoencoder only what is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn

from circuit_artifacts.compute.hooks import recording
from circuit_artifacts.compute.models import context_length
from circuit_artifacts.compute.saes import EncodeMode, SparseAutoencoder
from circuit_artifacts.errors import ModelError, SchemaError, UnknownNameError

__all__ = ["FeatureEncoder", "frozen", "require_features", "require_length", "residual_stream"]


class _LayerReached(Exception):  # noqa: N818 - ends a forward pass, and is no error
    """The residual stream after the layer is known; the rest of the model need not run."""


def residual_stream(model: nn.Module, ids: Tensor, layer: int) -> Tensor:
    """The residual stream after a block, (B, T, d), with its graph; later blocks and the head do not run.

    Args:
        model: a `CircuitTransformer`, or a `transformers` causal language model.
        ids: (B, T), int64, on the model's device.
        layer: number of the block.

    Raises:
        UnknownNameError: no such layer.
        ModelError: the model's structure is not understood.
    """
    found: list[Tensor] = []

    def stop(_layer: int, residual: Tensor) -> None:
        found.append(residual)
        raise _LayerReached

    with recording(model, "resid_post", [layer], stop), suppress(_LayerReached):
        model(ids)
    return found[0]


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode and its parameters without gradients; both as before afterwards."""
    training = [module for module in model.modules() if module.training]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        model.eval()
        model.requires_grad_(requires_grad=False)
        yield
    finally:
        for module in training:
            module.training = True
        for parameter in trainable:
            parameter.requires_grad_()


def require_length(model: nn.Module, n_tokens: int) -> None:
    """Refuse a window that the model cannot take.

    Raises:
        ModelError: it is longer than the model's context.
    """
    limit = context_length(model)
    if limit is not None and n_tokens > limit:
        problem = "the window is longer than the model takes"
        raise ModelError(problem, found=f"{n_tokens} tokens", expected=f"at most {limit}")


def require_features(sae: SparseAutoencoder, features: Sequence[int]) -> None:
    """Refuse a list that is not one of different features.

    Raises:
        SchemaError: it is empty, or a feature is listed twice.
        UnknownNameError: the autoencoder has no such feature.
    """
    if not features or len(set(features)) < len(features):
        problem = "a feature is listed twice" if features else "there are no features to look at"
        raise SchemaError(problem, where="features", found=f"{len(features)}, {len(set(features))} different")
    if not 0 <= min(features) <= max(features) < sae.d_sae:
        problem = "the autoencoder has no such feature"
        found = f"{min(features)} to {max(features)}"
        raise UnknownNameError(problem, where="features", found=found, expected=f"0 to {sae.d_sae - 1}")


class FeatureEncoder:
    """Encodes a few features of an autoencoder, without computing the others where they do not matter.

    Only in a top-k autoencoder does a feature's activation depend on the other features.

    Args:
        sae: the autoencoder.
        features: their numbers, in the order in which their activations are wanted.
        mode: as in `SparseAutoencoder.encode`.

    Attributes:
        width: features computed per token.

    Raises:
        SchemaError, UnknownNameError: as :func:`require_features`.
    """

    def __init__(self, sae: SparseAutoencoder, features: Sequence[int], mode: EncodeMode = "compat") -> None:
        require_features(sae, features)
        index = torch.tensor(list(features), dtype=torch.int64, device=sae.W_enc.device)
        self._mode = mode
        self._chosen = index if sae.arch == "topk" else None
        self._sae = sae if sae.arch == "topk" else sae.restricted(index)
        self.width = self._sae.d_sae

    def __call__(self, residual: Tensor) -> Tensor:
        """Activations (..., n), float32, of residuals (..., d).

        Raises:
            UnknownNameError, ModelError: as `SparseAutoencoder.encode`.
        """
        values = self._sae.encode(residual, self._mode)
        return (values if self._chosen is None else values[..., self._chosen]).float()
