"""Entropy versus depth, of one model or of several side by side (locality spec 5.9)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias, cast

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.canvas import bottom_legend, default_settings, new_figure, save
from circuit_artifacts.reports.locality.statistics import N_TOP, RULES, DepthSummary, Rule, depth_summary
from circuit_artifacts.reports.locality.tables import Floats, Frame, distinct, has_nulls, only, rows_of
from circuit_artifacts.reports.style import BLUE, GREY, INK, PALE, RED, maximum_entropy, span
from circuit_artifacts.reports.text import fitting
from circuit_artifacts.schemas.sae_locality_mirror import PRESETS

__all__ = ["Shape", "draw_depth", "draw_depth_grid", "figure_depth", "figure_depth_grid", "layer_ticks"]

Shape: TypeAlias = Literal["violin", "box"]

_SIZE = (8.0, 4.8)  # ours
_PANEL = (4.2, 3.4)
_N_COLUMNS = 3
_DPI = 160
_FEW_LAYERS = 14
_WIDTH = 0.85  # of the distance between layers
_MOST_SMOOTHED = 5000  # features of a violin
_POINTS = 8.5


@default_settings()
def figure_depth(
    features: Frame,
    windows: Frame,
    *,
    shape: Shape = "violin",
    rule: Rule = "most_windows",
    n_top: int = N_TOP,
    title: str | None = None,
    note: str | None = None,
) -> Figure:
    """The per-feature mean entropies of every layer of one run, as violins or boxes.

    The rule of the published per-preset figure is ``most_windows``. A layer without an active feature shows only its
    token-vector entropy. Size and wording are ours.

    Args:
        features: rows of `DepthFeature` of one run.
        windows: rows of `DepthWindow` of the same run.
        shape: of the distributions.
        rule: which features the blue line averages, a name in `statistics.RULES`.
        n_top: how many.
        title: in place of one that names preset and dataset.
        note: small, in the corner.

    Raises:
        SchemaError: no windows, a missing column, or rows of several runs or context lengths.
        UnknownNameError: no such rule.
    """
    summary = depth_summary(features, windows, rule=rule, n_top=n_top)
    figure = new_figure(
        _SIZE,
        dpi=_DPI,
        title=title or ", ".join(["Entropy versus depth", *_names(windows), *_arch(summary)]),
        numbers=_numbers(summary),
        note=note,
        legend_rows=2,
    )
    axes = figure.add_subplot()
    _draw_layers(axes, summary, shape)
    axes.set_xlabel("layer")
    axes.set_ylabel("entropy of the influence (bits)")
    bottom_legend(figure, _legend(summary, shape), columns=2)
    return figure


def draw_depth(
    features: Frame,
    windows: Frame,
    path: Path,
    *,
    shape: Shape = "violin",
    rule: Rule = "most_windows",
    n_top: int = N_TOP,
    title: str | None = None,
    note: str | None = None,
) -> None:
    """Save `figure_depth`; arguments and errors as there."""
    save(figure_depth(features, windows, shape=shape, rule=rule, n_top=n_top, title=title, note=note), path)


@default_settings()
def figure_depth_grid(
    features: Frame,
    windows: Frame,
    *,
    shape: Shape = "violin",
    rule: Rule = "largest_activation_sum",
    n_top: int = N_TOP,
    title: str | None = None,
    note: str | None = None,
) -> Figure:
    """A panel as `figure_depth` for every preset, three in a row, on one scale; published presets first.

    The rule of the published grid is ``largest_activation_sum``.

    Args:
        features: rows of `DepthFeature`, of one dataset and of one run per preset.
        windows: rows of `DepthWindow` of the same runs.
        shape: of the distributions.
        rule: which features the blue lines average, a name in `statistics.RULES`.
        n_top: how many.
        title: in place of one that names the dataset.
        note: small, in the corner.

    Raises:
        SchemaError: no windows, a missing column, rows of several datasets, or of several runs or context lengths of a
            preset.
        UnknownNameError: no such rule.
    """
    presets = sorted({*distinct(features, "preset"), *distinct(windows, "preset")}, key=_published_order)
    if not presets or has_nulls(features, "preset") or has_nulls(windows, "preset"):
        problem = "a panel shows the rows of one preset"
        raise SchemaError(problem, where="preset", found="rows without a preset" if presets else "no rows of a preset")
    dataset = only("dataset", features, windows)
    summaries = [
        depth_summary(rows_of(features, preset=preset), rows_of(windows, preset=preset), rule=rule, n_top=n_top)
        for preset in presets
    ]
    n_rows = -(-len(presets) // _N_COLUMNS)
    figure = new_figure(
        (_PANEL[0] * _N_COLUMNS, _PANEL[1] * n_rows),
        dpi=_DPI,
        title=title or "Entropy versus depth" + (f", {dataset}" if dataset else ""),
        note=note,
        legend_rows=1,
    )
    grid = figure.subplots(n_rows, _N_COLUMNS, sharey=True, squeeze=False)
    for position, axes in enumerate(grid.flat):
        if position >= len(presets):
            axes.set_axis_off()
            continue
        summary = summaries[position]
        _draw_layers(axes, summary, shape)
        name = fitting(", ".join([presets[position], *_arch(summary)]), inches=_PANEL[0] * 0.8, points=_POINTS)
        axes.set_title(f"{name}\n{_numbers(summary)}", fontsize=_POINTS)
        axes.set_xlabel("layer" if position + _N_COLUMNS >= len(presets) else "")
        axes.set_ylabel("" if position % _N_COLUMNS else "entropy of the influence (bits)")
    lengths = [summary.context_len for summary in summaries if summary.context_len is not None]
    grid.flat[0].set_ylim(0, float(np.log2(max(lengths))) * 1.04 if lengths else None)
    bottom_legend(figure, _legend(summaries[0], shape), columns=4)
    return figure


def draw_depth_grid(
    features: Frame,
    windows: Frame,
    path: Path,
    *,
    shape: Shape = "violin",
    rule: Rule = "largest_activation_sum",
    n_top: int = N_TOP,
    title: str | None = None,
    note: str | None = None,
) -> None:
    """Save `figure_depth_grid`; arguments and errors as there."""
    save(figure_depth_grid(features, windows, shape=shape, rule=rule, n_top=n_top, title=title, note=note), path)


def layer_ticks(layers: Sequence[int]) -> list[int]:
    """The layers that get a tick: all, or every n // 7 of more than 14."""
    return list(layers[:: len(layers) // 7] if len(layers) > _FEW_LAYERS else layers)


def _draw_layers(axes: Axes, summary: DepthSummary, shape: Shape) -> None:
    layers = [layer.layer for layer in summary.layers]
    width = _WIDTH * min(np.diff(layers), default=1)
    filled = [layer for layer in summary.layers if len(layer.features)]
    positions = [layer.layer for layer in filled]
    if filled and shape == "violin":
        drawn = [_quantiles(layer.features) for layer in filled]
        violins = axes.violinplot(drawn, positions, widths=width, showextrema=False)
        for body in cast("list[Collection]", violins["bodies"]):
            body.set(facecolor=PALE, edgecolor=GREY, alpha=1, linewidth=0.6)
        ends = np.array(positions)[:, None] + np.array([-width, width]) / 4
        axes.hlines([layer.median for layer in filled], ends[:, 0], ends[:, 1], colors=INK, linewidths=1.6)
    elif filled:
        axes.boxplot(
            [layer.features for layer in filled],
            positions=positions,
            widths=width * 0.7,
            manage_ticks=False,
            patch_artist=True,
            boxprops={"facecolor": PALE, "edgecolor": GREY, "linewidth": 0.8},
            whiskerprops={"color": GREY, "linewidth": 0.8},
            capprops={"color": GREY, "linewidth": 0.8},
            medianprops={"color": INK, "linewidth": 1.6},
            flierprops={"marker": ".", "markersize": 1.5, "markeredgecolor": GREY, "markeredgewidth": 0.3},
        )
    axes.plot(layers, [layer.token for layer in summary.layers], color=RED, linestyle="--", marker="o", markersize=3)
    axes.plot(layers, [layer.top for layer in summary.layers], color=BLUE, linestyle="--", marker="s", markersize=3)
    maximum_entropy(axes, summary.context_len)
    axes.set_xlim(layers[0] - width * 0.8, layers[-1] + width * 0.8)
    axes.set_xticks(layer_ticks(layers))


def _quantiles(entropies: Floats) -> Floats:
    """So few values of the same distribution that the time to smooth them does not matter."""
    if len(entropies) <= _MOST_SMOOTHED:
        return entropies
    return np.quantile(entropies, np.linspace(0, 1, _MOST_SMOOTHED))


def _legend(summary: DepthSummary, shape: Shape) -> list[Artist]:
    means = {"violin": "features' mean entropies, line: median", "box": "features' mean entropies (whiskers 1.5 IQR)"}
    top = f"mean of the top {summary.n_top} features: {RULES[summary.rule]}"
    handles: list[Artist] = [
        Patch(facecolor=PALE, edgecolor=GREY, label=means[shape]),
        Line2D([], [], color=RED, linestyle="--", marker="o", markersize=3, label="mean token-vector entropy"),
        Line2D([], [], color=BLUE, linestyle="--", marker="s", markersize=3, label=top),
    ]
    if summary.context_len is not None:
        handles.append(Line2D([], [], color=INK, linestyle=":", linewidth=1, label="log₂ of the context length"))
    return handles


def _numbers(summary: DepthSummary) -> str:
    length = "" if summary.context_len is None else f" of {summary.context_len} tokens"
    return f"{summary.n_windows} windows{length}, n = {span(summary.n_features)} features a layer"


def _arch(summary: DepthSummary) -> list[str]:
    encoding = f" ({summary.sae_encode} encoding)" if summary.sae_encode else ""
    return [f"SAE {summary.sae_arch or ''}{encoding}"] if summary.sae_arch or encoding else []


def _names(windows: Frame) -> list[str]:
    return [str(name) for name in (only("preset", windows), only("dataset", windows)) if name is not None]


def _published_order(preset: str) -> tuple[int, str]:
    return (PRESETS.index(preset) if preset in PRESETS else len(PRESETS)), preset
