"""Trained and random encoders with trained and random decoders (causal-dimensionality spec 2.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from circuit_artifacts.reports.canvas import default_settings, new_figure, save
from circuit_artifacts.reports.causality.fields import Floats, heading, numbers
from circuit_artifacts.reports.causality.ticks import logarithmic_ticks
from circuit_artifacts.reports.style import BLUE, GREY, INK, ORANGE
from circuit_artifacts.schemas.causal_results import EncoderCells

__all__ = ["CELLS", "InflationRange", "cell_counts", "draw_cells", "figure_cells", "inflation_range"]

_SIZE: Final = (7.5, 5.0)
_DPI: Final = 160
_SPREAD: Final = 0.3  # of the seeds of a cell, in units of the distance of cells

CELLS: Final = tuple((encoder, decoder) for encoder in ("trained", "random") for decoder in ("trained", "random"))
"""Encoder and decoder of each cell, in the order in which they are drawn."""


@dataclass(frozen=True)
class InflationRange:
    """Causal features with a random encoder divided by those with the trained one, decoders trained.

    Attributes:
        mean: over the seeds.
        lowest: of a seed.
        highest: of a seed.
        n_seeds: how many.
    """

    mean: float
    lowest: float
    highest: float
    n_seeds: int


def cell_counts(result: EncoderCells, name: str) -> list[Floats]:
    """The counts of each cell of `CELLS`, float64 (number of seeds,), as the result has them.

    Args:
        result: the cells.
        name: ``n_causal`` or ``n_repr``.
    """
    return [
        numbers(getattr(cell, name) for cell in result.cells if (cell.encoder, cell.decoder) == place)
        for place in CELLS
    ]


def inflation_range(result: EncoderCells) -> InflationRange | None:
    """The inflation, computed from the counts; None if with the trained encoder no feature is causal."""
    counts = dict(zip(CELLS, cell_counts(result, "n_causal"), strict=True))
    base = float(np.mean(counts["trained", "trained"]))
    if not base > 0:
        return None
    ratios = counts["random", "trained"] / base
    return InflationRange(float(ratios.mean()), float(ratios.min()), float(ratios.max()), len(ratios))


@default_settings()
def figure_cells(result: EncoderCells, *, title: str | None = None, note: str | None = None) -> Figure:
    """Causal features of the four cells, a dot per seed and a bar at their mean; in grey, the firing features.

    The axis is logarithmic, and linear below 1 if a count is 0.

    Args:
        result: the cells of one autoencoder.
        title: in place of one that names model, layer and autoencoder.
        note: small, in the corner.
    """
    causal, firing = (cell_counts(result, name) for name in ("n_causal", "n_repr"))
    figure = new_figure(
        _SIZE,
        dpi=_DPI,
        title=title or heading("Causal features of the four cells", result.provenance, sae=result.sae),
        numbers=_summary(result),
        note=note,
    )
    axes = figure.add_subplot()
    has_zero = not np.concatenate([*causal, *firing]).min() > 0
    if has_zero:
        axes.set_yscale("symlog", linthresh=1)
    else:
        axes.set_yscale("log")
    for place, counts in enumerate(firing):
        axes.plot(_spread(place, counts), counts, linestyle="", marker="o", markersize=5, color=GREY, fillstyle="none")
    for place, counts in enumerate(causal):
        color = BLUE if CELLS[place][0] == "trained" else ORANGE
        axes.plot(_spread(place, counts), counts, linestyle="", marker="o", markersize=5, color=color, zorder=3)
        mean = float(counts.mean())
        axes.hlines(mean, place - _SPREAD, place + _SPREAD, colors=INK, linewidths=1.4, zorder=2)
        axes.annotate(f"{mean:,.4g}", (place + _SPREAD, mean), xytext=(3, 0), textcoords="offset points", va="center")
    lines = axes.lines
    lines[0].set_label("firing features")
    lines[len(CELLS)].set_label("causal, trained encoder")
    lines[-1].set_label("causal, random encoder")
    axes.set_xticks(range(len(CELLS)), labels=[f"{encoder} encoder,\n{decoder} decoder" for encoder, decoder in CELLS])
    axes.set_xlim(-0.6, len(CELLS) - 0.3)
    if has_zero:
        axes.set_ylim(bottom=0)
        logarithmic_ticks(axes.yaxis)
    else:
        low, high = axes.get_ylim()
        logarithmic_ticks(axes.yaxis, decades=float(np.log10(high / low)))
    axes.set_ylabel("features")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return figure


def draw_cells(result: EncoderCells, path: Path, *, title: str | None = None, note: str | None = None) -> None:
    """Save `figure_cells`; arguments as there."""
    save(figure_cells(result, title=title, note=note), path)


def _spread(place: int, counts: Sequence[float] | Floats) -> Floats:
    """Where the dots of a cell are, float64 (n,); one alone is in the middle."""
    half = _SPREAD * 0.7 if len(counts) > 1 else 0.0
    return np.linspace(place - half, place + half, len(counts)) if half else np.array([float(place)])


def _summary(result: EncoderCells) -> str:
    found = inflation_range(result)
    if found is None:
        parts = ["no inflation, since with the trained encoder no feature is causal"]
    elif found.n_seeds > 1:
        between = f"{found.lowest:.3g} to {found.highest:.3g} over {found.n_seeds} seeds"
        parts = [f"inflation by a random encoder {found.mean:.3g}x ({between})"]
    else:
        parts = [f"inflation by a random encoder {found.mean:.3g}x (one seed)"]
    for name, what in (("threshold_policy", "thresholds"), ("bias_policy", "biases")):
        policies = sorted({policy for cell in result.cells if (policy := getattr(cell, name))})
        parts += [f"{what}: {', '.join(policies)}"] if policies else []
    return "; ".join(parts)
