"""Attribution patching beside exact ablation, feature by feature (causal-dimensionality spec 2.5)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.canvas import default_settings, new_figure, save
from circuit_artifacts.reports.causality.fields import Floats, heading, number, numbers
from circuit_artifacts.reports.causality.ticks import logarithmic_ticks
from circuit_artifacts.reports.style import BLUE, GREY, INK
from circuit_artifacts.schemas.causal_results import AtpVersusExact

__all__ = ["draw_attribution", "effect_pairs", "figure_attribution", "linear_part"]

_SIZE: Final = (6.4, 6.4)
_DPI: Final = 160
_DECADES: Final = 1e-4
"""Least share of the greatest effect at which the axis is still logarithmic."""
_QUANTILE: Final = 0.1


def effect_pairs(result: AtpVersusExact) -> Floats:
    """Estimated and exact effects, float64 (n, 2), of the features for which both are known.

    Raises:
        SchemaError: there are none.
    """
    rows = result.per_feature or []
    pairs = np.column_stack([numbers(row.get(name) for row in rows) for name in ("atp", "exact")])
    known = pairs[np.isfinite(pairs).all(axis=1)]
    if not len(known):
        problem = "the figure needs the effects of single features"
        found = f"{len(rows)} pairs, none with both an estimated and an exact effect" if rows else "none"
        raise SchemaError(problem, where="per_feature", found=found, remedy="Compute the agreement with its pairs.")
    return known


def linear_part(pairs: Floats) -> float:
    """The magnitude below which the axes are linear: that of a tenth of all effects but 0, within four decades (ours).

    Args:
        pairs: (n, 2).

    Returns:
        A number above 0.
    """
    sizes = np.abs(pairs[pairs != 0])
    if not len(sizes):
        return 1.0
    return max(float(np.quantile(sizes, _QUANTILE)), float(sizes.max()) * _DECADES, np.finfo(float).tiny)


@default_settings()
def figure_attribution(result: AtpVersusExact, *, title: str | None = None, note: str | None = None) -> Figure:
    """Each feature's estimated effect against its exact one, both symmetrically logarithmic, and where they are equal.

    Args:
        result: with pairs.
        title: in place of one that names model, layer and autoencoder.
        note: small, in the corner.

    Raises:
        SchemaError: as :func:`effect_pairs`.
    """
    pairs = effect_pairs(result)
    unknown = len(result.per_feature or []) - len(pairs)
    figure = new_figure(
        _SIZE,
        dpi=_DPI,
        title=title or heading("Attribution patching versus exact ablation", result.provenance, sae=result.sae),
        numbers=_summary(result, len(pairs)) + (f"; effects of {unknown} unknown" if unknown else ""),
        note=note,
    )
    axes = figure.add_subplot()
    linear = linear_part(pairs)
    ends = np.array([min(0.0, pairs.min()), max(0.0, pairs.max())])
    ends = np.where(ends == 0, linear * np.array([-0.5, 0.5]), ends * 1.5)
    for axis, set_scale, set_limits in (
        (axes.xaxis, axes.set_xscale, axes.set_xlim),
        (axes.yaxis, axes.set_yscale, axes.set_ylim),
    ):
        set_scale("symlog", linthresh=linear)
        set_limits(*ends)
        logarithmic_ticks(axis)
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.axvline(0, color=GREY, linewidth=0.6)
    axes.plot(ends, ends, color=INK, linestyle="--", linewidth=1, label="equal")
    axes.scatter(pairs[:, 1], pairs[:, 0], s=10, color=BLUE, alpha=0.45, linewidths=0, label="feature", zorder=3)
    axes.set_aspect("equal")
    axes.tick_params(axis="x", rotation=45)
    measure = "" if result.provenance.metric == "unknown" else f" on {result.provenance.metric}"
    size = "size of the " if result.signed is False else ""
    axes.set_xlabel(f"{size}exact effect{measure}")
    axes.set_ylabel(f"{size}effect by attribution patching{measure}")
    axes.legend(loc="upper left")
    return figure


def draw_attribution(result: AtpVersusExact, path: Path, *, title: str | None = None, note: str | None = None) -> None:
    """Save `figure_attribution`; arguments and errors as there."""
    save(figure_attribution(result, title=title, note=note), path)


def _summary(result: AtpVersusExact, n: int) -> str:
    sign = {None: "", True: ", signed", False: ", of sizes"}[result.signed]
    interval = result.rho_ci
    parts = [f"n = {n:,} features", f"Spearman's rho{sign} = {result.spearman_rho:.3f}"]
    if interval and number(interval.lo) is not None and number(interval.hi) is not None:
        over = "" if interval.unit == "unknown" else f" over {interval.unit}s".replace("_", " ")
        parts.append(f"{interval.level:.0%} interval{over} {interval.lo:.3f} to {interval.hi:.3f}")
    if result.sampling != "unknown":
        parts.append(f"sampling {result.sampling}")
    return "; ".join(parts)
