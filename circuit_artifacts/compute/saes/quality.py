"""How good an autoencoder is: how sparse, how exact, and how much of the model's loss survives its reconstruction."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from circuit_artifacts.compute.hooks import capture, hook_point, output_tensor
from circuit_artifacts.compute.saes.autoencoder import SparseAutoencoder
from circuit_artifacts.compute.saes.description import EncodeMode
from circuit_artifacts.errors import ModelError

__all__ = ["SaeQuality", "sae_quality"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SaeQuality:
    """Measured on the tokens of some windows; losses are mean cross-entropies of the next token, in nats.

    Attributes:
        tokens: how many.
        l0: mean number of active features.
        variance_explained: 1 - (sum of squared errors) / (sum of squared distances to the mean activation).
        dead_share: share of features that are active on none of the tokens.
        loss: of the model as it is.
        loss_reconstructed: with every activation replaced by its reconstruction.
        loss_mean: with every activation replaced by the mean activation of the windows.
        loss_zero: with every activation replaced by zero.
    """

    tokens: int
    l0: float
    variance_explained: float
    dead_share: float
    loss: float
    loss_reconstructed: float
    loss_mean: float
    loss_zero: float

    @property
    def loss_recovered(self) -> float:
        """Share of the loss that the mean costs which the reconstruction does not; NaN if the mean costs nothing."""
        cost = self.loss_mean - self.loss
        return (self.loss_mean - self.loss_reconstructed) / cost if cost else math.nan


@torch.no_grad()
def sae_quality(
    model: nn.Module,
    sae: SparseAutoencoder,
    windows: Tensor,
    *,
    layer: int,
    site: str = "resid_post",
    mode: EncodeMode = "compat",
    batch_size: int = 64,
) -> SaeQuality:
    """Measure an autoencoder on text.

    Args:
        model: a `CircuitTransformer`, or a `transformers` causal language model.
        sae: reads the site of the layer; on the model's device.
        windows: token ids (W, T), int64, T at least 2, without padding.
        layer: block number.
        site: as in `compute.hooks`.
        mode: how features are computed.
        batch_size: windows in one pass.

    Raises:
        UnknownNameError: no such site, layer or mode.
        ModelError: no windows, windows of one token, or an autoencoder of another width.
    """
    if windows.ndim != 2 or not len(windows) or windows.shape[1] < 2:
        problem = "losses take windows of at least two tokens"
        raise ModelError(problem, where="windows", found=tuple(windows.shape), expected="(W, T)")
    batches = torch.split(windows.to(sae.W_enc.device), batch_size)
    activations = [capture(model, ids, site=site, layers=[layer])[layer].flatten(0, 1) for ids in batches]
    tokens = windows.numel()
    mean = torch.stack([batch.sum(dim=0, dtype=torch.float64) for batch in activations]).sum(dim=0) / tokens
    fired = torch.zeros(sae.d_sae, dtype=torch.bool, device=mean.device)
    active, error, spread = 0, 0.0, 0.0
    for batch in activations:
        features = sae.encode(batch, mode)
        fired |= (features > 0).any(dim=0)
        active += int((features > 0).sum())
        error += float((batch - sae.decode(features, mode, x=batch)).square().sum(dtype=torch.float64))
        spread += float((batch - mean).square().sum())

    def loss(replacement: Callable[[Tensor], Tensor] | None) -> float:
        with _replaced(model, site, layer, replacement):
            return sum(_summed_loss(model, ids) for ids in batches) / (tokens - len(windows))

    return SaeQuality(
        tokens=tokens,
        l0=active / tokens,
        variance_explained=1 - error / spread if spread else math.nan,
        dead_share=1 - float(fired.double().mean()),
        loss=loss(None),
        loss_reconstructed=loss(lambda x: sae(x, mode)),
        loss_mean=loss(lambda x: mean.to(x.dtype).expand_as(x)),
        loss_zero=loss(torch.zeros_like),
    )


def _summed_loss(model: nn.Module, ids: Tensor) -> float:
    logits = model(ids).logits[:, :-1].float()
    return float(cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum"))


@contextmanager
def _replaced(
    model: nn.Module, site: str, layer: int, replacement: Callable[[Tensor], Tensor] | None
) -> Iterator[None]:
    """While open, the model goes on with what `replacement` makes of each activation at a site."""
    point = hook_point(model, site, layer)

    def spliced(values: Any) -> Any:
        """A module's inputs or output, of which the first tensor is the activation."""
        assert replacement is not None
        activation = output_tensor(values)
        changed = replacement(activation).to(activation.dtype)
        return (changed, *values[1:]) if isinstance(values, tuple) else changed

    if replacement is None:
        yield
        return
    if point.reads_input:
        handle = point.module.register_forward_pre_hook(lambda _module, inputs: spliced(inputs))
    else:
        handle = point.module.register_forward_hook(lambda _module, _inputs, output: spliced(output))
    try:
        yield
    finally:
        handle.remove()
