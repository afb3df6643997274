"""Influence by distance to the peak, for the most local and the most global features (locality spec 4.12)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.canvas import bottom_legend, default_settings, new_figure, save
from circuit_artifacts.reports.locality.events import (
    at_context_length,
    event_profiles,
    feature_entropies,
    measured_events,
)
from circuit_artifacts.reports.locality.tables import Floats, Frame, columns, only
from circuit_artifacts.reports.style import BLUE, GREY, INK, ORANGE, faint_lines
from circuit_artifacts.reports.text import fitting

__all__ = ["draw_profile_contrast", "extremes", "figure_profile_contrast"]

_PANEL, _FRAME, _DPI = (5.5, 2.0), 1.4, 160
_POINTS = 8.5
N_EXTREMES: Final = 3
_LEAST_SHARE = 1e-5  # where the axis ends


def extremes(features: pd.DataFrame, n: int = N_EXTREMES) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The most local features, and the most global, each from its end inwards; at most half of all are at either end.

    Args:
        features: as `events.feature_entropies` gives them for one context length.
        n: how many at each end.

    Raises:
        SchemaError: less than two features.
    """
    count = min(n, len(features) // 2)
    if count < 1:
        problem = "a contrast needs a local and a global feature"
        raise SchemaError(problem, where="features with influences", found=len(features), expected="at least 2")
    return features.head(count), features.tail(count)[::-1].reset_index(drop=True)


@default_settings()
def figure_profile_contrast(
    events: Frame,
    influences: Frame,
    *,
    ctx: int,
    n_features: int = N_EXTREMES,
    title: str | None = None,
    note: str | None = None,
) -> Figure:
    """Share of influence by distance to the peak: the most local features on the left, the most global on the right.

    The mean over a feature's events is bold, each event faint; both axes are logarithmic and shared. The layout is
    ours: only the name of the figure is published.

    Args:
        events: rows of `Event` of one run.
        influences: rows of `Influence` of the same run; features without any are left out.
        ctx: context length to show.
        n_features: how many at each end.
        title: in place of one that names the context length.
        note: small, in the corner.

    Raises:
        SchemaError: less than two features with influences and entropies at this context length, a missing column,
            an influence vector of another length, or rows of several runs.
    """
    only("run", events, influences)
    features = feature_entropies(at_context_length(measured_events(events), ctx))
    features = features[features["feature_id"].isin(columns(influences, ("feature_id",), ctx=ctx)["feature_id"])]
    local, spread = extremes(features, n_features)
    figure = new_figure(
        (_PANEL[0] * 2, _FRAME + _PANEL[1] * len(local)),
        dpi=_DPI,
        title=title or f"Where local and global features look, at a context length of {ctx} tokens",
        numbers=f"the {len(local)} most local (left) and most global (right) of n = {len(features):,} features",
        note=note,
        legend_rows=1,
    )
    panels = figure.subplots(len(local), 2, sharex=True, sharey=True, squeeze=False)
    for column, (end, kind, color) in enumerate(((local, "local", BLUE), (spread, "global", ORANGE))):
        for axes, (_, feature) in zip(panels[:, column], end.iterrows(), strict=True):
            profiles = event_profiles(influences, ctx=ctx, feature_id=int(feature["feature_id"]))
            _draw_profiles(axes, profiles, feature, kind, color)
        panels[-1, column].set_xlabel("distance to the peak (tokens)")
    left, right = (axes.get_legend_handles_labels()[0] for axes in panels[0])
    bottom_legend(figure, [*left[:2], right[1], left[2]], columns=4)
    figure.supylabel("share of the influence, J / sum J", fontsize=9)
    return figure


def draw_profile_contrast(
    events: Frame,
    influences: Frame,
    path: Path,
    *,
    ctx: int,
    n_features: int = N_EXTREMES,
    title: str | None = None,
    note: str | None = None,
) -> None:
    """Save `figure_profile_contrast`; arguments and errors as there."""
    save(figure_profile_contrast(events, influences, ctx=ctx, n_features=n_features, title=title, note=note), path)


def _draw_profiles(axes: Axes, profiles: Floats, feature: pd.Series, kind: str, color: str) -> None:
    n_events, length = profiles.shape
    distance = np.arange(length)
    faint_lines(axes, distance, profiles, color=GREY, alpha=0.4).set_label("event")
    axes.plot(distance, profiles.mean(axis=0), color=color, linewidth=2, label=f"mean of a {kind} feature")
    axes.axhline(1 / length, color=INK, linestyle=":", linewidth=1, label=f"equal shares, 1 / {length}")
    axes.set_yscale("log")
    axes.set_ylim(_LEAST_SHARE, 1.2)
    axes.set_yticks([1e-4, 1e-2, 1], labels=["0.0001", "0.01", "1"])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xscale("symlog", base=2, linthresh=1)
    ticks = [0, *(2**power for power in range((length - 1).bit_length()))]
    axes.set_xticks(ticks, labels=[str(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(-0.1, length - 1 or 1)
    numbers = f"feature {feature['feature_id']}: {feature['mean']:.2f} bits, {n_events} events"
    name = fitting(feature["description"], inches=_PANEL[0] * 0.8, points=_POINTS)
    axes.set_title("\n".join(filter(None, (name, numbers))), fontsize=_POINTS)
