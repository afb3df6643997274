"""One score per feature from effects per token, added up over a corpus so that its sequences can be resampled.

With a_i(t) of `attribution`, the score s_i of feature i is (causal-dimensionality spec 2.2, where the choice is open)

===================  ==================================================================================
``mean_abs``         mean of abs(a_i(t)) over all tokens that count; the default
``max_abs``          largest abs(a_i(t))
``abs_mean``         mean over sequences of abs(sum_t a_i(t)), so that signs may cancel within a sequence
``mean_abs_active``  mean of abs(a_i(t)) over the tokens where the feature fires
===================  ==================================================================================

A feature fires where its activation is not zero: positive, but for negative thresholds in compat mode. One that never
fires has score 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple, TypeVar, get_args

import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch
from torch import Tensor

from circuit_artifacts.compute.causality.attribution import Attribution, Moments, attribution
from circuit_artifacts.compute.causality.capture import SiteValues
from circuit_artifacts.compute.saes import EncodeMode, SparseAutoencoder
from circuit_artifacts.errors import SchemaError, UnknownNameError

__all__ = ["REDUCTIONS", "FeatureScores", "Reduction", "score_features"]

Reduction = Literal["mean_abs", "max_abs", "abs_mean", "mean_abs_active"]
REDUCTIONS: Final[tuple[str, ...]] = get_args(Reduction)

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Number = TypeVar("Number", np.int64, np.float64)


class _Pairs(NamedTuple):
    """Per sequence and feature that is on in it: a partial result of the reduction, and at how many tokens it fires."""

    sequence: npt.NDArray[np.int32]
    feature: npt.NDArray[np.int32]
    partial: Floats
    firing: npt.NDArray[np.int32]


class FeatureScores:
    """Scores of all features of one autoencoder; holds only pairs of sequences and features that are on in them.

    Args:
        width: number of features.
        reduction: one of ``REDUCTIONS``.

    Attributes:
        width: as given.
        reduction: as given.

    Raises:
        UnknownNameError: no such reduction.
    """

    def __init__(self, width: int, reduction: Reduction = "mean_abs") -> None:
        if reduction not in REDUCTIONS:
            problem = "there is no such reduction of effects to a score"
            raise UnknownNameError(problem, found=repr(reduction), expected=", ".join(REDUCTIONS))
        self.width = width
        self.reduction: Reduction = reduction
        self._pairs: list[_Pairs] = []
        self._tokens: list[Counts] = []
        self._errors: list[Floats] = []
        self._moments: list[Moments] = []
        self._table: _Table | None = None

    def add(self, found: Attribution) -> None:
        """Take in a batch; its sequences follow those that came before.

        Raises:
            SchemaError: it is about an autoencoder of another width.
        """
        self._require_width(found.nodes.width)
        segments = found.nodes.segments
        pairs = _Pairs(
            (segments.sequence + self.n_sequences).int().cpu().numpy(),
            segments.feature.int().cpu().numpy(),
            self._partial(found).cpu().numpy(),
            segments.sums(found.nodes.value != 0).int().cpu().numpy(),
        )
        error = found.error.double()
        over_tokens = {"max_abs": error.abs().amax(dim=1), "abs_mean": error.sum(dim=1).abs()}
        self._pairs.append(pairs)
        self._tokens.append(found.mask.sum(dim=1).cpu().numpy())
        self._errors.append(over_tokens.get(self.reduction, error.abs().sum(dim=1)).cpu().numpy())
        self._moments.append(found.moments._replace(total=found.moments.total.cpu()))
        self._table = None

    def merge(self, other: FeatureScores) -> None:
        """Take in the scores of further sequences; they follow those that came before.

        Raises:
            SchemaError: they are about an autoencoder of another width, or of another reduction.
        """
        self._require_width(other.width)
        if other.reduction != self.reduction:
            problem = "scores of different reductions do not add up"
            raise SchemaError(problem, found=other.reduction, expected=self.reduction)
        shift = np.int32(self.n_sequences)
        self._pairs += [pairs._replace(sequence=pairs.sequence + shift) for pairs in other._pairs]
        self._tokens += other._tokens
        self._errors += other._errors
        self._moments += other._moments
        self._table = None

    @property
    def n_sequences(self) -> int:
        """Sequences so far."""
        return sum(map(len, self._tokens))

    @property
    def n_tokens(self) -> int:
        """Tokens so far that count."""
        return sum(int(tokens.sum()) for tokens in self._tokens)

    @property
    def features(self) -> Counts:
        """The features that are on somewhere, ascending (m,)."""
        return self._joined().features

    @property
    def scores(self) -> Floats:
        """(width,), 0 for features that are never on."""
        return self._spread(self.resampled(np.ones((1, self.n_sequences)))[0])

    @property
    def firing(self) -> Counts:
        """At how many tokens each feature fires (width,)."""
        return self._spread(self._joined().firing.sum(axis=0).astype(np.int64))

    @property
    def total(self) -> float:
        """S, the sum of all scores; see conservation in causal-dimensionality spec 2.3."""
        return float(self.scores.sum())

    @property
    def error_score(self) -> float:
        """The score of the error node, as if it were a feature that fires everywhere."""
        errors = np.concatenate(self._errors)
        if self.reduction == "max_abs":
            return float(errors.max())
        return float(errors.sum()) / (len(errors) if self.reduction == "abs_mean" else self.n_tokens)

    @property
    def l0(self) -> float:
        """Features that fire, per token."""
        return float(self.firing.sum() / self.n_tokens)

    @property
    def fvu(self) -> float:
        """Fraction of variance unexplained: squared error by squared distance from the mean activation."""
        total = torch.stack([moments.total for moments in self._moments]).sum(dim=0)
        squares = sum(moments.squares for moments in self._moments)
        residual = sum(moments.residual_squares for moments in self._moments)
        return residual / (squares - float(total.square().sum()) / self.n_tokens)

    def firing_curve(self) -> tuple[Counts, Counts]:
        """How many features have fired by the end of each sequence: tokens so far, and features so far, (n,) each."""
        firing = self._joined().firing.tocoo()
        fires = firing.data > 0
        first = np.full(len(self.features), self.n_sequences)
        np.minimum.at(first, firing.col[fires], firing.row[fires])
        new = np.bincount(first, minlength=self.n_sequences)[: self.n_sequences]
        return np.concatenate(self._tokens).cumsum(), new.cumsum()

    def resampled(self, weights: npt.NDArray[np.floating]) -> Floats:
        """Scores as if each sequence occurred as often as a weight says.

        Args:
            weights: (k, n_sequences), not negative.

        Returns:
            (k, m), of the features that are on somewhere.
        """
        table = self._joined()
        if self.reduction == "max_abs":
            return np.stack([_column_maxima(table.partial, row > 0) for row in weights])
        sums: Floats = weights @ table.partial
        if self.reduction == "mean_abs_active":
            active: Floats = weights @ table.firing
            return sums / np.maximum(active, 1)
        per = np.concatenate(self._tokens) if self.reduction == "mean_abs" else np.ones(self.n_sequences)
        return sums / (weights @ per)[:, None]

    def _partial(self, found: Attribution) -> Tensor:
        segments, effects = found.nodes.segments, found.effects
        if self.reduction == "abs_mean":
            return segments.sums(effects).abs()
        return segments.maxima(effects.abs()) if self.reduction == "max_abs" else segments.sums(effects.abs())

    def _require_width(self, width: int) -> None:
        if width != self.width:
            problem = "the effects are of an autoencoder with another number of features"
            raise SchemaError(problem, found=width, expected=self.width)

    def _joined(self) -> _Table:
        if not self._tokens:
            problem = "no batch has been scored yet"
            raise SchemaError(problem)
        if self._table is None:
            columns = zip(*self._pairs, strict=True)
            sequence, feature, partial, firing = (np.concatenate(column) for column in columns)
            features, place = np.unique(feature, return_inverse=True)
            where, shape = (sequence, place), (self.n_sequences, len(features))
            matrices = (scipy.sparse.csr_array((data, where), shape=shape) for data in (partial, firing))
            self._table = _Table(features.astype(np.int64), *matrices)
        return self._table

    def _spread(self, values: npt.NDArray[Number]) -> npt.NDArray[Number]:
        full = np.zeros(self.width, values.dtype)
        full[self.features] = values
        return full


class _Table(NamedTuple):
    """All pairs: the features (m,), and matrices (n_sequences, m) of partial results and firing tokens."""

    features: Counts
    partial: scipy.sparse.csr_array
    firing: scipy.sparse.csr_array


def score_features(
    batches: Iterable[tuple[SiteValues, Tensor]],
    saes: Sequence[SparseAutoencoder],
    *,
    reduction: Reduction = "mean_abs",
    mode: EncodeMode = "faithful",
) -> list[FeatureScores]:
    """Score all features of several autoencoders of one site, each batch read once.

    Args:
        batches: what `site_values` gives, with the tokens (B, T) bool that count.
        saes: the autoencoders.
        reduction: one of ``REDUCTIONS``.
        mode: as in `SparseAutoencoder.encode`.

    Raises:
        UnknownNameError, ModelError: as `attribution`.
    """
    scores = [FeatureScores(sae.d_sae, reduction) for sae in saes]
    for values, mask in batches:
        for sae, score in zip(saes, scores, strict=True):
            score.add(attribution(values, sae, mask, mode=mode))
    return scores


def _column_maxima(matrix: scipy.sparse.csr_array, rows: npt.NDArray[np.bool_]) -> Floats:
    if not rows.any():
        return np.zeros(matrix.shape[1])
    maxima: Floats = matrix[rows].max(axis=0).toarray().reshape(-1)
    return maxima
