"""Kappa as it is defined: the spectrum behind it, and how the estimate settles (causal-dimensionality spec 2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.canvas import default_settings, new_figure, save
from circuit_artifacts.reports.causality.fields import Floats, checked_widths, heading, number, numbers, positive
from circuit_artifacts.reports.causality.ticks import logarithmic_ticks
from circuit_artifacts.reports.style import BLUE, GREY, INK, ORANGE, RED
from circuit_artifacts.schemas.causal_results import DirectKappa

__all__ = ["Convergence", "convergence", "cumulative_shares", "draw_spectrum", "figure_spectrum"]

_PANEL: Final = 4.4  # inches
_LEAST_WIDTH: Final = 7.5
_HEIGHT: Final = 4.2
_DPI: Final = 160
_SAMPLES: Final = {
    "n_samples": "samples (matrices of rank one)",
    "n_positions": "positions",
    "n_probes": "probes",
    "n_sequences": "sequences",
}
_RANKS: Final = ("effective_rank", "kappa")
_RATIOS: Final = ("participation_ratio", "kappa_pr")


@dataclass(frozen=True)
class Convergence:
    """Estimates from growing parts of the data.

    Attributes:
        unit: what the numbers of samples count.
        n: float64 (k,), samples, ascending.
        rank: float64 (k,), effective ranks; NaN if unknown.
        ratio: float64 (k,), participation ratios; NaN if unknown.
    """

    unit: str
    n: Floats
    rank: Floats
    ratio: Floats

    @property
    def last_change(self) -> float | None:
        """Relative change of the effective rank from the last but one row; None if it is not known."""
        if len(self.rank) < 2 or not self.rank[-2] > 0 or np.isnan(self.rank[-1]):
            return None
        return float(self.rank[-1] / self.rank[-2] - 1)


def cumulative_shares(eigenvalues: Floats) -> Floats:
    """Share of the sum that the largest k eigenvalues have, float64 (d,).

    Negative ones, which are rounding, count as 0; all are NaN if none is above 0.

    Args:
        eigenvalues: (d,), largest first.
    """
    summed = np.cumsum(np.clip(eigenvalues, 0, None))
    return summed / summed[-1] if len(summed) and summed[-1] > 0 else np.full(len(summed), np.nan)


def convergence(result: DirectKappa) -> Convergence | None:
    """The table of convergence, ascending; None if there is none.

    Samples are ``n_samples``, ``n_positions``, ``n_probes`` or ``n_sequences``, the first of them that all rows have;
    estimates ``effective_rank`` or ``kappa``, and ``participation_ratio`` or ``kappa_pr``.
    """
    rows = result.convergence or []
    for name, unit in _SAMPLES.items():
        n = positive(numbers(row.get(name) for row in rows))
        if not len(n) or np.isnan(n).any():
            continue
        order = np.argsort(n, kind="stable")
        rank, ratio = (
            numbers(next((row[one] for one in names if one in row), None) for row in rows)[order]
            for names in (_RANKS, _RATIOS)
        )
        return Convergence(unit, n[order], rank, ratio) if np.isfinite([rank, ratio]).any() else None
    return None


@default_settings()
def figure_spectrum(result: DirectKappa, *, title: str | None = None, note: str | None = None) -> Figure:
    """Eigenvalues, their cumulative share, and the estimates against the number of samples.

    Panels of what the result does not hold are left out.

    Args:
        result: of one site.
        title: in place of one that names model and layer.
        note: small, in the corner.

    Raises:
        SchemaError: there are neither eigenvalues nor a table of convergence, an eigenvalue is unknown, or d_model is
            no width.
    """
    checked_widths([result.d_model], where="d_model")
    values, table = numbers(result.eigenvalues or []), convergence(result)
    if np.isnan(values).any():
        problem = "a spectrum with gaps cannot be drawn"
        found = f"{np.isnan(values).sum()} of {len(values)} unknown"
        raise SchemaError(problem, where="eigenvalues", found=found)
    values = np.sort(values)[::-1]
    has_spectrum = bool((values > 0).any())
    if not has_spectrum and table is None:
        problem = "there are neither eigenvalues above 0 nor estimates from growing numbers of samples"
        remedy = "Compute kappa again and keep them."
        raise SchemaError(problem, where="eigenvalues, convergence", remedy=remedy)
    n_panels = 2 * has_spectrum + (table is not None)
    figure = new_figure(
        (max(n_panels * _PANEL, _LEAST_WIDTH), _HEIGHT),
        dpi=_DPI,
        title=title or heading(f"Causal dimensionality for {result.output}", result.provenance, layer=result.layer),
        numbers=_summary(result),
        note=note,
    )
    panels = list(figure.subplots(1, n_panels, squeeze=False)[0])
    if has_spectrum:
        _draw_eigenvalues(panels[0], values, result)
        _draw_shares(panels[1], values, result)
    if table is not None:
        _draw_convergence(panels[-1], table, result)
    return figure


def draw_spectrum(result: DirectKappa, path: Path, *, title: str | None = None, note: str | None = None) -> None:
    """Save `figure_spectrum`; arguments and errors as there."""
    save(figure_spectrum(result, title=title, note=note), path)


def _draw_eigenvalues(axes: Axes, values: Floats, result: DirectKappa) -> None:
    hidden = int((values <= 0).sum())
    axes.plot(np.arange(1, len(values) + 1), positive(values), color=INK, marker=".", markersize=3)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    logarithmic_ticks(axes.yaxis, decades=float(np.log10(high / low)))
    axes.set_title("eigenvalues" + (f" ({hidden} not above 0)" if hidden else ""))
    axes.set_ylabel("eigenvalue")
    _mark_kappas(axes, result)


def _draw_shares(axes: Axes, values: Floats, result: DirectKappa) -> None:
    axes.plot(np.arange(1, len(values) + 1), cumulative_shares(values), color=INK)
    axes.set_title("cumulative share of their sum")
    axes.set_ylabel("share")
    axes.set_ylim(0, 1.03)
    _mark_kappas(axes, result)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right")


def _mark_kappas(axes: Axes, result: DirectKappa) -> None:
    kappa, ratio = number(result.kappa), number(result.kappa_pr)
    if kappa is not None:
        axes.axvline(kappa, color=RED, linestyle="--", label=f"κ, effective rank, {kappa:,.4g}")
    if ratio is not None:
        axes.axvline(ratio, color=ORANGE, linestyle="--", label=f"κ_PR, participation ratio, {ratio:,.4g}")
    axes.set_xlabel("number of eigenvalues, largest first")


def _draw_convergence(axes: Axes, table: Convergence, result: DirectKappa) -> None:
    change, kappa = table.last_change, number(result.kappa)
    axes.plot(table.n, table.rank, color=BLUE, marker="o", markersize=4, label="effective rank")
    axes.plot(table.n, table.ratio, color=ORANGE, marker="s", markersize=4, label="participation ratio")
    if kappa is not None:
        axes.axhline(kappa, color=RED, linestyle="--", linewidth=1, label="κ")
    axes.axhline(result.d_model, color=GREY, linestyle=":", label="d_model")
    axes.set_xscale("log")
    logarithmic_ticks(axes.xaxis, decades=float(np.log10(table.n[-1] / table.n[0])))
    axes.set_ylim(0, None)
    axes.set_title("estimates" + ("" if change is None else f"; the last step changes the rank by {change:+.2%}"))
    axes.set_xlabel(table.unit)
    axes.legend(loc="best")


def _summary(result: DirectKappa) -> str:
    kappa, ratio = number(result.kappa), number(result.kappa_pr)
    parts = [f"{name} = {value:,.4g}" for name, value in (("κ", kappa), ("κ_PR", ratio)) if value is not None]
    if kappa is None:
        parts.append(f"κ is not stated: {result.refused or 'unknown'}")
    parts += [f"d_model = {result.d_model:,}", f"n = {result.n_positions:,} positions, {result.n_probes:,} probes"]
    return "; ".join([*parts, result.estimator])
