"""All features of an events run from the most local to the most global (locality spec 4.12)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from circuit_artifacts.reports.canvas import bottom_legend, default_settings, new_figure, save
from circuit_artifacts.reports.locality.events import at_context_length, feature_entropies, measured_events
from circuit_artifacts.reports.locality.tables import Frame
from circuit_artifacts.reports.style import BLUE, INK, ORANGE, maximum_entropy, span
from circuit_artifacts.reports.text import fitting

__all__ = ["draw_feature_continuum", "figure_feature_continuum"]

_WIDTH, _DPI = 11.0, 160
_ROW = 0.2  # inches of a feature with a label
_FRAME = 1.8  # inches of title and axis
_MOST_LABELS = 60
_LABEL_INCHES, _LABEL_POINTS = 3.8, 7.5


@default_settings()
def figure_feature_continuum(events: Frame, *, ctx: int, title: str | None = None, note: str | None = None) -> Figure:
    """Every feature as a row, sorted by the mean entropy of its events: these as dots, their mean and quartiles.

    The layout is ours: only the name of the figure is published. Up to 60 features are all labelled; of more, one in n.

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
    step = -(-len(features) // _MOST_LABELS)
    labelled = np.arange(0, len(features), step)
    figure = new_figure(
        (_WIDTH, _FRAME + max(len(labelled), 6) * _ROW),
        dpi=_DPI,
        title=title or f"Features from local to global at a context length of {ctx} tokens",
        numbers=f"n = {len(features):,} features, {span(features['n'])} events each"
        + (f"; one in {step} is named" if step > 1 else ""),
        note=note,
        legend_rows=1,
    )
    axes = figure.add_subplot()
    row = np.arange(len(features))
    row_of = pd.Series(row, index=features["feature_id"])
    axes.plot(
        measured["H_pos_bits"],
        row_of.loc[measured["feature_id"]],
        linestyle="",
        marker="o",
        markersize=3,
        markeredgewidth=0,
        color=BLUE,
        alpha=0.35,
        label="event",
        clip_on=False,
    )
    thin = 1 / step
    axes.hlines(
        row, features["lower"], features["upper"], colors=ORANGE, linewidths=4 * thin + 0.5, zorder=1, label="quartiles"
    )
    axes.plot(
        features["mean"],
        row,
        linestyle="",
        marker="D",
        markersize=4 * thin + 0.5,
        color=INK,
        label="mean of a feature",
        clip_on=False,
    )
    maximum_entropy(axes, ctx, vertical=True)
    axes.set_ylim(len(features) - 0.4, -0.6)
    axes.set_yticks(labelled, labels=[_label(features.iloc[index]) for index in labelled], fontsize=_LABEL_POINTS)
    axes.set_xlabel("H_pos, entropy of the influence (bits)")
    bottom_legend(figure, axes.get_legend_handles_labels()[0], columns=4)
    return figure


def draw_feature_continuum(
    events: Frame, path: Path, *, ctx: int, title: str | None = None, note: str | None = None
) -> None:
    """Save `figure_feature_continuum`; arguments and errors as there."""
    save(figure_feature_continuum(events, ctx=ctx, title=title, note=note), path)


def _label(feature: pd.Series) -> str:
    description = fitting(feature["description"], inches=_LABEL_INCHES, points=_LABEL_POINTS)
    return f"{description}  {feature['feature_id']}".strip()
