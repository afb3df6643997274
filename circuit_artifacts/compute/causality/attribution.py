"""Attribution patching in closed form: one forward and one backward pass serve all features of all autoencoders.

With g_t the gradient of the metric at the site in the unmodified model, f the features and e what the autoencoder
leaves over, the first-order effects of a patch at token t are (causal-dimensionality spec 2.5)

    a_i(t) = (f_i_patch(t) - f_i(t)) <g_t, d_i>,        a_error(t) = <g_t, e_patch(t) - e(t)>

for feature i with decoder row d_i, and for the error as a node of its own. Zero ablation is the patch where f and e
are zero. There ``sum_i a_i + a_error + a_bias = -<g_t, x_t>``, with x the activation and ``a_bias`` the effect of the
decoder's bias: the sum over all features hardly depends on the dictionary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from circuit_artifacts.compute.causality.capture import SiteValues
from circuit_artifacts.compute.causality.sparse_features import (
    SparseFeatures,
    decoder_bias,
    reconstruct,
    sparse_features,
    union,
)
from circuit_artifacts.compute.saes import EncodeMode, SparseAutoencoder

__all__ = ["Attribution", "Moments", "attribution", "attribution_patch", "node_effects"]


class Moments(NamedTuple):
    """Sums over tokens from which the fraction of variance unexplained follows; those of batches add up.

    Attributes:
        tokens: how many.
        total: (d,) float64, sum of the activations.
        squares: sum of their squared norms.
        residual_squares: sum of the squared norms of the errors.
    """

    tokens: int
    total: Tensor
    squares: float
    residual_squares: float


@dataclass(frozen=True)
class Attribution:
    """First-order effects of one batch of B sequences of T tokens.

    Attributes:
        nodes: features that are on at some token; for a patch also those that are on in the patched run only, with
            the value 0.
        effects: (n,), a_i(t) of each of them. With GradDrop not negative: absolute values, averaged over gradients.
        error: (B, T), a_error(t); 0 where the mask is False.
        bias: (B, T), likewise for the decoder's bias.
        mask: (B, T) bool, the tokens that count.
        moments: of the activation and the error.
    """

    nodes: SparseFeatures
    effects: Tensor
    error: Tensor
    bias: Tensor
    mask: Tensor
    moments: Moments


def attribution(
    values: SiteValues,
    sae: SparseAutoencoder,
    mask: Tensor,
    *,
    mode: EncodeMode = "faithful",
    block: int | None = None,
) -> Attribution:
    """Effects of setting single features, or the error, to zero.

    Args:
        values: of `site_values`, with or without GradDrop.
        sae: any autoencoder that reads the site, on the same device.
        mask: (B, T) bool, the tokens that count; see `positions_mask`.
        mode: as in `SparseAutoencoder.encode`.
        block: as in `sparse_features`.

    Raises:
        UnknownNameError, ModelError: as `SparseAutoencoder.encode`.
    """
    parts = _split(sae, values.activation, mask, mode, block)
    removed = replace(parts.nodes, value=-parts.nodes.value)
    return _attribution(values, sae, mask, parts, removed, -parts.error, -parts.bias)


def attribution_patch(
    values: SiteValues,
    patch: Tensor,
    sae: SparseAutoencoder,
    mask: Tensor,
    *,
    mode: EncodeMode = "faithful",
    block: int | None = None,
) -> Attribution:
    """Effects of giving single features, or the error, the values that they have in another run.

    Args:
        values: of the unmodified run.
        patch: (B, T, d), the activation at the site in the other run, token by token.
        sae: as `attribution`.
        mask: as `attribution`.
        mode: as `attribution`.
        block: as `attribution`.

    Raises:
        UnknownNameError, ModelError: as `attribution`.
    """
    parts, other = (_split(sae, x, mask, mode, block) for x in (values.activation, patch))
    before, after = union(parts.nodes, other.nodes)
    change = replace(before, value=after.value - before.value)
    parts = parts._replace(nodes=before)
    return _attribution(values, sae, mask, parts, change, other.error - parts.error, other.bias - parts.bias)


def node_effects(values: SiteValues, change: SparseFeatures, W_dec: Tensor) -> Tensor:
    """First-order effects (n,) of changes of features, in the dtype of the decoder rows.

    Args:
        values: of `site_values`; with GradDrop, absolute effects are averaged over its gradients.
        change: by how much each feature changes at a token, in the units of the site.
        W_dec: rows (width, d) that ``change.feature`` refers to.
    """
    weights = torch.zeros_like(change.value, dtype=W_dec.dtype, requires_grad=True)
    with torch.enable_grad():
        total = reconstruct(replace(change, value=weights), W_dec)

    def pair(gradient: Tensor) -> Tensor:
        (products,) = torch.autograd.grad(total, weights, gradient.to(total.dtype), retain_graph=True)
        return products * change.value

    return _over_gradients(values, pair)


class _Parts(NamedTuple):
    """An activation as features, bias (B, T, d) and error (B, T, d), which add up to it; zero where the mask is."""

    nodes: SparseFeatures
    bias: Tensor
    error: Tensor


@torch.no_grad()
def _split(sae: SparseAutoencoder, x: Tensor, mask: Tensor, mode: EncodeMode, block: int | None) -> _Parts:
    nodes = sparse_features(sae, x, mask, mode=mode, block=block)
    kept = mask[:, :, None]
    bias = decoder_bias(sae, x, mode) * kept
    return _Parts(nodes, bias, x * kept - reconstruct(nodes, sae.W_dec) - bias)


def _attribution(
    values: SiteValues,
    sae: SparseAutoencoder,
    mask: Tensor,
    parts: _Parts,
    change: SparseFeatures,
    error: Tensor,
    bias: Tensor,
) -> Attribution:
    x = values.activation[mask].double()
    moments = Moments(len(x), x.sum(dim=0), float(x.square().sum()), float(parts.error.double().square().sum()))
    return Attribution(
        parts.nodes,
        node_effects(values, change, sae.W_dec),
        _over_gradients(values, lambda gradient: (gradient * error).sum(dim=-1)),
        _over_gradients(values, lambda gradient: (gradient * bias).sum(dim=-1)),
        mask,
        moments,
    )


def _over_gradients(values: SiteValues, pair: Callable[[Tensor], Tensor]) -> Tensor:
    """Pair the gradient with changes; with GradDrop, average the absolute values over its gradients."""
    if not values.dropped:
        return pair(values.gradient)
    return torch.stack([weight * pair(gradient).abs() for weight, gradient in values.dropped]).sum(dim=0)
