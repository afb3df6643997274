"""Four cells: a trained or a random encoder with a trained or a random decoder (causal-dimensionality spec 2.6).

The model is left alone: what the autoencoder does not explain stays in the error node, so that only features and
directions differ in the attribution ``-f_i <g, d_i>``. The causal threshold is fixed by the trained autoencoder.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from circuit_artifacts.compute.causality.capture import SiteValues
from circuit_artifacts.compute.causality.random_parts import (
    RandomDecoder,
    RandomEncoder,
    ThresholdPolicy,
    random_decoder,
    random_encoder,
    with_decoder,
    with_encoder,
)
from circuit_artifacts.compute.causality.scores import FeatureScores, Reduction, score_features
from circuit_artifacts.compute.saes import EncodeMode, SparseAutoencoder
from circuit_artifacts.errors import ModelError

__all__ = ["CellCounts", "CellSettings", "FourCells", "Inflation", "four_cells"]

_DECODER_STREAM: Final = 1 << 32  # added to the seed, so that encoder and decoder are drawn independently


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSettings:
    """What is random, and how.

    Attributes:
        policy: what a random encoder does with biases and thresholds.
        encoder: kind of random encoder.
        decoder: kind of random decoder.
        seeds: one repeat of each random cell per seed.
        reduction: how effects at tokens become a score; see `scores`.
        q: the percentile of the trained scores, over all features, that is the causal threshold.
        mode: as in `SparseAutoencoder.encode`.
    """

    policy: ThresholdPolicy = "match_rate"
    encoder: RandomEncoder = "blocks"
    decoder: RandomDecoder = "haar"
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    reduction: Reduction = "mean_abs"
    q: float = 0.98
    mode: EncodeMode = "faithful"

    @property
    def scale(self) -> str:
        """How long random encoder directions are."""
        return "norms of the trained directions" if self.encoder == "blocks" else "as orthonormality has it"


@dataclass(frozen=True, slots=True, kw_only=True)
class CellCounts:
    """One cell with one seed.

    Attributes:
        encoder: whose features.
        decoder: whose directions.
        seed: of what is random; None where nothing is.
        n_repr: features that fire at some token that counts.
        n_causal: those of them whose score is above the threshold.
        mean_l0: features that fire at a token, on average.
    """

    encoder: Literal["trained", "random"]
    decoder: Literal["trained", "random"]
    seed: int | None
    n_repr: int
    n_causal: int
    mean_l0: float


class Inflation(NamedTuple):
    """Causal features with a random encoder divided by those with the trained one, over the seeds."""

    mean: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FourCells:
    """All cells, first the trained one.

    Attributes:
        settings: how they were made.
        tau: the causal threshold, in units of the score: the metric's, per token.
        n_tokens: tokens that count.
        cells: every repeat of every cell.
    """

    settings: CellSettings
    tau: float
    n_tokens: int
    cells: tuple[CellCounts, ...]

    @property
    def inflation(self) -> Inflation | None:
        """With the trained decoder in both; None if no trained feature is causal, or there were no seeds."""
        base = self.cells[0].n_causal
        repeats = [cell.n_causal for cell in self.cells if (cell.encoder, cell.decoder) == ("random", "trained")]
        if not base or not repeats:
            return None
        return Inflation(statistics.fmean(repeats) / base, min(repeats) / base, max(repeats) / base)


def four_cells(
    sae: SparseAutoencoder,
    batches: Sequence[tuple[SiteValues, Tensor]],
    settings: CellSettings | None = None,
    *,
    tau: float | None = None,
) -> FourCells:
    """Count firing and causal features in every cell.

    Args:
        sae: the trained autoencoder; not gated.
        batches: values at its site, each with the mask (B, T) of the tokens that count. They are gone through once per
            cell and seed, and firing rates are matched on them too.
        settings: what is random.
        tau: the causal threshold; None takes the percentile of the trained scores.

    Raises:
        UnknownNameError: no such kind of encoder or decoder, policy or mode.
        ModelError: a gated autoencoder, no tokens, or so few firing features that the percentile is zero.
    """
    settings = settings or CellSettings()
    inputs = torch.cat([values.activation[mask] for values, mask in batches]) if batches else torch.empty(0)
    if not len(inputs):
        problem = "there are no tokens to count features on"
        raise ModelError(problem, where="batches")

    def score(variant: SparseAutoencoder) -> FeatureScores:
        return score_features(batches, [variant], reduction=settings.reduction, mode=settings.mode)[0]

    trained = score(sae)
    if tau is None:
        tau = float(np.quantile(trained.scores, settings.q))
        if tau <= 0:
            firing = f"{int((trained.firing > 0).sum())} of {sae.d_sae} features fire"
            problem = "the percentile of the scores is zero, because too few features fire"
            raise ModelError(
                problem, where="q", found=f"{settings.q}; {firing}", remedy="Use more tokens, or give tau."
            )
    cells = [_counts("trained", "trained", None, trained, tau)]
    for encoder, decoder, seed, variant in _variants(sae, inputs, settings):
        cells.append(_counts(encoder, decoder, seed, score(variant), tau))
    return FourCells(settings=settings, tau=tau, n_tokens=len(inputs), cells=tuple(cells))


_Part = Literal["trained", "random"]


def _variants(
    sae: SparseAutoencoder, inputs: Tensor, settings: CellSettings
) -> Iterator[tuple[_Part, _Part, int, SparseAutoencoder]]:
    """One at a time, so that a single one is in memory."""
    for seed in settings.seeds:
        W_enc = random_encoder(sae, settings.encoder, seed=seed)
        W_dec = random_decoder(sae, settings.decoder, seed=seed + _DECODER_STREAM)
        other = with_encoder(sae, W_enc, settings.policy, inputs=inputs, mode=settings.mode)
        yield "random", "trained", seed, other
        yield "trained", "random", seed, with_decoder(sae, W_dec)
        yield "random", "random", seed, with_decoder(other, W_dec)


def _counts(encoder: _Part, decoder: _Part, seed: int | None, scores: FeatureScores, tau: float) -> CellCounts:
    fires = scores.firing > 0
    return CellCounts(
        encoder=encoder,
        decoder=decoder,
        seed=seed,
        n_repr=int(fires.sum()),
        n_causal=int((fires & (scores.scores > tau)).sum()),
        mean_l0=scores.l0,
    )
