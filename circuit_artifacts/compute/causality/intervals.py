"""Confidence intervals, and how they came about. Fields are named as in the result files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Interval", "basic_interval", "percentile_interval"]

Method = Literal["percentile", "basic", "profile"]
Unit = Literal["sequence", "feature", "width_point", "residual"]


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Attributes:
        lo: lower end.
        hi: upper end.
        level: nominal coverage, a fraction.
        method: "percentile" of a bootstrap; "basic", which mirrors that at the estimate; "profile" likelihood.
        unit: what was resampled, or for a profile whose scatter counts.
        median: of the bootstrap.
        n_boot: resamples that gave a value.
    """

    lo: float
    hi: float
    level: float
    method: Method
    unit: Unit
    median: float | None = None
    n_boot: int | None = None


def percentile_interval(values: npt.ArrayLike, *, unit: Unit, level: float = 0.95) -> Interval | None:
    """The quantiles of resampled values that leave equal shares outside; None if there are none.

    Args:
        values: (B,); those that are not finite are left out.
        unit: what was resampled.
        level: nominal coverage.
    """
    found = np.asarray(values, np.float64)
    found = found[np.isfinite(found)]
    if not len(found):
        return None
    lo, median, hi = np.quantile(found, [(1 - level) / 2, 0.5, (1 + level) / 2])
    return Interval(float(lo), float(hi), level, "percentile", unit, float(median), len(found))


def basic_interval(estimate: float, values: npt.ArrayLike, *, unit: Unit, level: float = 0.95) -> Interval | None:
    """The percentile interval mirrored at the estimate; None if there are no values.

    A resample is biased against the estimate about as that is against the truth. A percentile interval is therefore
    off by that bias twice; mirrored, it makes up for it.

    Args:
        estimate: from all data.
        values: as `percentile_interval`.
        unit: as `percentile_interval`.
        level: as `percentile_interval`.
    """
    quantiles = percentile_interval(values, unit=unit, level=level)
    if quantiles is None:
        return None
    lo, hi = 2 * estimate - quantiles.hi, 2 * estimate - quantiles.lo
    return Interval(lo, hi, level, "basic", unit, quantiles.median, quantiles.n_boot)
