"""Exact effects of ablating single features, the error left as it is (causal-dimensionality spec 2.5).

The model runs with ``h_t - f_i(t) d_i`` in place of the activation h_t, and the effect is the metric then less the
metric of the unmodified model. In scope ``per_feature`` a feature is ablated at all tokens of a sequence at once; in
``per_token`` at one token at a time, as the reference does, which takes a forward pass per token where it is on. Many
ablations run together, on copies of the sequences. A feature that is off in a sequence has no effect and costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from circuit_artifacts.compute.causality.attribution import attribution
from circuit_artifacts.compute.causality.capture import AtpVariant, Metric, metric_values, patched, site_values
from circuit_artifacts.compute.causality.sparse_features import (
    SparseFeatures,
    decoder_bias,
    reconstruct,
    sparse_features,
)
from circuit_artifacts.compute.locality.activations import frozen, require_features
from circuit_artifacts.compute.saes import EncodeMode, SparseAutoencoder
from circuit_artifacts.errors import UnknownNameError

__all__ = ["FeatureEffects", "Scope", "feature_effects", "identity_noise"]

Scope = Literal["per_feature", "per_token"]

_PASS_TOKENS: Final = {"cpu": 1024}  # copies times tokens in one pass, as in locality.influence
_PASS_TOKENS_ELSEWHERE: Final = 16_384


@dataclass(frozen=True)
class FeatureEffects:
    """Effects of n features in b sequences; for ``ce_sum`` in nats.

    Attributes:
        features: (n,) int64.
        atp: (n, b) float64, first-order effects, summed over the tokens that count.
        exact: (n, b) float64, exact effects; ``per_token`` those of single tokens, summed.
        exact_abs: (n, b) float64, their absolute values; ``per_token`` summed after taking them.
        tokens: (b,) int64, how many tokens of each sequence count.
    """

    features: npt.NDArray[np.int64]
    atp: npt.NDArray[np.float64]
    exact: npt.NDArray[np.float64]
    exact_abs: npt.NDArray[np.float64]
    tokens: npt.NDArray[np.int64]

    @property
    def effect_size(self) -> npt.NDArray[np.float64]:
        """Mean absolute exact effect per token, (n,): what the rule of effect sizes compares with its threshold."""
        size: npt.NDArray[np.float64] = self.exact_abs.sum(axis=1) / self.tokens.sum()
        return size

    @staticmethod
    def joined(parts: Sequence[FeatureEffects]) -> FeatureEffects:
        """The effects of the same features in the sequences of several batches."""
        columns = (np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in _PER_SEQUENCE)
        return FeatureEffects(parts[0].features, *columns)


_PER_SEQUENCE: Final = ("atp", "exact", "exact_abs", "tokens")


def feature_effects(
    model: nn.Module,
    ids: Tensor,
    sae: SparseAutoencoder,
    features: Sequence[int],
    *,
    site: str,
    layer: int,
    mask: Tensor,
    metric: Metric = "ce_sum",
    answers: Tensor | None = None,
    scope: Scope = "per_feature",
    mode: EncodeMode = "faithful",
    atp_variant: AtpVariant = "plain",
    pass_tokens: int | None = None,
) -> FeatureEffects:
    """First-order and exact effects of zero ablation of chosen features.

    Args:
        model: a `CircuitTransformer`, or a `transformers` causal language model; left as it was found.
        ids: token ids (B, T), int64, without padding, on the model's device.
        sae: the site's autoencoder.
        features: their numbers.
        site: one of ``hooks.SITES``.
        layer: block number; 0 for ``embed``.
        mask: (B, T) bool, the tokens that count; features are left alone at the others.
        metric: see `Metric`.
        answers: as in `site_values`.
        scope: see the module.
        mode: as in `SparseAutoencoder.encode`.
        atp_variant: as in `site_values`; GradDrop gives absolute first-order effects.
        pass_tokens: copies times tokens in one forward pass; None chooses by device.

    Raises:
        UnknownNameError: no such site, layer, metric, scope or feature.
        SchemaError: no features, or one is listed twice.
        ModelError: as `site_values`.
    """
    if scope not in get_args(Scope):
        problem = "there is no such scope of an ablation"
        raise UnknownNameError(problem, where="scope", found=repr(scope), expected=", ".join(get_args(Scope)))
    require_features(sae, features)
    where = _Where(model, ids, site, layer, metric)
    answers, clean = where.unmodified(answers)
    values = site_values(model, ids, site=site, layer=layer, metric=metric, answers=answers, atp_variant=atp_variant)
    found = attribution(values, sae, mask, mode=mode)
    listed = torch.tensor(list(features), dtype=torch.int64, device=ids.device)
    chosen = torch.isin(found.nodes.feature, listed)
    nodes = found.nodes.where(chosen)
    # Rows of the result: the features in the order in which they are listed.
    place = torch.empty(sae.d_sae, dtype=torch.int64, device=ids.device)
    place[listed] = torch.arange(len(listed), device=ids.device)

    def table(feature: Tensor, sequence: Tensor, effects: Tensor) -> npt.NDArray[np.float64]:
        empty = effects.new_zeros(len(listed), len(ids), dtype=torch.float64)
        return empty.index_put_((place[feature], sequence), effects.double(), accumulate=True).cpu().numpy()

    copies = _copies(nodes, scope)
    budget = pass_tokens or _PASS_TOKENS.get(ids.device.type, _PASS_TOKENS_ELSEWHERE)
    exact = _exact(where, nodes, copies, sae.W_dec, answers, max(1, budget // ids.shape[1])) - clean[copies.sequence]
    return FeatureEffects(
        listed.cpu().numpy(),
        table(nodes.feature, nodes.token // ids.shape[1], found.effects[chosen]),
        table(copies.feature, copies.sequence, exact),
        table(copies.feature, copies.sequence, exact.abs()),
        mask.sum(dim=1).cpu().numpy(),
    )


def identity_noise(
    model: nn.Module,
    ids: Tensor,
    sae: SparseAutoencoder,
    *,
    site: str,
    layer: int,
    mask: Tensor,
    metric: Metric = "ce_sum",
    answers: Tensor | None = None,
    mode: EncodeMode = "faithful",
) -> npt.NDArray[np.float64]:
    """By how much the metric of each sequence moves when nothing is patched: the numerical noise of exact effects.

    The activation is replaced by the sum of reconstruction and error, in the dtype of the run, in which that is not
    quite the activation (causal-dimensionality spec 2.2).

    Args:
        model: as in `feature_effects`, as are the others.
        ids: token ids (B, T).
        sae: the site's autoencoder.
        site: one of ``hooks.SITES``.
        layer: block number.
        mask: (B, T) bool, where to patch.
        metric: see `Metric`.
        answers: as in `site_values`.
        mode: as in `SparseAutoencoder.encode`.

    Returns:
        (B,), absolute values.

    Raises:
        UnknownNameError, ModelError: as `feature_effects`.
    """
    where = _Where(model, ids, site, layer, metric)
    answers, clean = where.unmodified(answers)

    def rebuilt(activation: Tensor) -> Tensor:
        nodes = sparse_features(sae, activation, mask, mode=mode)
        bias = decoder_bias(sae, activation, mode)
        reconstruction = (reconstruct(nodes, sae.W_dec) + bias).to(activation.dtype)
        error = activation - reconstruction
        return torch.where(mask[:, :, None], reconstruction + error, activation)

    with frozen(model), torch.no_grad(), patched(model, site, layer, rebuilt):
        again = metric_values(model(ids).logits, ids, metric=metric, answers=answers)
    noise: npt.NDArray[np.float64] = (again - clean).abs().double().cpu().numpy()
    return noise


class _Copies(NamedTuple):
    """The ablations, each of them a copy of a sequence in some pass.

    Attributes:
        place: (n,) ascending, the copy that a triplet is taken out of.
        order: (n,), the triplets in that order.
        sequence: (r,), of each copy.
        feature: (r,), of each copy.
    """

    place: Tensor
    order: Tensor
    sequence: Tensor
    feature: Tensor


def _copies(nodes: SparseFeatures, scope: Scope) -> _Copies:
    if scope == "per_token":
        every = torch.arange(len(nodes.token), device=nodes.token.device)
        return _Copies(every, every, nodes.token // nodes.shape[1], nodes.feature)
    place, order = torch.sort(nodes.segments.place, stable=True)
    return _Copies(place, order, nodes.segments.sequence, nodes.segments.feature)


class _Where(NamedTuple):
    model: nn.Module
    ids: Tensor
    site: str
    layer: int
    metric: Metric

    def unmodified(self, answers: Tensor | None) -> tuple[Tensor | None, Tensor]:
        """The answers, which for ``logit_top1`` are the model's own, and the metric (B,)."""
        with frozen(self.model), torch.no_grad():
            logits = self.model(self.ids).logits
            if self.metric == "logit_top1" and answers is None:
                answers = logits[:, -1].argmax(dim=-1, keepdim=True)
            return answers, metric_values(logits, self.ids, metric=self.metric, answers=answers)


def _exact(
    where: _Where, nodes: SparseFeatures, copies: _Copies, W_dec: Tensor, answers: Tensor | None, together: int
) -> Tensor:
    """The metric of each copy (r,)."""
    length = nodes.shape[1]
    metrics: list[Tensor] = [W_dec.new_empty(0)]
    with frozen(where.model), torch.no_grad():
        for start in range(0, len(copies.sequence), together):
            sequence = copies.sequence[start : start + together]
            bounds = torch.tensor([start, start + len(sequence)], device=W_dec.device)
            first, last = torch.searchsorted(copies.place, bounds).tolist()
            part, row = copies.order[first:last], copies.place[first:last] - start
            writes = nodes.value[part, None] * W_dec[nodes.feature[part]]
            removed = W_dec.new_zeros(len(sequence), length, W_dec.shape[1])
            removed.index_put_((row, nodes.token[part] % length), writes, accumulate=True)

            def without(activation: Tensor, removed: Tensor = removed) -> Tensor:
                return (activation - removed).to(activation.dtype)

            ids, chosen = where.ids[sequence], None if answers is None else answers[sequence]
            with patched(where.model, where.site, where.layer, without):
                logits = where.model(ids).logits
            metrics.append(metric_values(logits, ids, metric=where.metric, answers=chosen))
    return torch.cat(metrics)
