"""Vectors over a model's outputs, pulled back to its logits: where a backward pass through the model starts.

==================  ============================================================================================
``centred_logits``  logits less their mean over the vocabulary: a shift of all logits changes no prediction
``logits``          as they are
``logprobs``        their log-softmax
``fisher``          logits in the Fisher metric diag(p) - p p^T of each prediction
``resid_final``     not the logits but the residual stream after the last block, before the final norm
``ce``              cross-entropy of the true next tokens, summed over the sequence: one number
==================  ============================================================================================

The first four are maps P of each position's logits to V numbers, and P^T v is what autograd is given
(causal-dimensionality spec 2.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal, get_args

import numpy as np
import torch
from torch import Tensor

__all__ = ["OUTPUTS", "Output", "drawn_tokens", "following_tokens", "pulled_back", "random_signs", "score"]

Output = Literal["centred_logits", "logits", "logprobs", "fisher", "resid_final", "ce"]
OUTPUTS: Final[tuple[str, ...]] = get_args(Output)


def pulled_back(output: Output, logits: Tensor, vectors: Tensor) -> Tensor:
    """P^T v.

    Args:
        output: one of the first four; for ``fisher`` P^T P is diag(p) - p p^T.
        logits: (..., V), where P is taken.
        vectors: (..., V), of the same shape.

    Returns:
        (..., V), at least in float32.
    """
    if output == "logits":
        return vectors
    if output == "centred_logits":
        return vectors - vectors.mean(dim=-1, keepdim=True)
    shares = _probabilities(logits)
    if output == "logprobs":
        return vectors - shares * vectors.sum(dim=-1, keepdim=True)
    scaled = shares.sqrt() * vectors
    return scaled - shares * scaled.sum(dim=-1, keepdim=True)


def score(logits: Tensor, tokens: Tensor) -> Tensor:
    """The gradient of the log-probability of one token per position with respect to the logits: one-hot less p.

    Args:
        logits: (B, T, V).
        tokens: (B, T), int64; nothing is asked for where it is negative.

    Returns:
        (B, T, V), at least in float32.
    """
    gradient = -_probabilities(logits.detach())
    gradient.scatter_add_(-1, tokens.clamp(min=0)[..., None], torch.ones_like(gradient[..., :1]))
    return gradient * (tokens >= 0)[..., None]


def following_tokens(ids: Tensor) -> Tensor:
    """The true next token of each position, (B, T); -1 at the last one."""
    return torch.nn.functional.pad(ids[:, 1:], (0, 1), value=-1)


def drawn_tokens(logits: Tensor, randoms: Sequence[np.random.Generator]) -> Tensor:
    """A next token of each position, drawn from the model: (B, T), int64.

    Args:
        logits: (B, T, V).
        randoms: one per sequence.
    """
    tokens = []
    for sequence, random in zip(logits.detach(), randoms, strict=True):
        cumulative = _probabilities(sequence).double().cumsum(dim=-1)
        levels = torch.from_numpy(random.random(len(sequence))).to(cumulative.device)[:, None] * cumulative[:, -1:]
        tokens.append(torch.searchsorted(cumulative, levels, right=True)[:, 0].clamp(max=cumulative.shape[-1] - 1))
    return torch.stack(tokens)


def random_signs(like: Tensor, randoms: Sequence[np.random.Generator]) -> Tensor:
    """+1 and -1 with equal chances, in a tensor as another (B, T, n), at least in float32.

    Args:
        like: gives shape and device.
        randoms: one per sequence. They are NumPy's, so that signs are the same on every device.
    """
    count = math.prod(like.shape[1:])
    bits = [np.unpackbits(np.frombuffer(random.bytes(-(-count // 8)), np.uint8), count=count) for random in randoms]
    dtype = torch.promote_types(like.dtype, torch.float32)
    return torch.from_numpy(np.stack(bits)).to(like.device).to(dtype).mul_(2).sub_(1).view(like.shape)


def _probabilities(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=-1)
