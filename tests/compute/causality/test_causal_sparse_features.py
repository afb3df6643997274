"""Triplets of a batch against the dense activations of the autoencoder, whatever the block."""

from __future__ import annotations

import causal_models as tiny
import pytest
import torch
from torch import Tensor

from circuit_artifacts.compute.causality.sparse_features import (
    decoder_bias,
    reconstruct,
    sparse_features,
    union,
)
from circuit_artifacts.compute.saes import Architecture, EncodeMode, Gate, SparseAutoencoder, TrainingFacts

LAYER_NORM = TrainingFacts(apply_b_dec_to_input=True, normalization="layer_norm")
SCALED = TrainingFacts(
    apply_b_dec_to_input=False,
    normalization="expected_average_only_in",
    activation_scale=0.4,
    decoder_norm_rescaling=True,
)


def gated() -> SparseAutoencoder:
    plain, (gate, magnitude, bias) = tiny.autoencoder("relu"), torch.randn(3, 24, dtype=torch.float64)
    return SparseAutoencoder(
        "gated", plain.W_enc, None, plain.W_dec, plain.b_dec, gate=Gate(gate, magnitude, bias), trained=LAYER_NORM
    )


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 5, tiny.WIDTH, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


@pytest.fixture
def mask() -> Tensor:
    return torch.rand(3, 5, generator=torch.Generator().manual_seed(8)) > 0.3


@pytest.mark.parametrize("block", [1, 7, 24, 100, None])
@pytest.mark.parametrize("facts", [None, LAYER_NORM, SCALED], ids=["plain", "layer_norm", "scaled"])
@pytest.mark.parametrize("mode", ["faithful", "compat"])
@pytest.mark.parametrize("arch", ["relu", "jumprelu", "topk"])
def test_triplets_are_the_dense_activations_at_tokens_that_count(
    x: Tensor, mask: Tensor, arch: Architecture, mode: EncodeMode, facts: TrainingFacts | None, block: int | None
) -> None:
    sae = tiny.autoencoder(arch, trained=facts)
    found = sparse_features(sae, x, mask, mode=mode, block=block)
    dense = sae.encode(x, mode) * mask[:, :, None]
    assert torch.equal(found.dense() != 0, dense != 0)
    keys = found.token * found.width + found.feature
    assert (keys.diff() > 0).all()  # by token, then by feature, each once
    if facts is None or mode == "compat":
        torch.testing.assert_close(found.dense(), dense)
    rebuilt = (reconstruct(found, sae.W_dec) + decoder_bias(sae, x, mode))[mask]
    torch.testing.assert_close(rebuilt, sae(x, mode)[mask])


def test_gated_autoencoders(x: Tensor, mask: Tensor) -> None:
    sae = gated()
    for block in (5, None):
        found = sparse_features(sae, x, mask, block=block)
        rebuilt = (reconstruct(found, sae.W_dec) + decoder_bias(sae, x))[mask]
        torch.testing.assert_close(rebuilt, sae(x, "faithful")[mask])


@pytest.mark.parametrize("arch", ["relu", "topk"])
def test_a_batch_in_which_nothing_counts_or_nothing_is_on(x: Tensor, arch: Architecture) -> None:
    sae = tiny.autoencoder(arch, shift=-1e6)
    for mask in (torch.zeros(3, 5, dtype=torch.bool), torch.ones(3, 5, dtype=torch.bool)):
        found = sparse_features(sae, x, mask)
        assert len(found.token) == 0
        assert not reconstruct(found, sae.W_dec).any()
        assert found.segments.sums(found.value).shape == (0,)


def test_sums_and_maxima_by_sequence_and_feature(x: Tensor, mask: Tensor) -> None:
    found = sparse_features(tiny.autoencoder("relu"), x, mask)
    segments, dense = found.segments, found.dense()
    where = segments.sequence, segments.feature
    torch.testing.assert_close(segments.sums(found.value), dense.sum(dim=1)[where])
    torch.testing.assert_close(segments.maxima(found.value), dense.amax(dim=1)[where])
    assert len(segments.feature) == int((dense.amax(dim=1) > 0).sum())


def test_inner_products_are_derivatives_of_the_reconstruction(x: Tensor, mask: Tensor) -> None:
    sae = tiny.autoencoder("relu")
    found = sparse_features(sae, x, mask)
    gradient = torch.randn_like(x)
    found.value.requires_grad_()
    (products,) = torch.autograd.grad(reconstruct(found, sae.W_dec), found.value, gradient)
    expected = (gradient.flatten(0, 1)[found.token] * sae.W_dec[found.feature]).sum(dim=1)
    torch.testing.assert_close(products, expected)


def test_two_runs_at_the_same_triplets(x: Tensor, mask: Tensor) -> None:
    sae = tiny.autoencoder("jumprelu")
    first, second = sparse_features(sae, x, mask), sparse_features(sae, x.flip(1) * 2, mask)
    before, after = union(first, second)
    assert torch.equal(before.token, after.token)
    assert torch.equal(before.feature, after.feature)
    assert torch.equal(before.dense(), first.dense())
    assert torch.equal(after.dense(), second.dense())
    assert not ((before.value == 0) & (after.value == 0)).any()
