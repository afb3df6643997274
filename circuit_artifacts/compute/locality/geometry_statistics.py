"""Do features that point alike have alike entropies? Correlations, and what chance gives (locality spec 5.6).

Two predictors of a pair's difference in entropy are tried: the cosine of their decoder rows, ``signed``, and its
magnitude, ``abs``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.stats

__all__ = [
    "N_PERMUTATIONS",
    "PREDICTORS",
    "SEED",
    "Correlation",
    "NeighbourCorrelation",
    "correlations",
    "neighbour_correlation",
]

N_PERMUTATIONS: Final = 200
SEED: Final = 0
PREDICTORS: Final = ("signed", "abs")

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Correlation:
    """How one predictor goes with the differences in entropy, over all pairs.

    NaN where something is not defined: for fewer than three features, or if the cosines or the entropies are all equal.

    Attributes:
        spearman_r: rank correlation.
        spearman_p: two-sided, as if pairs were independent, which they are not.
        pearson_r: linear correlation.
        pearson_p: as `spearman_p`.
        null: rank correlations with entropies permuted among features, one per permutation.
        permutation_null_mean: mean of `null`.
        permutation_null_std: its standard deviation, ddof 0.
        permutation_z: standard deviations between `spearman_r` and that mean.
        permutation_p_two_sided: share of `null` at least as far from 0 as `spearman_r`; it can be 0.
    """

    spearman_r: float
    spearman_p: float
    pearson_r: float
    pearson_p: float
    null: Doubles
    permutation_null_mean: float
    permutation_null_std: float
    permutation_z: float
    permutation_p_two_sided: float


@dataclass(frozen=True)
class NeighbourCorrelation:
    """Rank correlation of features' entropies with the mean entropies of their `k` neighbours; NaN if not defined."""

    k: int
    spearman_r: float
    spearman_p: float


def correlations(
    entropies: npt.NDArray[Any],
    matrix: npt.NDArray[np.float32],
    *,
    n_permutations: int = N_PERMUTATIONS,
    seed: int = SEED,
) -> dict[str, Correlation]:
    """Correlate cosines with differences in entropy over all pairs of features.

    Args:
        entropies: (N,) bits, one per feature.
        matrix: (N, N), cosines of the features.
        n_permutations: how often the entropies are permuted, at least once.
        seed: of numpy's generator, which starts anew for each predictor: both see the same permutations.

    Returns:
        The correlation of each of ``PREDICTORS``.
    """
    n_features = len(entropies)
    first, second = np.triu_indices(n_features, 1)
    cosine = matrix[first, second].astype(np.float64)
    predictors = dict(zip(PREDICTORS, (cosine, np.abs(cosine)), strict=True))
    difference = np.abs(entropies[first] - entropies[second])
    # Permuted entropies have the same differences, at other pairs: they are ranked once.
    ranks = np.zeros((n_features, n_features))
    ranks[first, second] = ranks[second, first] = _centred_ranks(difference)
    predictor_ranks = np.stack([_centred_ranks(values) for values in predictors.values()])
    generator = np.random.default_rng(seed)
    orders = [np.arange(n_features), *(generator.permutation(n_features) for _ in range(n_permutations))]
    # Ranks are halves of integers, so up to 700 features these sums are exact, and equal coefficients are found equal.
    products = np.stack([predictor_ranks @ ranks[order[first], order[second]] for order in orders], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        scales = np.sqrt((predictor_ranks**2).sum(axis=1) * (ranks[first, second] ** 2).sum())
        coefficients = products / scales[:, None]
    return {
        name: _correlation(values, difference, coefficient[0], coefficient[1:])
        for (name, values), coefficient in zip(predictors.items(), coefficients, strict=True)
    }


def neighbour_correlation(neighbours: pd.DataFrame, k: int) -> NeighbourCorrelation:
    """Whether features are like their neighbours.

    Args:
        neighbours: as by `geometry.neighbours`.
        k: how many neighbours that was asked for.
    """
    spearman = _tested(scipy.stats.spearmanr, neighbours["H_pos"].to_numpy(), neighbours["nbr10_H_mean"].to_numpy())
    return NeighbourCorrelation(min(k, max(0, len(neighbours) - 1)), *spearman)


def _correlation(values: Doubles, difference: Doubles, observed: float, null: Doubles) -> Correlation:
    mean, deviation = float(null.mean()), float(null.std())
    return Correlation(
        *_tested(scipy.stats.spearmanr, values, difference),
        *_tested(scipy.stats.pearsonr, values, difference),
        null=null,
        permutation_null_mean=mean,
        permutation_null_std=deviation,
        permutation_z=float(observed - mean) / deviation if deviation > 0 else np.nan,
        permutation_p_two_sided=float(np.mean(np.abs(null) >= abs(observed))) if np.isfinite(observed) else np.nan,
    )


def _tested(test: Callable[[Doubles, Doubles], Any], x: Doubles, y: Doubles) -> tuple[float, float]:
    """Coefficient and p-value of one of SciPy's tests; NaN for values that it would warn of."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan, np.nan
    result = test(x, y)
    return float(result.statistic), float(result.pvalue)


def _centred_ranks(values: Doubles) -> Doubles:
    """Ranks less their mean; equal values share the mean of theirs, as in `scipy.stats.spearmanr`."""
    return scipy.stats.rankdata(values) - (len(values) + 1) / 2
