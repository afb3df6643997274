"""Counts of causal features, the curves through them, and kappa with its interval (causal-dimensionality spec 2.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from circuit_artifacts.compute.causality.curve_forms import FORMS, predict  # without torch
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.canvas import bottom_legend, default_settings, new_figure, save
from circuit_artifacts.reports.causality.fields import Floats, checked_widths, heading, number, numbers
from circuit_artifacts.reports.causality.ticks import logarithmic_ticks
from circuit_artifacts.reports.style import BLUE, GREY, INK, PALETTE, RED, size_axis
from circuit_artifacts.schemas.causal_result_parts import FitForm, Interval
from circuit_artifacts.schemas.causal_results import CurveFit

__all__ = ["FittedCurve", "draw_curve_fits", "figure_curve_fits", "fitted_curves"]

_SIZE: Final = (8.0, 5.8)
_DPI: Final = 160
_COLUMNS: Final = 3
_N_POINTS: Final = 200
_BEYOND: Final = 16.0  # times the greatest width, so that asymptotes are seen
_HEADROOM: Final = 20.0  # times the greatest count or d_model: what is above is not looked at
_OTHERS: Final = (*PALETTE[1:], GREY, BLUE)  # the last is free where no form is selected


@dataclass(frozen=True)
class FittedCurve:
    """One form.

    Attributes:
        form: its name.
        selected: whether it is the one whose kappa is kappa_hat.
        aicc: None if unknown.
        counts: float64 (n,), of the curve at the given widths.
    """

    form: str
    selected: bool
    aicc: float | None
    counts: Floats


def fitted_curves(result: CurveFit, widths: Floats) -> list[FittedCurve]:
    """The curves whose form is known and whose parameters are all there, as `curve_forms` defines them.

    Args:
        result: the fits.
        widths: float64 (n,), above 0.
    """
    curves = []
    for fit in result.fits:
        parameters = _parameters(fit)
        if parameters is not None:
            with np.errstate(all="ignore"):  # parameters from a file may be of any size
                counts = predict(fit.form, parameters, widths)
            selected = fit.form == result.selected
            curves.append(FittedCurve(fit.form, selected, number(fit.aicc), counts))
    return curves


@default_settings()
def figure_curve_fits(result: CurveFit, *, title: str | None = None, note: str | None = None) -> Figure:
    """Counts against the width on logarithmic axes, the fitted curves up to 16 times the greatest width, and kappa.

    The interval of the selected kappa is a band over the whole figure; the width of the model is a line. Curves whose
    parameters are not all known are left out, as is a second one of a form that was selected.

    Args:
        result: the fits of one sweep.
        title: in place of one that names the model.
        note: small, in the corner.

    Raises:
        SchemaError: a width, or that of the model, is no width; or no count is above 0.
    """
    widths, counts = checked_widths(result.widths, where="widths"), numbers(result.n_causal)
    checked_widths([result.d_model], where="d_model")
    shown = counts > 0
    if not shown.any():
        problem = "there is no count above 0 to draw"
        raise SchemaError(problem, where="n_causal", found=f"{len(counts)} counts")
    grid = np.geomspace(widths.min(), widths.max() * _BEYOND, _N_POINTS)
    curves = fitted_curves(result, grid)
    chosen = [curve for curve in curves if curve.selected][:1]
    others = [curve for curve in curves if not curve.selected][: len(_OTHERS)]
    interval = _interval(result)
    figure = new_figure(
        _SIZE,
        dpi=_DPI,
        title=title or heading("Causal features versus width, with fitted curves", result.provenance),
        numbers=_summary(result, interval, n_hidden=len(result.fits) - len(others) - len(chosen)),
        note=note,
        legend_rows=-(-(len(others) + len(chosen) + 4) // _COLUMNS),
    )
    axes = figure.add_subplot()
    for color, curve in zip(_OTHERS, others, strict=False):
        axes.plot(grid, curve.counts, color=color, linewidth=1.1, label=_label(curve))
    for curve in chosen:
        axes.plot(grid, curve.counts, color=BLUE, linewidth=2.2, label=_label(curve))
    axes.plot(
        widths[shown], counts[shown], linestyle="", marker="o", color=INK, zorder=3, label="causal features, counted"
    )
    _draw_kappa(axes, result, interval)
    axes.axhline(result.d_model, color=RED, linestyle=":", label=f"d_model, {result.d_model:,}")
    axes.axvspan(widths.max(), grid[-1], color=GREY, alpha=0.08, linewidth=0)
    axes.set_yscale("log")
    low, high = _limits(counts[shown], curves, result, interval)
    axes.set_ylim(low, high)
    logarithmic_ticks(axes.yaxis, decades=float(np.log10(high / low)))
    label = "width of the autoencoder (features); shaded: wider than any measured"
    size_axis(axes, sorted({int(width) for width in widths}), label)
    axes.set_xlim(widths.min() / 1.15, grid[-1])
    axes.set_ylabel("causal features")
    bottom_legend(figure, axes.get_legend_handles_labels()[0], columns=_COLUMNS)
    return figure


def draw_curve_fits(result: CurveFit, path: Path, *, title: str | None = None, note: str | None = None) -> None:
    """Save `figure_curve_fits`; arguments and errors as there."""
    save(figure_curve_fits(result, title=title, note=note), path)


def _parameters(fit: FitForm) -> Mapping[str, float] | None:
    if fit.form not in FORMS:
        return None
    form = FORMS[fit.form]
    found = {name: value for name in (form.level, *form.names) if (value := number(fit.params.get(name)))}
    return found if len(found) == form.n_parameters and min(found.values()) > 0 else None


def _interval(result: CurveFit) -> Interval | None:
    found = next((fit.ci for fit in result.fits if fit.form == result.selected), None)
    return found if found and number(found.lo) is not None and number(found.hi) is not None else None


def _draw_kappa(axes: Axes, result: CurveFit, interval: Interval | None) -> None:
    kappa = number(result.kappa_hat)
    if kappa is not None and kappa > 0:
        axes.axhline(kappa, color=BLUE, linestyle="--", linewidth=1, label=f"κ, {kappa:,.4g}")
    if interval is not None and interval.hi > 0:
        low = max(interval.lo, np.finfo(float).tiny)
        axes.axhspan(low, interval.hi, color=BLUE, alpha=0.12, linewidth=0, label=f"{interval.level:.0%} interval of κ")


def _limits(
    counts: Floats, curves: list[FittedCurve], result: CurveFit, interval: Interval | None
) -> tuple[float, float]:
    known = [float(counts.max()), float(result.d_model)]
    wanted = [*known, *(float(curve.counts.max()) for curve in curves)]
    wanted += [found for found in (number(result.kappa_hat), interval.hi if interval else None) if found is not None]
    low = min(float(counts.min()), interval.lo if interval and interval.lo > 0 else np.inf)
    return max(low, float(counts.min()) / _HEADROOM) / 1.5, min(max(wanted), _HEADROOM * max(known)) * 1.3


def _label(curve: FittedCurve) -> str:
    aicc = "" if curve.aicc is None else f", AICc {curve.aicc:.3g}"
    return f"{curve.form}{aicc}{', selected' if curve.selected else ''}"


def _summary(result: CurveFit, interval: Interval | None, *, n_hidden: int) -> str:
    kappa = number(result.kappa_hat)
    n_widths = len(result.widths)
    parts = [f"{n_widths} widths" if n_widths > 1 else "one width", *([result.verdict] if result.verdict else [])]
    if kappa is not None:
        parts.append(f"κ = {kappa:,.4g}, κ / d_model = {kappa / result.d_model:.3g}")
    if interval is not None:
        parts.append(f"{interval.level:.0%} interval {interval.lo:,.4g} to {interval.hi:,.4g}")
    if n_hidden:
        parts.append(f"curves of {n_hidden} fits are not drawn")
    return "; ".join(parts)
