"""Autoencoders whose encoder or decoder is replaced by a random one (causal-dimensionality spec 2.6).

The published ablation says "random orthonormal" and no more; 16,384 orthonormal directions do not exist in 2304
dimensions. So what is orthonormal, and what becomes of biases and thresholds, are named choices of ours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import normalize

from circuit_artifacts.compute.saes import EncodeMode, SparseAutoencoder, TrainingFacts
from circuit_artifacts.errors import ModelError, UnknownNameError

__all__ = [
    "RandomDecoder",
    "RandomEncoder",
    "ThresholdPolicy",
    "matched_thresholds",
    "random_decoder",
    "random_encoder",
    "with_decoder",
    "with_encoder",
]

RandomEncoder = Literal["blocks", "semi"]
"""``blocks``: independent orthogonal (d_in, d_in) matrices side by side, each direction with the norm of the trained
one in its place. ``semi``: ``W_enc W_enc^T`` is the identity, and directions have norms of about sqrt(d_in / d_sae)."""

RandomDecoder = Literal["haar", "permuted"]
"""``haar``: random unit rows. ``permuted``: the trained rows in another order."""

ThresholdPolicy = Literal["keep", "zero", "match_rate", "topk"]
"""What a random encoder does with the trained biases and thresholds.

==============  ===================================================================================================
``keep``        both stay
``zero``        both become zero, so that about half of all features fire; a k of top-k stays
``match_rate``  the bias stays, and each feature fires where its pre-activation is above a threshold of its own,
                chosen so that it fires as often as the trained feature in its place
``topk``        the bias stays, and of all features the k largest fire, k being the trained ones' mean L0
==============  ===================================================================================================
"""

_ENTRIES: Final = 1 << 24  # tokens times features sorted at once


def random_encoder(sae: SparseAutoencoder, kind: RandomEncoder, *, seed: int) -> Tensor:
    """Random directions in place of an autoencoder's ``W_enc``, (d_in, d_sae), drawn on the CPU.

    With fewer features than dimensions, ``semi`` has orthonormal directions.

    Raises:
        UnknownNameError: no such kind.
    """
    _check(kind, RandomEncoder, "random encoder")
    generator = torch.Generator().manual_seed(seed)
    d_in, d_sae = sae.d_in, sae.d_sae
    if kind == "semi":
        frame = _orthonormal(max(d_in, d_sae), min(d_in, d_sae), generator)
        directions = frame.T if d_sae >= d_in else frame
    else:
        blocks = [_orthonormal(d_in, d_in, generator) for _ in range(-(-d_sae // d_in))]
        directions = torch.cat(blocks, dim=1)[:, :d_sae] * sae.W_enc.norm(dim=0).cpu()
    return directions.to(sae.W_enc)


def random_decoder(sae: SparseAutoencoder, kind: RandomDecoder, *, seed: int) -> Tensor:
    """Random rows in place of an autoencoder's ``W_dec``, (d_sae, d_in), drawn on the CPU.

    Raises:
        UnknownNameError: no such kind.
    """
    _check(kind, RandomDecoder, "random decoder")
    generator = torch.Generator().manual_seed(seed)
    if kind == "permuted":
        return sae.W_dec[torch.randperm(sae.d_sae, generator=generator).to(sae.W_dec.device)]
    rows = torch.randn(sae.d_sae, sae.d_in, generator=generator)
    return normalize(rows, dim=1).to(sae.W_dec)


def with_decoder(sae: SparseAutoencoder, W_dec: Tensor) -> SparseAutoencoder:
    """The autoencoder with other decoder rows (d_sae, d_in), and the same features.

    Raises:
        ModelError: it is gated.
    """
    sae = _independent(sae)
    return _remade(sae, W_dec=W_dec)


def with_encoder(
    sae: SparseAutoencoder,
    W_enc: Tensor,
    policy: ThresholdPolicy,
    *,
    inputs: Tensor | None = None,
    mode: EncodeMode = "faithful",
) -> SparseAutoencoder:
    """The autoencoder with other encoder directions (d_in, d_sae), and the same decoder.

    Args:
        sae: the trained one; not gated.
        W_enc: the directions.
        policy: what becomes of bias and threshold.
        inputs: activations (N, d_in), on which ``match_rate`` and ``topk`` count how often trained features fire.
        mode: in which the result will encode.

    Raises:
        UnknownNameError: no such policy or mode.
        ModelError: it is gated, or the policy needs inputs and has none.
    """
    _check(policy, ThresholdPolicy, "policy of biases and thresholds")
    sae = _independent(sae)
    bias = _bias(sae)
    if policy == "keep":
        return _remade(sae, W_enc=W_enc)
    if policy == "zero":
        threshold = None if sae.threshold is None else torch.zeros_like(sae.threshold)
        return _remade(sae, W_enc=W_enc, b_enc=torch.zeros_like(bias), threshold=threshold)
    if inputs is None or not len(inputs):
        problem = f"{policy} counts how often trained features fire, and has no activations to count on"
        raise ModelError(problem, where="inputs", expected=f"(N, {sae.d_in})")
    counts = _firings(sae, inputs, mode)
    if policy == "topk":
        k = max(1, round(int(counts.sum()) / len(inputs)))
        return SparseAutoencoder("topk", W_enc, bias, sae.W_dec, sae.b_dec, k=k, trained=sae.trained)
    bias, threshold = matched_thresholds(sae.encoder_input(inputs, mode), W_enc, bias, counts)
    return SparseAutoencoder("jumprelu", W_enc, bias, sae.W_dec, sae.b_dec, threshold, trained=sae.trained)


@torch.no_grad()
def matched_thresholds(x: Tensor, W_enc: Tensor, b_enc: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Biases and thresholds with which features fire as often as told.

    A threshold lies midway between the pre-activations that shall and shall not exceed it. Where it would be negative,
    the bias rises by as much, since features fire above zero only. Equal pre-activations fire together or not at all;
    then a feature fires less often than told.

    Args:
        x: what the encoder's matrix is multiplied with, (N, d_in).
        W_enc: (d_in, m).
        b_enc: (m,).
        counts: (m,) int64, for how many of the x each feature shall fire.

    Returns:
        b_enc and threshold, (m,) each; the threshold is infinite where the count is 0.
    """
    n_inputs = len(x)
    block = max(1, _ENTRIES // n_inputs)
    thresholds = []
    for start in range(0, W_enc.shape[1], block):
        part = slice(start, start + block)
        pre = (x @ W_enc[:, part] + b_enc[part]).sort(dim=0, descending=True).values
        margin = (pre[0] - pre[-1]) / n_inputs + torch.finfo(pre.dtype).eps * pre[-1].abs()
        above_all, below_all = torch.full_like(pre[:1], torch.inf), pre[-1:] - margin
        bounds = torch.cat([above_all, pre, below_all])
        count = counts[part].to(pre.device)[None]
        thresholds.append((bounds.gather(0, count)[0] + bounds.gather(0, count + 1)[0]) / 2)
    threshold = torch.cat(thresholds)
    return b_enc - threshold.clamp(max=0), threshold.clamp(min=0)


def _orthonormal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Orthonormal columns, uniformly distributed: the signs of the QR decomposition are undone (Mezzadri 2007)."""
    q, r = torch.linalg.qr(torch.randn(rows, columns, generator=generator))
    signed: Tensor = q * r.diagonal().sign()
    return signed


def _independent(sae: SparseAutoencoder) -> SparseAutoencoder:
    """The same features and reconstructions from an encoder that does not look at the decoder."""
    if sae.arch == "gated":
        problem = "a gated autoencoder has no single bias and threshold per feature"
        raise ModelError(problem, found=sae.arch, expected="relu, jumprelu or topk")
    if not sae.trained.decoder_norm_rescaling:
        return sae
    norms = sae.W_dec.norm(dim=1)
    facts = replace(sae.trained, decoder_norm_rescaling=False)
    encoder_norms = norms if sae.arch == "topk" else torch.ones_like(norms)
    return _remade(
        sae,
        W_enc=sae.W_enc * encoder_norms,
        b_enc=_bias(sae) * encoder_norms,
        W_dec=sae.W_dec / norms[:, None],
        trained=facts,
    )


def _bias(sae: SparseAutoencoder) -> Tensor:
    return torch.zeros_like(sae.W_enc[0]) if sae.b_enc is None else sae.b_enc


def _remade(
    sae: SparseAutoencoder,
    *,
    W_enc: Tensor | None = None,
    b_enc: Tensor | None = None,
    W_dec: Tensor | None = None,
    threshold: Tensor | None = None,
    trained: TrainingFacts | None = None,
) -> SparseAutoencoder:
    """The autoencoder with some parts exchanged."""
    return SparseAutoencoder(
        sae.arch,
        sae.W_enc if W_enc is None else W_enc,
        sae.b_enc if b_enc is None else b_enc,
        sae.W_dec if W_dec is None else W_dec,
        sae.b_dec,
        sae.threshold if threshold is None else threshold,
        sae.k,
        trained=trained or sae.trained,
    )


@torch.no_grad()
def _firings(sae: SparseAutoencoder, inputs: Tensor, mode: EncodeMode) -> Tensor:
    """For how many of the inputs (N, d_in) each feature fires, (d_sae,) int64."""
    block = max(1, _ENTRIES // sae.d_sae)
    counts = torch.zeros(sae.d_sae, dtype=torch.int64, device=inputs.device)
    for start in range(0, len(inputs), block):
        counts += (sae.encode(inputs[start : start + block], mode) > 0).sum(dim=0)
    return counts


def _check(name: str, names: object, what: str) -> None:
    if name not in get_args(names):
        problem = f"there is no such {what}"
        raise UnknownNameError(problem, found=repr(name), expected=", ".join(get_args(names)))
