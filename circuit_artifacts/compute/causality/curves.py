"""Does the number of causal features saturate as the autoencoder grows, and where? Fits with their uncertainty.

How the published value was fitted is unknown: form, loss, weights, bounds and what was resampled. Here all forms are
fitted, to logarithms of counts, so that errors are relative, and compared by Akaike's criterion
(causal-dimensionality spec 2.4). An asymptote of a count of features is no effective rank: it may exceed the width of
the model, which is then said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from circuit_artifacts.compute.causality.curve_fitting import (
    Problem,
    aicc,
    bootstrap_interval,
    legacy_interval,
    profile_interval,
)
from circuit_artifacts.compute.causality.curve_forms import FORMS, predict, through_ends
from circuit_artifacts.compute.causality.intervals import Interval
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.schemas.causal_results import EXTRAPOLATED

__all__ = ["CurveFit", "CurveFits", "Verdict", "fit_curves", "predict", "through_ends"]

N_STARTS: Final = 24
_CLOSE: Final = 2.0  # units of AICc

Doubles = npt.NDArray[np.float64]
Verdict = Literal["saturation", "no saturation detected", "too few widths"]


@dataclass(frozen=True)
class CurveFit:
    """One form, fitted.

    Attributes:
        form: its name.
        parameters: by name; empty if there are fewer widths than parameters.
        kappa: asymptote; None for ``power``, and without parameters.
        sse: sum of squared residuals of ln N; None without parameters.
        aicc: see `curve_fitting.aicc`; infinite with fewer than five widths for two parameters, or six for three.
        at_bound: names of the parameters that ended at a bound of their search.
        extrapolated: kappa is more than 1.5 times the largest count.
        exceeds_d_model: kappa, or the upper end of `interval`, is more than d_model; None if that is not known.
        profile: interval of kappa by profile likelihood, with the quantile of F for few widths; an end that the data do
            not bound is at the bound of the search. None without kappa or degrees of freedom.
        bootstrap: interval by resampled sequences, if resampled counts were given.
        legacy: interval by resampled widths, if asked for.
    """

    form: str
    parameters: dict[str, float] = field(default_factory=dict)
    kappa: float | None = None
    sse: float | None = None
    aicc: float = np.inf
    at_bound: tuple[str, ...] = ()
    extrapolated: bool = False
    exceeds_d_model: bool | None = None
    profile: Interval | None = None
    bootstrap: Interval | None = None
    legacy: Interval | None = None

    @property
    def interval(self) -> Interval | None:
        """The bootstrap over sequences, or else the profile."""
        return self.bootstrap or self.profile


@dataclass(frozen=True)
class CurveFits:
    """All forms.

    Attributes:
        widths: ascending.
        counts: there.
        d_model: of the model, if known.
        rows: one per form.
        best: the form of least AICc; None if no form has one.
        selected: the same among the forms that have a kappa, whose kappa is `kappa_hat`.
        verdict: "no saturation detected" if ``power`` is within 2 units of the least AICc, or (ours) the selected kappa
            is at the upper bound of its search. "too few widths" if there is no AICc to compare.
    """

    widths: tuple[float, ...]
    counts: tuple[float, ...]
    d_model: int | None
    rows: tuple[CurveFit, ...]
    best: str | None
    selected: str | None
    verdict: Verdict

    def row(self, form: str) -> CurveFit:
        """The fit of one form."""
        return self.rows[list(FORMS).index(form)]

    @property
    def kappa_hat(self) -> float | None:
        """Kappa of the selected form. It means something only if the verdict is "saturation"."""
        return None if self.selected is None else self.row(self.selected).kappa

    @property
    def kappa_over_d_model(self) -> float | None:
        """The same as a multiple of the model's width."""
        return None if self.kappa_hat is None or self.d_model is None else self.kappa_hat / self.d_model


def fit_curves(
    widths: npt.ArrayLike,
    counts: npt.ArrayLike,
    *,
    d_model: int | None = None,
    resampled: npt.ArrayLike | None = None,
    n_legacy: int = 0,
    n_starts: int = N_STARTS,
    seed: int = 0,
    level: float = 0.95,
) -> CurveFits:
    """Fit all forms.

    Args:
        widths: (n,), at least two, all different.
        counts: (n,), causal features at each, above 0: a logarithm is taken.
        d_model: width of the model.
        resampled: (n_boot, n), the counts recomputed from sequences drawn with replacement. Rows with a count of 0 are
            left out, as the interval's n_boot shows.
        n_legacy: resamples of the widths themselves, for comparison with published intervals only: kappa then falls
            below the largest count wherever that is not drawn. Draws of fewer widths than parameters are left out.
        n_starts: searches per form, from random points.
        seed: of those points and the legacy bootstrap, so that equal calls give equal results.
        level: of the intervals.

    Raises:
        SchemaError: widths, counts or resampled counts that are not such, or do not match.
    """
    order, data = _checked_data(widths, counts)
    x, y = np.log(data)
    samples = _checked_samples(resampled, len(order))[:, order]
    rows = []
    for number, (name, form) in enumerate(FORMS.items()):
        random = np.random.default_rng([seed, number])
        problem = Problem(form, x, y, random.uniform(size=(max(1, n_starts), form.n_parameters - 1)))
        rows.append(_row(name, problem, d_model, samples, (n_legacy, random), level))
    best = _least(rows)
    chosen = _least([row for row in rows if row.kappa is not None])
    power = next(row for row in rows if row.form == "power")
    verdict: Verdict = "saturation"
    if best is None or chosen is None:
        verdict = "too few widths"
    elif power.aicc - best.aicc <= _CLOSE or _is_unbounded(chosen, data[1]):
        verdict = "no saturation detected"
    return CurveFits(
        tuple(data[0].tolist()),
        tuple(data[1].tolist()),
        d_model,
        tuple(rows),
        None if best is None else best.form,
        None if chosen is None else chosen.form,
        verdict,
    )


def _row(
    name: str,
    problem: Problem,
    d_model: int | None,
    samples: Doubles,
    legacy: tuple[int, np.random.Generator],
    level: float,
) -> CurveFit:
    n, form = len(problem.x), problem.form
    if n < form.n_parameters:
        return CurveFit(name)
    solution = problem.solve()
    parameters = form.parameters(solution.vector)
    kappa = parameters.get("kappa")
    profile = bootstrap = by_width = None
    if kappa is not None:
        profile = profile_interval(problem, solution, level)
        bootstrap = bootstrap_interval(problem, solution, samples, level)
        by_width = legacy_interval(problem, *legacy, level)
    interval = bootstrap or profile
    return CurveFit(
        form=name,
        parameters=parameters,
        kappa=kappa,
        sse=solution.sse,
        aicc=aicc(n, form.n_parameters, solution.sse),
        at_bound=problem.at_bound(solution.vector),
        extrapolated=kappa is not None and kappa > EXTRAPOLATED * np.exp(problem.y.max()),
        exceeds_d_model=None
        if d_model is None or kappa is None
        else max(kappa, interval.hi if interval else kappa) > d_model,
        profile=profile,
        bootstrap=bootstrap,
        legacy=by_width,
    )


def _least(rows: list[CurveFit]) -> CurveFit | None:
    """The row of least AICc, the first of equals, which has no more parameters."""
    row = min(rows, key=lambda row: row.aicc)
    return row if np.isfinite(row.aicc) else None


def _is_unbounded(row: CurveFit, counts: Doubles) -> bool:
    return "kappa" in row.at_bound and row.kappa is not None and row.kappa > EXTRAPOLATED * counts.max()


def _checked_data(widths: npt.ArrayLike, counts: npt.ArrayLike) -> tuple[npt.NDArray[np.intp], Doubles]:
    """The order of the widths, and widths and counts in that order (2, n)."""
    found = [np.asarray(values, np.float64) for values in (widths, counts)]
    n = len(found[0]) if found[0].ndim == 1 else 0
    if n < 2 or found[1].shape != (n,):
        problem = "curves are fitted to a count at each of several widths"
        shapes = f"{found[0].shape} widths, {found[1].shape} counts"
        raise SchemaError(problem, found=shapes, expected="one dimension, two or more")
    data = np.stack(found)
    if not np.isfinite(data).all() or data[0].min() <= 0 or len(np.unique(data[0])) < n:
        problem = "the widths are not different numbers above 0, or something is not finite"
        raise SchemaError(problem, where="widths", found=data[0].tolist())
    if data[1].min() <= 0:
        problem = "a count is not above 0, and its logarithm is fitted"
        remedy = "Leave that width out, or lower the threshold of what is causal."
        raise SchemaError(problem, where=f"width {data[0][data[1].argmin()]:g}", found=data[1].min(), remedy=remedy)
    order = np.argsort(data[0])
    return order, data[:, order]


def _checked_samples(resampled: npt.ArrayLike | None, n: int) -> Doubles:
    samples = np.empty((0, n)) if resampled is None else np.asarray(resampled, np.float64)
    if samples.ndim != 2 or samples.shape[1] != n or not np.isfinite(samples).all() or (samples < 0).any():
        problem = "resampled counts are not finite numbers from 0, one row per resample and one column per width"
        raise SchemaError(problem, where="resampled", found=samples.shape, expected=f"(n_boot, {n})")
    return samples
