"""Feature activations of a batch as (token, feature, value) triplets, whatever the number of features.

At a million features, tokens times features do not fit in memory, and all but about a hundred features per token are
off (causal-dimensionality spec 2.3). So the encoder runs on a part of the features at a time, and only what is not
zero is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from circuit_artifacts.compute.saes import EncodeMode, SparseAutoencoder
from circuit_artifacts.compute.saes.normalization import normalizer

__all__ = ["Segments", "SparseFeatures", "decoder_bias", "reconstruct", "sparse_features", "union"]

_FIRST: Final = 1 << 16  # triplets for which there is room at first
_ENTRIES: Final = 1 << 22  # tokens times features encoded at once; 16 MB, and a few such arrays live at a time


@dataclass(frozen=True)
class Segments:
    """Which (sequence, feature) pairs the triplets of a batch belong to.

    Attributes:
        place: (n,) int64, the pair of each triplet.
        sequence: (p,) int64, ascending.
        feature: (p,) int64, ascending within a sequence.
    """

    place: Tensor
    sequence: Tensor
    feature: Tensor

    def sums(self, values: Tensor) -> Tensor:
        """Sums (p,) of values (n,), float64."""
        return values.new_zeros(len(self.feature), dtype=torch.float64).index_add_(0, self.place, values.double())

    def maxima(self, values: Tensor) -> Tensor:
        """Maxima (p,) of non-negative values (n,), float64."""
        empty = values.new_zeros(len(self.feature), dtype=torch.float64)
        return empty.scatter_reduce_(0, self.place, values.double(), "amax")


@dataclass(frozen=True)
class SparseFeatures:
    """The features of a batch of B sequences of T tokens that are not zero, by token and then by feature.

    Attributes:
        token: (n,) int64, position in the flattened batch, b * T + t.
        feature: (n,) int64.
        value: (n,), in the units of the site: the feature adds ``value * W_dec[feature]`` to the reconstruction. That
            is its activation, unless the autoencoder normalises its input or rescales its decoder rows.
        shape: (B, T).
        width: number of features of the autoencoder.
    """

    token: Tensor
    feature: Tensor
    value: Tensor
    shape: tuple[int, int]
    width: int

    @cached_property
    def segments(self) -> Segments:
        """The triplets by sequence and feature."""
        keys, place = torch.unique(self.token // self.shape[1] * self.width + self.feature, return_inverse=True)
        return Segments(place, keys // self.width, keys % self.width)

    def offsets(self) -> Tensor:
        """Where each token's triplets begin, (B * T,)."""
        every = torch.arange(math.prod(self.shape), device=self.token.device)
        return torch.searchsorted(self.token, every)

    def where(self, keep: Tensor) -> SparseFeatures:
        """The triplets (n,) bool that are kept."""
        return replace(self, token=self.token[keep], feature=self.feature[keep], value=self.value[keep])

    def dense(self) -> Tensor:
        """All activations, (B, T, width); for small autoencoders."""
        full = self.value.new_zeros(math.prod(self.shape), self.width)
        full[self.token, self.feature] = self.value
        return full.view(*self.shape, -1)


@torch.no_grad()
def sparse_features(
    sae: SparseAutoencoder,
    x: Tensor,
    mask: Tensor,
    *,
    mode: EncodeMode = "faithful",
    block: int | None = None,
) -> SparseFeatures:
    """Encode the tokens that count, a block at a time.

    Features of ReLU, JumpReLU and gated autoencoders do not depend on each other, so a block is of features, and the
    weights are read once. The k largest are chosen among all, so there a block is of tokens.

    Args:
        sae: the autoencoder, on the device of ``x``.
        x: activations (B, T, d_in).
        mask: (B, T) bool, which tokens to encode.
        mode: as in `SparseAutoencoder.encode`.
        block: features at once, or tokens for top-k; None chooses by memory.

    Raises:
        UnknownNameError, ModelError: as `SparseAutoencoder.encode`.
    """
    tokens = mask.flatten().nonzero()[:, 0]
    inputs = x.flatten(0, 1)[tokens]
    parts = _token_blocks(sae, inputs, mode, block) if sae.arch == "topk" else _feature_blocks(sae, inputs, mode, block)
    keys, values = _joined(parts)
    keys, order = torch.sort(keys)
    rows, columns, values = keys // sae.d_sae, keys % sae.d_sae, values[order]
    if mode == "faithful":
        values = values * _unit(sae, inputs, rows, columns)
    return SparseFeatures(tokens[rows], columns, values, (x.shape[0], x.shape[1]), sae.d_sae)


def reconstruct(features: SparseFeatures, W_dec: Tensor) -> Tensor:
    """What the features add up to, (B, T, d_in), without the bias; differentiable in ``features.value``.

    The derivative with respect to the values is the inner product of each triplet's decoder row with the cotangent of
    its token: one kernel here gives all numbers that attribution needs, and copies no decoder rows.

    Args:
        features: of a batch.
        W_dec: (width, d_in).
    """
    value = features.value.to(W_dec.dtype)
    total = embedding_bag(features.feature, W_dec, features.offsets(), mode="sum", per_sample_weights=value)
    return total.view(*features.shape, -1)


def decoder_bias(sae: SparseAutoencoder, x: Tensor, mode: EncodeMode = "faithful") -> Tensor:
    """What the reconstruction of x (..., d_in) is when no feature is on; broadcasts to its shape.

    Raises:
        ModelError: the factor of the input's normalisation is unknown.
    """
    normal = normalizer(sae.trained, x.to(sae.b_dec.dtype)) if mode == "faithful" else None
    return sae.b_dec if normal is None else normal.undo(sae.b_dec)


def union(first: SparseFeatures, second: SparseFeatures) -> tuple[SparseFeatures, SparseFeatures]:
    """The features of two runs of one batch at the same triplets; zero where a feature is on in the other run only."""
    keys, place = torch.unique(
        torch.cat([run.token * run.width + run.feature for run in (first, second)]), return_inverse=True
    )
    value = torch.cat([first.value, second.value]).new_zeros(2, len(keys))
    value[0, place[: len(first.value)]] = first.value
    value[1, place[len(first.value) :]] = second.value
    token, feature = keys // first.width, keys % first.width
    return (
        replace(first, token=token, feature=feature, value=value[0]),
        replace(first, token=token, feature=feature, value=value[1]),
    )


def _feature_blocks(
    sae: SparseAutoencoder, inputs: Tensor, mode: EncodeMode, block: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Per block, where activations are not zero as token * d_sae + feature, and what they are."""
    block = block or max(1, _ENTRIES // max(1, len(inputs)))
    for start in range(0, sae.d_sae, block):
        encoded = sae.restricted(slice(start, start + block)).encode(inputs, mode)
        row, column = encoded.nonzero(as_tuple=True)
        yield row * sae.d_sae + column + start, encoded[row, column]


def _token_blocks(
    sae: SparseAutoencoder, inputs: Tensor, mode: EncodeMode, block: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """As `_feature_blocks`."""
    block = block or max(1, _ENTRIES // sae.d_sae)
    for start in range(0, max(1, len(inputs)), block):
        encoded = sae.encode(inputs[start : start + block], mode)
        row, column = encoded.nonzero(as_tuple=True)
        yield (row + start) * sae.d_sae + column, encoded[row, column]


def _joined(parts: Iterator[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The parts one behind the other, copied into a few arrays that double in size.

    Kept as they come, small tensors would lie among the large ones that are freed in between, and the allocator could
    not use that memory again: ten gigabytes at a million features.
    """
    buffers: list[Tensor] = []
    filled = 0
    for part in parts:
        buffers = buffers or [column.new_empty(_FIRST) for column in part]
        end = filled + len(part[0])
        if end > len(buffers[0]):
            buffers = [torch.cat([buffer[:filled], buffer.new_empty(end)]) for buffer in buffers]
        for buffer, column in zip(buffers, part, strict=True):
            buffer[filled:end] = column
        filled = end
    keys, values = (buffer[:filled] for buffer in buffers)
    return keys, values


def _unit(sae: SparseAutoencoder, inputs: Tensor, rows: Tensor, columns: Tensor) -> Tensor | float:
    """What a feature's activation is multiplied with on its way to the site, beside its decoder row."""
    factor: Tensor | float = 1.0
    normal = normalizer(sae.trained, inputs.to(sae.W_dec.dtype))
    if normal is not None:
        factor = normal.restore[rows, 0] if isinstance(normal.restore, Tensor) else normal.restore
    return factor / sae.W_dec.norm(dim=-1)[columns] if sae.trained.decoder_norm_rescaling else factor
