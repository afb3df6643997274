"""How much each token of a window moves each active feature at the window's end.

Let x be the token embeddings, y the residual stream after block L at the last token, and f the features of y. Then

* feature influence ``J_a(t) = ||d f_a / d x_t||^2``,
* token-vector influence ``R(t) = ||d y / d x_t||^2``, the squared Frobenius norm (locality spec 5.1, 5.2).

An active feature moves with y along one direction ``c_a = d f_a / d y``, so that ``J_a(t) = ||c_a^T dy/dx_t||^2``: the
rows of ``dy/dx`` that R needs give every J by a matrix product, far cheaper than a backward pass per feature. Where R
is not wanted and fewer features are active than y is wide, the rows ``c_a^T dy/dx`` are computed directly.

Rows come many at a time, from an ordinary backward pass over copies of the window with another cotangent for each copy.
So the kernels are those of training, whatever the architecture. The copies' graph is built once and serves all rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from circuit_artifacts.compute.hooks import hook_point, output_tensor
from circuit_artifacts.compute.locality.activations import frozen, require_length, residual_stream
from circuit_artifacts.compute.locality.entropy import influence_entropy
from circuit_artifacts.compute.saes import EncodeMode, SparseAutoencoder
from circuit_artifacts.errors import ModelError

__all__ = ["WindowInfluence", "window_influence", "window_influences"]

# Copies times tokens in one pass. Matrix products want many, caches few: on two cores 1,024 were best at 512 wide.
_PASS_TOKENS: Final = {"cpu": 1024}
_PASS_TOKENS_ELSEWHERE: Final = 4096
_ROWS_PER_COPY: Final = 4  # at least, where there are as many rows: each copy also costs a forward pass
_ENCODER_ENTRIES: Final = 1 << 25  # of one differentiated encoding, 128 MB


@dataclass(frozen=True)
class WindowInfluence:
    """What one window of T tokens gives at one layer.

    Attributes:
        features: (n,) int64, the features above the threshold at the last token, ascending unless they were listed.
        activation: (n,) float32, their activations as they were gated. The published files hold those of a second
            forward pass, which can differ by rounding.
        influence: (n, T) float32, J.
        entropy_bits: (n,) float32, of J.
        token_influence: (T,) float32, R; None if it was not asked for.
        token_entropy_bits: of R; None if it was not asked for.
    """

    features: npt.NDArray[np.int64]
    activation: npt.NDArray[np.float32]
    influence: npt.NDArray[np.float32]
    entropy_bits: npt.NDArray[np.float32]
    token_influence: npt.NDArray[np.float32] | None
    token_entropy_bits: float | None


def window_influence(
    model: nn.Module, sae: SparseAutoencoder, ids: Tensor, *, features: Sequence[int] | None = None, **options: Any
) -> WindowInfluence:
    """Influence in one window, (T,) token ids; the other arguments are those of `window_influences`."""
    listed = None if features is None else [features]
    return window_influences(model, sae, ids.reshape(1, -1), features=listed, **options)[0]


def window_influences(
    model: nn.Module,
    sae: SparseAutoencoder,
    ids: Tensor,
    *,
    layer: int,
    threshold: float,
    sae_encode: EncodeMode = "compat",
    features: Sequence[Sequence[int]] | None = None,
    token_vector: bool = True,
    pass_tokens: int | None = None,
) -> list[WindowInfluence]:
    """Influence of every token on every feature that is active at the end of each window.

    The model runs as it is given: in float32, without padding, mask or added tokens, and only up to the layer.

    Args:
        model: a `CircuitTransformer`, or a `transformers` causal language model; left as it was found.
        sae: the layer's autoencoder, on the same device.
        ids: (W, T), int64, at least one window.
        layer: block whose output the autoencoder reads.
        threshold: a feature is active if it is above this; not negative.
        sae_encode: "compat" encodes as the published code does, without pre-bias or normalisation; "faithful" as the
            autoencoder was trained.
        features: for each window the only features to look at; of these, too, only active ones are measured.
        token_vector: measure R, at the price of as many rows of the Jacobian as the residual stream is wide.
        pass_tokens: copies times tokens in one backward pass; memory grows with it. None chooses by device.

    Returns:
        One `WindowInfluence` per window.

    Raises:
        UnknownNameError: no such layer.
        ModelError: the model is not in float32, a window is longer than it takes, the autoencoder reads another width,
            or the threshold is negative.
    """
    _require_usable(model, ids, threshold)
    device = next(model.parameters()).device
    budget = pass_tokens or _PASS_TOKENS.get(device.type, _PASS_TOKENS_ELSEWHERE)
    ids = ids.to(device)
    length = ids.shape[1]
    with frozen(model):
        active: list[_Active] = []
        for part in torch.split(ids, max(1, budget // length)):
            with torch.no_grad():
                residual = residual_stream(model, part, layer)[:, -1]
            listed = None if features is None else features[len(active) : len(active) + len(part)]
            active += _active_features(sae, residual, threshold, sae_encode, listed)
        most, width = max(len(window.features) for window in active), residual.shape[-1]
        whole = token_vector or most >= width
        rows = max(1, width if whole else most)
        copies = min(math.ceil(rows / _ROWS_PER_COPY), max(1, budget // length))
        together = max(1, budget // (length * copies))
        found: list[WindowInfluence] = []
        for start in range(0, len(ids), together):
            group = active[start : start + together]
            directions = pad_sequence([window.directions for window in group], batch_first=True)
            passes = _Passes(model, ids[start : start + together], layer, copies)
            if whole:
                influence, tokens = _from_whole_jacobian(passes, directions)
            else:
                influence, tokens = _from_directions(passes, directions), None
            for place, window in enumerate(group):
                token_influence = tokens[place] if tokens is not None and token_vector else None
                found.append(_result(window, influence[place], token_influence))
    return found


class _Active(NamedTuple):
    """The active features of one window: ids (n,), activations (n,), and how each moves with the residual (n, d)."""

    features: Tensor
    activation: Tensor
    directions: Tensor


class _Passes(NamedTuple):
    """What a group of windows needs for its backward passes, each over so many copies of every window."""

    model: nn.Module
    ids: Tensor
    layer: int
    copies: int

    def rows(self, cotangents: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Rows of the Jacobian of the last residual, in parts.

        Args:
            cotangents: (windows, r, d), what each row of each window combines the residual's dimensions with.

        Yields:
            Which of the r rows, and those rows (windows, part, T, d).
        """
        windows, count, width = cotangents.shape
        if count == 0:
            return
        copies = math.ceil(count / math.ceil(count / self.copies))  # the last pass as full as the others
        embedded, residual = _graph(self.model, self.ids.repeat_interleave(copies, dim=0), self.layer)
        for start in range(0, count, copies):
            part = cotangents[:, start : start + copies]
            missing = copies - part.shape[1]
            (gradient,) = torch.autograd.grad(
                residual, embedded, pad(part, (0, 0, 0, missing)).reshape(-1, width), retain_graph=True
            )
            stop = start + part.shape[1]
            yield slice(start, stop), gradient.view(windows, copies, -1, width)[:, : part.shape[1]]


def _from_directions(passes: _Passes, directions: Tensor) -> Tensor:
    """J (windows, n, T), one row of the Jacobian per feature."""
    parts = [rows.square().sum(dim=-1) for _, rows in passes.rows(directions)]
    windows, length = passes.ids.shape
    return torch.cat(parts, dim=1) if parts else directions.new_zeros(windows, 0, length)


def _from_whole_jacobian(passes: _Passes, directions: Tensor) -> tuple[Tensor, Tensor]:
    """J (windows, n, T) and R (windows, T), from all rows of the Jacobian.

    The Jacobian is not kept: products with the directions are added up as rows come. Only where these would be larger
    than the Jacobian itself is that kept instead.
    """
    windows, n, width = directions.shape
    length = passes.ids.shape[1]
    identity = torch.eye(width, dtype=directions.dtype, device=directions.device).expand(windows, -1, -1)
    combinations = directions if n < width else identity
    products = directions.new_zeros(windows, combinations.shape[1], length * width)
    tokens = directions.new_zeros(windows, length)
    for part, rows in passes.rows(identity):
        tokens += rows.square().sum(dim=(1, 3))
        products.baddbmm_(combinations[:, :, part], rows.flatten(2))
    products = products.view(windows, -1, length, width)
    if n < width:
        return products.square().sum(dim=-1), tokens
    influence = [(directions @ products[:, :, token]).square().sum(dim=-1) for token in range(length)]
    return torch.stack(influence, dim=-1), tokens


def _active_features(
    sae: SparseAutoencoder, residual: Tensor, threshold: float, mode: EncodeMode, listed: Sequence[Sequence[int]] | None
) -> list[_Active]:
    """The active features of each of the residuals (W, d)."""
    if sae.d_in != residual.shape[1]:
        problem = "the autoencoder reads another width than the model's residual stream has"
        raise ModelError(problem, found=sae.d_in, expected=residual.shape[1])
    with torch.no_grad():
        encoded = sae.encode(residual, mode)
    active = []
    for place, (point, values) in enumerate(zip(residual, encoded, strict=True)):
        features = (values > threshold).nonzero()[:, 0]
        if listed is not None:
            features = torch.tensor(listed[place], dtype=torch.int64, device=values.device)
            features = features[values[features] > threshold]
        active.append(_Active(features, values[features].to(point.dtype), _directions(sae, point, features, mode)))
    return active


def _directions(sae: SparseAutoencoder, point: Tensor, features: Tensor, mode: EncodeMode) -> Tensor:
    """How each of the active features (n,) moves with the residual (d,) at that point: (n, d).

    In compat mode that is the feature's encoder column, since ReLU, JumpReLU and top-k have unit slope where a feature
    is active. A faithful encoder may normalise its input first, so it is differentiated as it is.
    """
    if mode == "compat":
        return sae.W_enc.detach()[:, features].T.to(point.dtype)
    parts: list[Tensor] = []
    for part in torch.split(features, max(1, _ENCODER_ENTRIES // sae.d_sae)):
        points = point.expand(len(part), -1).clone().requires_grad_()
        with torch.enable_grad():
            total = sae.encode(points, mode).gather(1, part[:, None]).sum()
        parts += torch.autograd.grad(total, points)
    return torch.cat(parts)


def _graph(model: nn.Module, ids: Tensor, layer: int) -> tuple[Tensor, Tensor]:
    """Token embeddings (B, T, d) as leaves, and the residual at the last token (B, d) with its graph."""
    leaves: list[Tensor] = []

    def cut(_module: nn.Module, _inputs: Any, output: Any) -> Tensor:
        leaves.append(output_tensor(output).detach().requires_grad_())
        return leaves[-1]

    handle = hook_point(model, "embed", 0).module.register_forward_hook(cut)
    try:
        with torch.enable_grad():
            residual = residual_stream(model, ids, layer)[:, -1]
    finally:
        handle.remove()
    return leaves[0], residual


def _require_usable(model: nn.Module, ids: Tensor, threshold: float) -> None:
    dtypes = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    if dtypes != {torch.float32}:
        problem = "influence is measured in float32, and the model is not"
        raise ModelError(
            problem,
            found=", ".join(sorted(str(dtype) for dtype in dtypes)),
            remedy="Load it with dtype=torch.float32.",
        )
    require_length(model, ids.shape[1])
    if threshold < 0:
        problem = "with a negative threshold, features that are off would count as active"
        raise ModelError(problem, where="threshold", found=threshold, expected="0 or more")


def _result(window: _Active, influence: Tensor, token_influence: Tensor | None) -> WindowInfluence:
    measured = influence[: len(window.features)].cpu().numpy()
    tokens = None if token_influence is None else token_influence.cpu().numpy()
    return WindowInfluence(
        features=window.features.cpu().numpy(),
        activation=window.activation.cpu().numpy(),
        influence=measured,
        entropy_bits=influence_entropy(measured),
        token_influence=tokens,
        token_entropy_bits=None if tokens is None else float(influence_entropy(tokens)),
    )
