"""Effects of every feature of several sites on a contrast, by integrated gradients and by attribution patching.

The metric is logit(patch answer) - logit(clean answer) at the last position, so that a positive effect pushes toward
the patch's answer; effects are summed over positions and averaged over examples (causal-dimensionality spec 2.8).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from circuit_artifacts.compute.causality.agreement_examples import AgreementBatch
from circuit_artifacts.compute.causality.attribution import Attribution, attribution_patch
from circuit_artifacts.compute.causality.capture import SiteValues, patched, positions_mask, site_values
from circuit_artifacts.compute.hooks import capture
from circuit_artifacts.compute.saes import EncodeMode, SparseAutoencoder
from circuit_artifacts.errors import ModelError

__all__ = ["Submodule", "SubmoduleEffects", "integrated_values", "submodule_effects"]

_STEPS = 10  # of the reference


@dataclass(frozen=True)
class Submodule:
    """A site with its autoencoder.

    Attributes:
        site: one of ``hooks.SITES``.
        layer: block number; 0 for ``embed``.
        sae: on the device of the model.
    """

    site: str
    layer: int
    sae: SparseAutoencoder

    @property
    def name(self) -> str:
        """Site and layer."""
        return f"{self.site}_{self.layer}"


@dataclass(frozen=True, kw_only=True)
class SubmoduleEffects:
    """The nodes of one submodule over all examples; tensors are (d_sae,), float64 unless said otherwise.

    Attributes:
        name: of the submodule.
        integrated: effects by integrated gradients.
        attributed: effects by attribution patching.
        activation: the features themselves in the clean run, aggregated as effects are.
        fires: bool, whether a feature is on at some position of a clean or patched run.
        integrated_error: effect of the error node by integrated gradients.
        attributed_error: the same by attribution patching.
        n_examples: how many.
    """

    name: str
    integrated: Tensor
    attributed: Tensor
    activation: Tensor
    fires: Tensor
    integrated_error: float
    attributed_error: float
    n_examples: int


def submodule_effects(
    model: nn.Module,
    submodules: Iterable[Submodule],
    batches: Sequence[AgreementBatch],
    *,
    special_ids: Collection[int] = (),
    steps: int = _STEPS,
    mode: EncodeMode = "faithful",
) -> Iterator[SubmoduleEffects]:
    """Effects of all nodes, one submodule after the other, so that autoencoders may be loaded one at a time.

    Args:
        model: a `CircuitTransformer`, or a `transformers` causal language model.
        submodules: sites with their autoencoders.
        batches: of `batched`.
        special_ids: tokens whose positions do not count, such as BOS.
        steps: of integration.
        mode: as in `SparseAutoencoder.encode`.

    Raises:
        UnknownNameError: no such site, layer or mode.
        ModelError: the model or an autoencoder does not fit, or there are no batches.
    """
    if not batches:
        problem = "there are no examples to measure effects on"
        raise ModelError(problem, where="batches")
    for submodule in submodules:
        sums = _Sums(submodule.sae)
        for batch in batches:
            mask = positions_mask(batch.clean, special_ids)
            patch = capture(model, batch.patch, site=submodule.site, layers=[submodule.layer])[submodule.layer]
            both = integrated_values(model, batch, patch, submodule, steps=steps)
            sums.add(*(attribution_patch(values, patch, submodule.sae, mask, mode=mode) for values in both))
        yield sums.effects(submodule.name)


def integrated_values(
    model: nn.Module, batch: AgreementBatch, patch: Tensor, submodule: Submodule, *, steps: int = _STEPS
) -> tuple[SiteValues, SiteValues]:
    """The clean run's values, and the same with the gradient averaged on the way to the patch.

    Features and error are interpolated together, which interpolates the activation; no autoencoder is needed for that.
    The gradient is taken at the shares k / steps of the way, for k from 0 to steps - 1, at all positions at once
    (causal-dimensionality spec 2.5).

    Args:
        model: as `submodule_effects`.
        batch: examples.
        patch: (B, T, d), the activation at the site in the patched run.
        submodule: the site.
        steps: of integration.

    Raises:
        UnknownNameError, ModelError: as `site_values`.
    """

    def values() -> SiteValues:
        site, layer = submodule.site, submodule.layer
        return site_values(model, batch.clean, site=site, layer=layer, metric="logit_diff", answers=batch.answers)

    clean = values()
    total = clean.gradient
    for step in range(1, steps):
        between = torch.lerp(clean.activation, patch, step / steps)
        with patched(model, submodule.site, submodule.layer, partial(_instead, between)):
            total = total + values().gradient
    return clean, replace(clean, gradient=total / steps)


def _instead(x: Tensor, _activation: Tensor) -> Tensor:
    return x


class _Sums:
    """Sums over positions and examples; batches add up by their size."""

    def __init__(self, sae: SparseAutoencoder) -> None:
        self.attributed, self.integrated, self.activation = sae.W_dec.new_zeros(3, sae.d_sae, dtype=torch.float64)
        self.fires = sae.W_dec.new_zeros(sae.d_sae, dtype=torch.bool)
        self.errors = [0.0, 0.0]
        self.n_examples = 0

    def add(self, attributed: Attribution, integrated: Attribution) -> None:
        nodes = attributed.nodes
        self.n_examples += nodes.shape[0]
        self.fires[nodes.feature] = True
        self.activation.index_add_(0, nodes.feature, nodes.value.double())
        for place, (total, found) in enumerate(((self.attributed, attributed), (self.integrated, integrated))):
            total.index_add_(0, found.nodes.feature, found.effects.double())
            self.errors[place] += float(found.error.double().sum())

    def effects(self, name: str) -> SubmoduleEffects:
        n = self.n_examples
        return SubmoduleEffects(
            name=name,
            integrated=self.integrated / n,
            attributed=self.attributed / n,
            activation=self.activation / n,
            fires=self.fires,
            integrated_error=self.errors[1] / n,
            attributed_error=self.errors[0] / n,
            n_examples=n,
        )
