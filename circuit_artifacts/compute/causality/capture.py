"""A site of a model together with a gradient, and interventions at it.

All of it rests on one replacement of the activation on its way through the model: by itself plus a zero that is
differentiated, or by whatever an experiment puts there. Sites are those of `hooks`; whether a module returns a tensor
or a tuple is looked up as it runs, since it depends on the version of `transformers` (causal-dimensionality spec 1.5).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor, nn

from circuit_artifacts.compute.hooks import hook_point, layer_count, output_tensor
from circuit_artifacts.compute.locality.activations import frozen, require_length
from circuit_artifacts.errors import ModelError, UnknownNameError

__all__ = [
    "METRICS",
    "AtpVariant",
    "Metric",
    "SiteValues",
    "delta_at",
    "metric_values",
    "patched",
    "positions_mask",
    "site_values",
]

Metric = Literal["ce_sum", "ce_mean", "logit_top1", "logit_diff"]
"""One number per sequence, differentiated without a minimum at the unmodified model (causal-dimensionality spec 2.5).

==============  ===================================================================================================
``ce_sum``      cross-entropy of the tokens that follow, in nats, summed over the sequence
``ce_mean``     the same, divided by the number of predicted tokens
``logit_top1``  at the last position, the logit of the token that the unmodified model ranks first; the position is ours
``logit_diff``  at the last position, the logit of one answer less that of another
==============  ===================================================================================================
"""
METRICS: Final[tuple[str, ...]] = get_args(Metric)

AtpVariant = Literal["plain", "graddrop"]
"""``plain`` is attribution patching as published; ``graddrop`` also gives gradients that each leave a layer out, one of
the remedies of AtP* (causal-dimensionality spec 2.5)."""


@dataclass(frozen=True)
class SiteValues:
    """What one forward and one backward pass give at a site.

    Attributes:
        activation: (B, T, d), in the model's dtype.
        gradient: (B, T, d), of each sequence's metric with respect to the activation.
        metric: (B,), of the unmodified model, at least in float32.
        dropped: for GradDrop, gradients (B, T, d) of backward passes that each leave out a layer, with their weights,
            which add up to 1; empty for plain attribution patching.
    """

    activation: Tensor
    gradient: Tensor
    metric: Tensor
    dropped: tuple[tuple[float, Tensor], ...] = ()


@contextmanager
def patched(model: nn.Module, site: str, layer: int, replacement: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While open, forward passes go on with ``replacement(activation)`` in place of the activation at a site.

    Args:
        model: a `CircuitTransformer`, or a `transformers` causal language model.
        site: one of ``hooks.SITES``.
        layer: block number; 0 for ``embed``.
        replacement: gets the activation (B, T, d), which it must not change in place, and returns one of that shape.

    Raises:
        UnknownNameError, ModelError: as `hook_point`; ModelError also, during a pass, for an activation that is not
            three-dimensional, or a replacement of another shape.
    """
    point = hook_point(model, site, layer)

    def put(value: Any) -> Any:
        activation = output_tensor(value)
        if activation.ndim != 3:
            problem = "the activation is not (batch, tokens, width)"
            raise ModelError(problem, where=point.name, found=tuple(activation.shape))
        new = replacement(activation)
        if new.shape != activation.shape:
            problem = "the replacement has another shape than the activation"
            raise ModelError(problem, where=point.name, found=tuple(new.shape), expected=tuple(activation.shape))
        return (new, *value[1:]) if isinstance(value, tuple) else new

    if point.reads_input:
        handle = point.module.register_forward_pre_hook(lambda _module, inputs: put(inputs))
    else:
        handle = point.module.register_forward_hook(lambda _module, _inputs, output: put(output))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def delta_at(model: nn.Module, site: str, layer: int, delta: Tensor) -> Iterator[None]:
    """While open, forward passes add ``delta`` to the activation at a site; gradients with respect to it flow.

    Args:
        model: as `patched`.
        site: as `patched`.
        layer: as `patched`.
        delta: (B, T, d), or a shape that broadcasts to it.

    Raises:
        UnknownNameError, ModelError: as `patched`.
    """
    with patched(model, site, layer, lambda activation: activation + delta):
        yield


def site_values(
    model: nn.Module,
    ids: Tensor,
    *,
    site: str,
    layer: int,
    metric: Metric = "ce_sum",
    answers: Tensor | None = None,
    atp_variant: AtpVariant = "plain",
) -> SiteValues:
    """Activation and gradient at a site of the unmodified model, from one forward and one backward pass.

    GradDrop takes a further pair of passes for each layer after the site, with the gradient through that layer's
    ``attn_out`` and ``mlp_out`` dropped. Our reading of it: the average is over all layers but the site's own, whose
    share in AtP* is zero; a layer before the site leaves the gradient as it is; ``embed`` belongs to no layer.

    Args:
        model: as `patched`; left as it was found.
        ids: token ids (B, T), int64, without padding: every token counts in the metric.
        site: as `patched`.
        layer: as `patched`.
        metric: see ``Metric``.
        answers: as `metric_values`.
        atp_variant: see ``AtpVariant``.

    Raises:
        UnknownNameError: no such site, layer, metric or variant.
        ModelError: as `patched` and `metric_values`, or more tokens than the model takes.
    """
    if atp_variant not in get_args(AtpVariant):
        problem = "there is no such variant of attribution patching"
        raise UnknownNameError(problem, found=repr(atp_variant), expected=", ".join(get_args(AtpVariant)))
    require_length(model, ids.shape[1])

    def run(left_out: int | None = None) -> SiteValues:
        return _one_pass(model, ids, site, layer, metric, answers, left_out)

    values = run()
    if atp_variant == "plain":
        return values
    first = 0 if site == "embed" else layer + 1
    gradients = [(1, run(later).gradient) for later in range(first, layer_count(model))]
    if layer > 0 or not gradients:
        gradients.append((max(layer, 1), values.gradient))
    layers = sum(count for count, _ in gradients)
    return replace(values, dropped=tuple((count / layers, gradient) for count, gradient in gradients))


def _one_pass(
    model: nn.Module,
    ids: Tensor,
    site: str,
    layer: int,
    metric: Metric,
    answers: Tensor | None,
    left_out: int | None,
) -> SiteValues:
    """Forward and backward; what the layer ``left_out`` writes to the residual stream passes no gradient on."""
    activations: list[Tensor] = []
    deltas: list[Tensor] = []

    def inject(activation: Tensor) -> Tensor:
        activations.append(activation.detach())
        deltas.append(torch.zeros_like(activation, requires_grad=True))
        return activation + deltas[0]

    with ExitStack() as stack:
        # Parameters are frozen, so that the graph begins at the site.
        stack.enter_context(frozen(model))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(patched(model, site, layer, inject))
        if left_out is not None:
            for write in ("attn_out", "mlp_out"):
                stack.enter_context(patched(model, write, left_out, Tensor.detach))
        values = metric_values(model(ids).logits, ids, metric=metric, answers=answers)
        # Sequences do not see each other: the gradient of the sum is that of each.
        (gradient,) = torch.autograd.grad(values.sum(), deltas[0])
    return SiteValues(activations[0], gradient, values.detach())


def metric_values(logits: Tensor, ids: Tensor, *, metric: Metric = "ce_sum", answers: Tensor | None = None) -> Tensor:
    """The metric of each sequence, (B,), at least in float32.

    Args:
        logits: (B, T, V).
        ids: the tokens (B, T) that gave them.
        metric: see ``Metric``.
        answers: token ids, int64. For ``logit_diff`` (B, 2): the answer that counts positive, then the other. For
            ``logit_top1`` (B, 1): the tokens that the unmodified model ranks first; if None, these are the logits of
            the unmodified model.

    Raises:
        UnknownNameError: no such metric.
        ModelError: answers that the metric needs are missing or have another shape, answers that it has no use for,
            or sequences of one token, which predict nothing.
    """
    if metric not in METRICS:
        problem = "there is no such metric"
        raise UnknownNameError(problem, where="metric", found=repr(metric), expected=", ".join(METRICS))
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    wanted = {"logit_diff": 2, "logit_top1": 1}.get(metric)
    if metric == "logit_top1" and answers is None:
        answers = logits[:, -1].argmax(dim=-1, keepdim=True)
    shape = None if answers is None else tuple(answers.shape)
    if shape != (None if wanted is None else (len(ids), wanted)):
        problem = f"{metric} takes other answers"
        expected = "none" if wanted is None else (len(ids), wanted)
        raise ModelError(problem, where="answers", found=shape or "none", expected=expected)
    if answers is not None:
        chosen = logits[:, -1].gather(1, answers.to(logits.device))
        return chosen[:, 0] if metric == "logit_top1" else chosen[:, 0] - chosen[:, 1]
    if ids.shape[1] < 2:
        problem = "a sequence of one token predicts nothing that could be scored"
        raise ModelError(problem, where="ids", found=tuple(ids.shape))
    predictions, targets = logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten().to(logits.device)
    # Added up in float64: exact effects are small differences of such sums.
    losses = nn.functional.cross_entropy(predictions, targets, reduction="none").double().view(len(ids), -1)
    return losses.sum(dim=1) if metric == "ce_sum" else losses.mean(dim=1)


def positions_mask(ids: Tensor, special_ids: Collection[int]) -> Tensor:
    """Which positions enter statistics: (B, T), bool, False where the token is special, such as BOS and EOS.

    Gemma Scope and others were trained without such positions, so they are left out of every statistic
    (causal-dimensionality spec 1.5).

    Args:
        ids: token ids (B, T).
        special_ids: the tokens to leave out; may be empty.
    """
    return ~torch.isin(ids, torch.tensor(sorted(special_ids), dtype=ids.dtype, device=ids.device))
