"""Entropy versus context length: of features over their events, and in sweeps of a prompt (locality spec 4.2, 4.12)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.canvas import default_settings, new_figure, save
from circuit_artifacts.reports.locality.depth import layer_ticks
from circuit_artifacts.reports.locality.events import feature_entropies, measured_events
from circuit_artifacts.reports.locality.statistics import quartiles
from circuit_artifacts.reports.locality.tables import Frame, columns, distinct, only
from circuit_artifacts.reports.style import BLUE, GREY, INK, RED, faint_lines, size_axis, span

__all__ = [
    "draw_entropy_versus_context",
    "draw_sweep",
    "draw_sweep_layers",
    "figure_entropy_versus_context",
    "figure_sweep",
    "figure_sweep_layers",
    "sweep_summary",
]

_SIZE, _WIDE, _DPI = (7.5, 5.0), (12.0, 5.0), 160
_ENTROPY = "entropy of the influence (bits)"


@default_settings()
def figure_entropy_versus_context(events: Frame, *, title: str | None = None, note: str | None = None) -> Figure:
    """Every feature's mean entropy at all context lengths of a run, with the median and quartiles over features.

    The layout is ours: only the name of the figure is published.

    Args:
        events: rows of `Event` of one run.
        title: in place of the general one.
        note: small, in the corner.

    Raises:
        SchemaError: no event has an entropy, a column is missing, or rows of several runs.
    """
    features = feature_entropies(measured_events(events))
    by_length = quartiles(features, ("ctx",), "mean")
    lengths = by_length["ctx"].astype(int).tolist()
    figure = new_figure(
        _SIZE,
        dpi=_DPI,
        title=title or "H_pos versus context length",
        numbers=f"n = {span(by_length['n'])} features at a length, {span(features['n'])} events each",
        note=note,
    )
    axes = figure.add_subplot()
    table = features.pivot_table(index="feature_id", columns="ctx", values="mean")
    faint_lines(axes, np.array(lengths), table.to_numpy(), color=GREY, alpha=0.35).set_label("mean of a feature")
    axes.scatter(features["ctx"], features["mean"], s=5, color=GREY, alpha=0.35, linewidths=0)
    _draw_quartiles(axes, by_length, "ctx")
    _finish(axes, lengths)
    axes.set_ylabel(_ENTROPY)
    axes.legend(loc="upper left")
    return figure


def draw_entropy_versus_context(
    events: Frame, path: Path, *, title: str | None = None, note: str | None = None
) -> None:
    """Save `figure_entropy_versus_context`; arguments and errors as there."""
    save(figure_entropy_versus_context(events, title=title, note=note), path)


def sweep_summary(features: Frame, lengths: Frame) -> pd.DataFrame:
    """The numbers of a sweep.

    Args:
        features: rows of `SweepFeature` of one run and preset.
        lengths: rows of `SweepLength` of the same.

    Returns:
        One row per layer and context length, ascending: ``layer``, ``context_len``; ``n`` active features with an
        entropy, 0 if none; ``mean``, ``lower``, ``median`` and ``upper`` over them, and ``token``, the token-vector
        entropy, in bits; NaN if there is none.

    Raises:
        SchemaError: no context length, a missing column, a length that is there twice, or rows of several runs or
            presets.
    """
    for name in ("run", "preset"):
        only(name, features, lengths)
    keys = ["layer", "context_len"]
    points = columns(lengths, (*keys, "token_entropy_bits")).rename(columns={"token_entropy_bits": "token"})
    if points.empty:
        problem = "there is no context length to draw"
        raise SchemaError(problem, where="lengths", found="no rows", expected="at least one")
    if points.duplicated(keys).any():
        twice = points[points.duplicated(keys)].iloc[0]
        problem = "a layer has a context length twice"
        found = f"layer {int(twice['layer'])}, context length {int(twice['context_len'])}"
        raise SchemaError(problem, where="lengths", found=found, remedy="Select the rows of one run.")
    rows = columns(features, (*keys, "entropy_bits")).astype({"entropy_bits": np.float64})
    summary = points.astype({"token": np.float64}).merge(quartiles(rows, keys, "entropy_bits"), on=keys, how="outer")
    summary["n"] = summary["n"].fillna(0).astype(np.int64)
    return summary[[*keys, "n", "mean", "lower", "median", "upper", "token"]].sort_values(keys, ignore_index=True)


@default_settings()
def figure_sweep(
    features: Frame, lengths: Frame, *, layer: int, title: str | None = None, note: str | None = None
) -> Figure:
    """Median and quartiles over the active features of one layer at every context length, and the token vector.

    A length without an active feature interrupts the line. The layout is ours.

    Args:
        features: rows of `SweepFeature` of one run and preset.
        lengths: rows of `SweepLength` of the same.
        layer: which layer.
        title: in place of one that names preset, dataset and layer.
        note: small, in the corner.

    Raises:
        SchemaError: as :func:`sweep_summary`, or the layer was not swept.
    """
    summary = sweep_summary(features, lengths)
    summary = summary[summary["layer"] == layer].reset_index(drop=True)
    if summary.empty:
        problem = "the layer was not swept"
        expected = ", ".join(map(str, distinct(lengths, "layer")))
        raise SchemaError(problem, where="layer", found=layer, expected=expected)
    swept = summary["context_len"].astype(int).tolist()
    names = ", ".join([*_names(lengths), f"layer {layer}"])
    figure = new_figure(
        _SIZE,
        dpi=_DPI,
        title=title or f"Entropy versus context length, {names}",
        numbers=f"one prompt, {len(swept)} lengths, n = {span(summary['n'])} active features each",
        note=note,
    )
    axes = figure.add_subplot()
    _draw_quartiles(axes, summary, "context_len")
    if summary["token"].notna().any():
        label = "token vector"
        axes.plot(swept, summary["token"], color=RED, linestyle="--", marker="s", markersize=3.5, label=label)
    _finish(axes, swept)
    axes.set_ylabel(_ENTROPY)
    axes.legend(loc="upper left")
    return figure


def draw_sweep(
    features: Frame, lengths: Frame, path: Path, *, layer: int, title: str | None = None, note: str | None = None
) -> None:
    """Save `figure_sweep`; arguments and errors as there."""
    save(figure_sweep(features, lengths, layer=layer, title=title, note=note), path)


@default_settings()
def figure_sweep_layers(
    features: Frame, lengths: Frame, *, title: str | None = None, note: str | None = None
) -> Figure:
    """All layers of the tables, coloured by depth: medians over features on the left, token vectors on the right.

    The right panel is left out if no token vector is known. The layout is ours.

    Args:
        features: rows of `SweepFeature` of one run and preset.
        lengths: rows of `SweepLength` of the same.
        title: in place of one that names preset and dataset.
        note: small, in the corner.

    Raises:
        SchemaError: as :func:`sweep_summary`.
    """
    summary = sweep_summary(features, lengths)
    layers = sorted(summary["layer"].astype(int).unique().tolist())
    swept = sorted(summary["context_len"].astype(int).unique().tolist())
    panels = [("median", "median of the active features"), ("token", "token vector")]
    panels = panels if summary["token"].notna().any() else panels[:1]
    figure = new_figure(
        _WIDE if len(panels) > 1 else _SIZE,
        dpi=_DPI,
        title=title or ", ".join(["Entropy versus context length by layer", *_names(lengths)]),
        numbers=f"one prompt, {len(layers)} layers, n = {span(summary['n'])} active features each",
        note=note,
    )
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    colours = colormaps["viridis"](np.linspace(0, 0.93, len(layers)))
    for axes, (name, what) in zip(grid, panels, strict=True):
        for colour, (_, rows) in zip(colours, summary.groupby("layer"), strict=True):
            axes.plot(rows["context_len"], rows[name], color=colour, marker="o", markersize=2.5, linewidth=1.2)
        axes.set_title(what)
        _finish(axes, swept)
    grid[0].set_ylabel(_ENTROPY)
    grid[0].legend(loc="upper left")
    scale = ScalarMappable(BoundaryNorm(np.arange(len(layers) + 1) - 0.5, len(layers)), ListedColormap(colours))
    bar = figure.colorbar(scale, ax=list(grid), label="layer")
    ticks = layer_ticks(layers)
    bar.set_ticks([layers.index(tick) for tick in ticks], labels=[str(tick) for tick in ticks])
    bar.ax.minorticks_off()
    return figure


def draw_sweep_layers(
    features: Frame, lengths: Frame, path: Path, *, title: str | None = None, note: str | None = None
) -> None:
    """Save `figure_sweep_layers`; arguments and errors as there."""
    save(figure_sweep_layers(features, lengths, title=title, note=note), path)


def _draw_quartiles(axes: Axes, rows: pd.DataFrame, x: str) -> None:
    lower, upper = rows["lower"], rows["upper"]
    axes.fill_between(rows[x], lower, upper, color=BLUE, alpha=0.2, linewidth=0, label="quartiles over features")
    axes.vlines(rows[x], lower, upper, color=BLUE, alpha=0.5, linewidth=1)
    axes.plot(rows[x], rows["median"], color=BLUE, linewidth=2, marker="o", markersize=4, label="median over features")


def _finish(axes: Axes, lengths: list[int]) -> None:
    label = "log₂ of the length, the maximum"
    axes.plot(lengths, np.log2(lengths), color=INK, linestyle=":", marker="_", linewidth=1, label=label)
    size_axis(axes, lengths, "context length (tokens)")
    axes.set_ylim(0, float(np.log2(max(lengths))) * 1.04 or 1)


def _names(table: Frame) -> list[str]:
    return [str(name) for name in (only("preset", table), *distinct(table, "dataset")) if name is not None]
