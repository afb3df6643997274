"""The entropies of all events and features of a run at a glance (locality spec 4.12)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from circuit_artifacts.reports.canvas import bottom_legend, default_settings, new_figure, save
from circuit_artifacts.reports.locality.events import at_context_length, feature_entropies, measured_events
from circuit_artifacts.reports.locality.tables import Floats, Frame
from circuit_artifacts.reports.style import BLUE, INK, ORANGE, RED, maximum_entropy
from circuit_artifacts.reports.text import fitting

__all__ = ["draw_entropy_overview", "entropy_histogram", "figure_entropy_overview", "tier_entropies"]

_WIDTH, _DPI = 8.0, 160
_PANEL, _ROW, _FRAME = 2.2, 0.3, 1.4
N_BINS: Final = 24
_TIERS = ("token", "phrase", "concept", "abstract")


def entropy_histogram(entropies: Floats, ctx: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Counts in 24 equal bins from 0 to log2 of the context length, as in the published case studies (spec 4.13).

    Returns:
        int64 (24,) counts, which sum to the number of entropies (rounding may put one just above the maximum); float64
        (25,) edges in bits. A context of one token has one bit of room, since all its entropies are 0.
    """
    most = float(np.log2(ctx)) or 1.0
    counts, edges = np.histogram(np.clip(entropies, 0, most), bins=N_BINS, range=(0, most))
    return counts.astype(np.int64), edges


def tier_entropies(features: pd.DataFrame) -> dict[str, Floats]:
    """Features' mean entropies by retired tier, published tiers first; empty if no feature has a tier.

    Args:
        features: as `events.feature_entropies` gives them for one context length.
    """
    groups = {str(tier): group.to_numpy(np.float64) for tier, group in features.groupby("tier")["mean"]}
    order = [*(tier for tier in _TIERS if tier in groups), *sorted(set(groups) - set(_TIERS))]
    return {tier: groups[tier] for tier in order}


@default_settings()
def figure_entropy_overview(events: Frame, *, ctx: int, title: str | None = None, note: str | None = None) -> Figure:
    """Histograms of the events' entropies and of the features' means; below them, the means by tier if there are tiers.

    The layout is ours: only the name of the figure is published.

    Args:
        events: rows of `Event` of one run.
        ctx: context length to show.
        title: in place of one that names the context length.
        note: small, in the corner.

    Raises:
        SchemaError: no event of this context length has an entropy, a column is missing, or rows of several runs.
    """
    measured = at_context_length(measured_events(events), ctx)
    features = feature_entropies(measured)
    tiers = tier_entropies(features)
    heights = [_PANEL, _PANEL, *([0.5 + _ROW * len(tiers)] if tiers else [])]
    figure = new_figure(
        (_WIDTH, sum(heights) + _FRAME),
        dpi=_DPI,
        title=title or f"H_pos at a context length of {ctx} tokens",
        numbers=f"n = {len(measured):,} events of {len(features):,} features",
        note=note,
        legend_rows=1,
    )
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _draw_histogram(panels[0], measured["H_pos_bits"].to_numpy(), ctx, color=BLUE, what="events")
    _draw_histogram(panels[1], features["mean"].to_numpy(), ctx, color=ORANGE, what="features (mean over events)")
    if tiers:
        _draw_tiers(panels[2], tiers)
    for axes in panels:
        maximum_entropy(axes, ctx, vertical=True)
    panels[-1].set_xlabel("H_pos, entropy of the influence (bits)")
    bottom_legend(figure, panels[0].get_legend_handles_labels()[0], columns=2)
    return figure


def draw_entropy_overview(
    events: Frame, path: Path, *, ctx: int, title: str | None = None, note: str | None = None
) -> None:
    """Save `figure_entropy_overview`; arguments and errors as there."""
    save(figure_entropy_overview(events, ctx=ctx, title=title, note=note), path)


def _draw_histogram(axes: Axes, entropies: Floats, ctx: int, *, color: str, what: str) -> None:
    counts, edges = entropy_histogram(entropies, ctx)
    axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=color, edgecolor="white", linewidth=0.5)
    median = float(np.median(entropies))
    axes.axvline(median, color=RED, linestyle="--", linewidth=1.2, label="median")
    axes.set_title(f"{what}, median {median:.2f} bits")
    axes.set_ylabel("count")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))


def _draw_tiers(axes: Axes, tiers: dict[str, Floats]) -> None:
    for row, entropies in enumerate(tiers.values()):
        axes.scatter(
            entropies, np.full(len(entropies), row), s=20, color=ORANGE, alpha=0.5, linewidths=0, clip_on=False
        )
        axes.scatter(np.median(entropies), row, s=26, color=INK, marker="D", clip_on=False)
    labels = [f"{fitting(tier, inches=1, points=8)} ({len(entropies)})" for tier, entropies in tiers.items()]
    axes.set_yticks(range(len(tiers)), labels=labels)
    axes.set_ylim(len(tiers) - 0.5, -0.5)
    axes.set_title("features by tier, a label that is retired; diamond: median")
