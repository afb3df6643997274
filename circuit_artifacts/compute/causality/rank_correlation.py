"""How well first-order effects rank features by their exact effects, on a sample of features.

The rank correlation depends strongly on which features are sampled, since many have next to no effect. So a uniform
sample and one that is stratified by score stand side by side, and pairs are kept (causal-dimensionality spec 2.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.stats

from circuit_artifacts.compute.causality.intervals import Interval, percentile_interval
from circuit_artifacts.errors import SchemaError

__all__ = ["FeatureSample", "RankCorrelation", "rank_correlation", "sample_features"]

Floats = npt.NDArray[np.float64]

_DECILES = 10


class FeatureSample(NamedTuple):
    """Features to ablate, ascending; a feature may be in both.

    Attributes:
        uniform: drawn among all features that fire.
        stratified: drawn in equal parts from each tenth of them by score.
    """

    uniform: npt.NDArray[np.int64]
    stratified: npt.NDArray[np.int64]

    @property
    def features(self) -> npt.NDArray[np.int64]:
        """All of them, once."""
        return np.union1d(self.uniform, self.stratified)


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rho of n features.

    Attributes:
        n_features: n.
        rho: of effects summed over sequences.
        p_value: two-sided, as `scipy.stats.spearmanr` gives it.
        over_features: 95 % interval from resampling features; None if no resample has an order.
        over_sequences: the same from resampling sequences.
    """

    n_features: int
    rho: float
    p_value: float
    over_features: Interval | None
    over_sequences: Interval | None


def sample_features(
    scores: Floats, firing: npt.NDArray[np.int64], *, n_uniform: int = 500, n_stratified: int = 500, seed: int = 0
) -> FeatureSample:
    """Draw features among those that fire; all of them where they are fewer than asked for.

    Args:
        scores: (width,).
        firing: (width,), at how many tokens each fires.
        n_uniform: how many to draw at random.
        n_stratified: how many to draw by score, a tenth from each decile.
        seed: of the draws.

    Raises:
        SchemaError: no feature fires.
    """
    alive = np.flatnonzero(firing)
    if not len(alive):
        problem = "no feature fires, so that there is none to sample"
        raise SchemaError(problem, where="firing")
    rng = np.random.default_rng(seed)
    uniform = rng.choice(alive, min(n_uniform, len(alive)), replace=False)
    deciles = np.array_split(alive[np.argsort(scores[alive], kind="stable")], _DECILES)
    shares = [min(len(decile), -(-n_stratified // _DECILES)) for decile in deciles]
    stratified = [rng.choice(decile, share, replace=False) for decile, share in zip(deciles, shares, strict=True)]
    return FeatureSample(np.sort(uniform), np.sort(np.concatenate(stratified)))


def rank_correlation(
    atp: Floats, exact: Floats, *, absolute: bool = False, n_boot: int = 1000, seed: int = 0
) -> RankCorrelation:
    """Spearman's rank correlation of first-order and exact effects.

    Args:
        atp: (n, b), effects of n features in b sequences.
        exact: (n, b).
        absolute: compare absolute values of the sums over sequences.
        n_boot: resamples of features, and of sequences.
        seed: of the resamples.

    Raises:
        SchemaError: arrays of different shapes, fewer than three features, or effects that are all equal.
    """
    if atp.shape != exact.shape or len(atp) < 3:
        problem = "a rank correlation takes both effects of at least three features"
        raise SchemaError(problem, found=f"{atp.shape} and {exact.shape}")

    def pair(weights: Floats) -> tuple[Floats, Floats]:
        x, y = weights @ atp.T, weights @ exact.T
        return (np.abs(x), np.abs(y)) if absolute else (x, y)

    n, b = atp.shape
    (x,), (y,) = pair(np.ones((1, b)))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        problem = "the effects of all features are equal, so that they have no order"
        raise SchemaError(problem, found=f"{n} features")
    rng = np.random.default_rng(seed)
    drawn = rng.integers(n, size=(n_boot, n))
    weights = rng.multinomial(b, np.full(b, 1 / b), size=n_boot).astype(np.float64)
    point = scipy.stats.spearmanr(x, y)
    return RankCorrelation(
        n,
        float(point.statistic),
        float(point.pvalue),
        percentile_interval(_by_row(x[drawn], y[drawn]), unit="feature"),
        percentile_interval(_by_row(*pair(weights)), unit="sequence"),
    )


def _by_row(x: Floats, y: Floats) -> Floats:
    """Spearman's rho of each row of (k, n); NaN where all of a row are equal."""
    rx, ry = (scipy.stats.rankdata(values, axis=1) for values in (x, y))
    rx, ry = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (rx, ry))
    lengths = np.sqrt((rx**2).sum(axis=1) * (ry**2).sum(axis=1))
    rho: Floats = np.divide((rx * ry).sum(axis=1), lengths, out=np.full(len(rx), np.nan), where=lengths > 0)
    return rho
