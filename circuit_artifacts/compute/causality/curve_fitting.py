"""Fits of one form of curve to logarithms of counts, by least squares from many starting points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.stats

from circuit_artifacts.compute.causality.curve_forms import Form
from circuit_artifacts.compute.causality.intervals import Interval, percentile_interval

__all__ = ["MOST_KAPPA", "Problem", "Solution", "aicc", "bootstrap_interval", "legacy_interval", "profile_interval"]

MOST_KAPPA: Final = 100.0
"""Kappa is searched from the largest count up to so many times that."""
_AT_BOUND: Final = 1e-4  # in logarithms
_EXACT: Final = 1e-9  # root mean square residual below which fits are equally good: rounding, not evidence
_TOLERANCE: Final = 1e-12
_PROFILE_TOLERANCE: Final = 1e-4  # of ln kappa

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Solution:
    """A fit.

    Attributes:
        vector: parameters as in `curve_forms` (p,).
        sse: sum of squared residuals of ln N.
    """

    vector: Doubles
    sse: float


@dataclass(frozen=True, eq=False)
class Problem:
    """A form and what it is fitted to.

    Attributes:
        form: the form.
        x: ln W (n,).
        y: ln N (n,).
        starts: points of the unit cube (S, p - 1), from which shapes are searched.
    """

    form: Form
    x: Doubles
    y: Doubles
    starts: Doubles

    @property
    def level_bounds(self) -> tuple[float, float]:
        """Of the first parameter, a logarithm."""
        if self.form.level != "kappa":
            return -np.inf, np.inf
        return float(self.y.max()), float(self.y.max() + np.log(MOST_KAPPA))

    def solve(self, *, level: float | None = None, near: Doubles | None = None, most: int | None = None) -> Solution:
        """The best fit found.

        Args:
            level: if given, the first parameter, which is then kept.
            near: a vector (p,) to begin from, too.
            most: search only from the so many starting points that fit best as they are; None from all.
        """
        lower, upper = self.form.box(self.form.limits, self.x)
        low, high = self.form.box(self.form.starts, self.x)
        shapes = low + self.starts * (high - low)
        bases = np.stack([self.form.shape(shape, self.x) for shape in shapes])
        levels = np.clip((self.y - bases).mean(axis=1), *self.level_bounds) if level is None else np.array([level])
        errors = np.square(levels[:, None] + bases - self.y).sum(axis=1)
        order = np.argsort(errors, kind="stable")[:most]
        candidates = np.column_stack([np.broadcast_to(levels, len(shapes)), shapes])[order]
        if near is not None:
            candidates = np.vstack([near, candidates])
        if level is None:
            lower, upper = (
                np.concatenate([[b], box]) for b, box in zip(self.level_bounds, (lower, upper), strict=True)
            )
        else:
            candidates = candidates[:, 1:]

        def residuals(values: Doubles) -> Doubles:
            vector = values if level is None else np.concatenate([[level], values])
            return self.form.curve(vector, self.x) - self.y

        found = [
            scipy.optimize.least_squares(
                residuals,
                np.clip(candidate, lower, upper),
                bounds=(lower, upper),
                ftol=_TOLERANCE,
                xtol=_TOLERANCE,
                gtol=_TOLERANCE,
            )
            for candidate in candidates
        ]
        best = min(found, key=lambda result: float(result.cost))
        return Solution(best.x if level is None else np.concatenate([[level], best.x]), 2 * float(best.cost))

    def at_bound(self, vector: Doubles) -> tuple[str, ...]:
        """Names of the parameters that are at a bound of their search."""
        lower, upper = self.form.box(self.form.limits, self.x)
        bounds = np.column_stack([self.level_bounds, [lower, upper]])
        near = (np.abs(vector - bounds) <= _AT_BOUND).any(axis=0)
        names = (self.form.level, *self.form.names)
        return tuple(name for name, is_near in zip(names, near, strict=True) if is_near)

    def resampled(self, x: Doubles, y: Doubles) -> Problem:
        """The same with other data."""
        return Problem(self.form, x, y, self.starts)


def aicc(n: int, n_parameters: int, sse: float) -> float:
    """Akaike's criterion with the correction for small samples; infinite where that is not defined.

    n ln(sse / n) + 2k + 2k (k + 1) / (n - k - 1), where k counts the parameters and the variance of the residuals.
    Residuals that are mere rounding count as equal.
    """
    k = n_parameters + 1
    if n <= k + 1:
        return np.inf
    return float(n * np.log(max(sse / n, _EXACT**2)) + 2 * k + 2 * k * (k + 1) / (n - k - 1))


def profile_interval(problem: Problem, solution: Solution, level: float) -> Interval | None:
    """Kappas with which the other parameters can still fit nearly as well.

    The limit of the sum of squares is that of the best fit times 1 + F / (n - p), with F the quantile of F(1, n - p),
    since widths are few. An end beyond the search is at its bound.

    Returns:
        None without degrees of freedom.
    """
    n, freedom = len(problem.x), len(problem.x) - problem.form.n_parameters
    if freedom < 1:
        return None
    quantile = float(scipy.stats.f.ppf(level, 1, freedom))
    limit = max(solution.sse, n * _EXACT**2) * (1 + quantile / freedom)
    estimate = float(solution.vector[0])

    def excess(log_kappa: float) -> float:
        return problem.solve(level=log_kappa, near=solution.vector, most=2).sse - limit

    ends = []
    for bound in problem.level_bounds:
        is_open = abs(bound - estimate) <= _PROFILE_TOLERANCE or excess(bound) <= 0
        ends.append(
            bound if is_open else float(scipy.optimize.brentq(excess, bound, estimate, xtol=_PROFILE_TOLERANCE))
        )
    return Interval(float(np.exp(ends[0])), float(np.exp(ends[1])), level, "profile", "residual")


def bootstrap_interval(problem: Problem, solution: Solution, samples: Doubles, level: float) -> Interval | None:
    """Kappas of counts (B, n) from resampled sequences; those with a count of 0 are left out."""
    usable = samples[(samples > 0).all(axis=1)]
    fits = (problem.resampled(problem.x, np.log(counts)).solve(near=solution.vector, most=1) for counts in usable)
    return percentile_interval([float(np.exp(fit.vector[0])) for fit in fits], unit="sequence", level=level)


def legacy_interval(problem: Problem, n_boot: int, random: np.random.Generator, level: float) -> Interval | None:
    """Kappas of widths drawn with replacement; draws of fewer different widths than parameters are left out."""
    kappas = []
    for draw in random.integers(len(problem.x), size=(n_boot, len(problem.x))):
        if len(np.unique(draw)) >= problem.form.n_parameters:
            fit = problem.resampled(problem.x[draw], problem.y[draw]).solve(most=2)
            kappas.append(float(np.exp(fit.vector[0])))
    return percentile_interval(kappas, unit="width_point", level=level)
