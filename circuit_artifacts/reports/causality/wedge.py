"""Firing and causal features at growing widths of the autoencoder (causal-dimensionality spec 2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.canvas import bottom_legend, default_settings, new_figure, save
from circuit_artifacts.reports.causality.fields import Floats, checked_widths, extra_numbers, heading, numbers, positive
from circuit_artifacts.reports.causality.ticks import logarithmic_ticks
from circuit_artifacts.reports.style import INK, PALETTE, size_axis
from circuit_artifacts.reports.text import fitting
from circuit_artifacts.schemas.causal_results import WidthSweep

__all__ = ["CausalCurve", "Wedge", "draw_wedge", "figure_wedge", "wedge"]

_SIZE: Final = (8.0, 5.4)
_DPI: Final = 160
_COLUMNS: Final = 2


@dataclass(frozen=True)
class CausalCurve:
    """Causal features by one rule.

    Attributes:
        rule: its name.
        counts: float64 (n,), per width; NaN if unknown.
        bound: float64 (n,), most causal features that the sum of scores allows; NaN if unknown.
        growth: from the narrowest to the widest; None if it is not defined.
        wedge: growth of firing features divided by it; None if it is not defined.
    """

    rule: str
    counts: Floats
    bound: Floats
    growth: float | None
    wedge: float | None


@dataclass(frozen=True)
class Wedge:
    """The numbers of a sweep.

    Attributes:
        widths: float64 (n,), ascending.
        firing: float64 (n,).
        firing_growth: from the narrowest to the widest; None if it is not defined.
        curves: by rule, that of the sweep's threshold first.
    """

    widths: Floats
    firing: Floats
    firing_growth: float | None
    curves: tuple[CausalCurve, ...]


def wedge(result: WidthSweep) -> Wedge:
    """The numbers of a sweep, with the rules and bounds that its rows may hold beyond their declared fields.

    These are ``n_causal_by_rule`` and ``bound_by_rule``, mappings from the name of a rule to a number. Growths are
    computed from the counts.

    Raises:
        SchemaError: a width is no width, or there twice.
    """
    rows = sorted(result.rows, key=lambda row: row.width)
    widths = checked_widths([row.width for row in rows], where="rows")
    if len(np.unique(widths)) < len(widths):
        problem = "a sweep has autoencoders of different widths"
        found = ", ".join(str(row.width) for row in rows)
        raise SchemaError(problem, where="rows", found=found, remedy="Select one row per width.")
    firing = numbers(row.n_repr for row in rows)
    main = result.threshold.kind
    counted = [{**extra_numbers(row, "n_causal_by_rule"), main: float(row.n_causal)} for row in rows]
    bounds = [extra_numbers(row, "bound_by_rule") for row in rows]
    firing_growth = _growth(firing)
    curves = []
    for rule in dict.fromkeys([main, *(name for counts in counted for name in counts)]):
        counts = numbers(row.get(rule) for row in counted)
        growth = _growth(counts)
        ratio = firing_growth / growth if firing_growth is not None and growth else None
        curves.append(CausalCurve(rule, counts, numbers(row.get(rule) for row in bounds), growth, ratio))
    return Wedge(widths, firing, firing_growth, tuple(curves))


@default_settings()
def figure_wedge(result: WidthSweep, *, title: str | None = None, note: str | None = None) -> Figure:
    """Firing and causal features against the width on logarithmic axes; dashed, what the sum of scores allows.

    Counts of 0 interrupt a line. At most five rules are drawn.

    Args:
        result: of one layer.
        title: in place of one that names model and layer.
        note: small, in the corner.

    Raises:
        SchemaError: as :func:`wedge`, or no feature fires.
    """
    found = wedge(result)
    if not (found.firing > 0).any():
        problem = "there is nothing to draw, since no feature fires"
        raise SchemaError(problem, where="rows.n_repr", found=f"{len(found.widths)} rows of 0")
    drawn, more = found.curves[: len(PALETTE)], found.curves[len(PALETTE) :]
    bounded = [curve for curve in drawn if (curve.bound > 0).any()]
    figure = new_figure(
        _SIZE,
        dpi=_DPI,
        title=title or heading("Firing and causal features versus width", result.provenance, layer=result.layer),
        numbers=_summary(found) + (f"; {len(more)} more rules are not shown" if more else ""),
        note=note,
        legend_rows=-(-(1 + len(drawn) + len(bounded)) // _COLUMNS),
    )
    axes = figure.add_subplot()
    axes.set_yscale("log")
    axes.plot(found.widths, positive(found.firing), color=INK, marker="o", label=f"firing{_times(found.firing_growth)}")
    for color, curve in zip(PALETTE, drawn, strict=False):
        name = fitting(curve.rule, inches=1.6, points=8)
        label = f"causal, rule {name}{_times(curve.growth)}{_named('wedge', curve.wedge)}"
        axes.plot(found.widths, positive(curve.counts), color=color, marker="s", markersize=4, label=label)
        if curve in bounded:
            label = f"conservation bound, rule {name}"
            axes.plot(found.widths, positive(curve.bound), color=color, linestyle="--", linewidth=1, label=label)
    low, high = axes.get_ylim()
    logarithmic_ticks(axes.yaxis, decades=float(np.log10(high / low)))
    size_axis(axes, [int(width) for width in found.widths], "width of the autoencoder (features)")
    axes.set_ylabel("features")
    bottom_legend(figure, axes.get_legend_handles_labels()[0], columns=_COLUMNS)
    return figure


def draw_wedge(result: WidthSweep, path: Path, *, title: str | None = None, note: str | None = None) -> None:
    """Save `figure_wedge`; arguments and errors as there."""
    save(figure_wedge(result, title=title, note=note), path)


def _growth(counts: Sequence[float] | Floats) -> float | None:
    first, last = float(counts[0]), float(counts[-1])
    return last / first if len(counts) > 1 and first > 0 and np.isfinite(last) else None


def _summary(found: Wedge) -> str:
    n_widths = len(found.widths)
    if n_widths == 1:
        return "one width"
    main = found.curves[0]
    parts = [f"{n_widths} widths", f"firing{_times(found.firing_growth)}", f"causal{_times(main.growth)}"]
    return ", ".join(parts) + _named("wedge", main.wedge)


def _times(factor: float | None) -> str:
    return "" if factor is None else f" {factor:.3g}x"


def _named(name: str, value: float | None) -> str:
    return "" if value is None else f", {name} {value:.3g}"
