"""Decoder directions in two dimensions against entropy, as a view that turns (locality spec 5.6)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
from plotly.offline import get_plotlyjs

from circuit_artifacts.errors import SchemaError, UnknownNameError
from circuit_artifacts.reports.pages.measured import measured_events
from circuit_artifacts.reports.pages.rendering import file_text, render_page, write_text
from circuit_artifacts.reports.pages.text import plotly_text, visible
from circuit_artifacts.reports.projection import Floats, pca_2d, tsne_2d, unit_rows

__all__ = ["ClusterPoint", "Clusters", "Method", "build_clusters", "render_clusters", "write_clusters"]

Method = Literal["pca", "tsne"]

_PERPLEXITY = 10.0
_LEAST_FOR_TSNE = 5
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee8866", "#44bb99")
_SYMBOLS = ("circle", "diamond", "square", "cross")
_REST, _REST_COLOUR = "no group", "#888888"
_POINT_SIZE = 5


@dataclass(frozen=True, kw_only=True)
class ClusterPoint:
    """One feature.

    Attributes:
        feature_id: its number in the autoencoder.
        description: in words; None if it has none.
        group: cluster, anchor or tier; None if it belongs to none.
        x: first coordinate of its decoder direction.
        y: second coordinate.
        median: of the entropies of its events, bits.
        lower: their first quartile, bits.
        upper: their third quartile, bits.
        n_events: number of events.
    """

    feature_id: int
    description: str | None
    group: str | None
    x: float
    y: float
    median: float
    lower: float
    upper: float
    n_events: int


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """What one page shows.

    Attributes:
        points: the features.
        axes: what the two coordinates are.
        method: how the coordinates were made, as a sentence.
        ctx: context length in tokens of the entropies.
    """

    points: tuple[ClusterPoint, ...]
    axes: tuple[str, str]
    method: str
    ctx: int


def build_clusters(
    features: pa.Table,
    decoder_vectors: pa.Table,
    events: pa.Table,
    *,
    ctx: int,
    method: Method = "pca",
    groups: Mapping[int, str] | None = None,
) -> Clusters:
    """Project the decoder directions, and take median and quartiles of the entropies.

    ``pca`` is by singular value decomposition of the centred unit rows; ``tsne`` is on the distance 1 - |cos|, with
    perplexity 10 (fewer for a set too small for it), a random start with seed 0 and 2000 iterations.

    Args:
        features: rows of `GeometryFeature` of one run.
        decoder_vectors: rows of `DecoderVector` of the same run.
        events: rows of `Event` of the run that the entropies are from.
        ctx: context length in tokens.
        method: ``pca`` or ``tsne``.
        groups: cluster or anchor by feature id; without it the tiers.

    Raises:
        UnknownNameError: another method.
        SchemaError: a feature without a decoder vector or without events, or no features, or fewer than 5 for t-SNE.
    """
    rows = sorted(features.to_pylist(), key=lambda row: row["row_idx"])
    if not rows:
        problem = "there are no features to show"
        raise SchemaError(problem, where="features")
    measured = measured_events(events, ctx=ctx)
    known = dict(zip(decoder_vectors["feature_id"].to_pylist(), decoder_vectors["vector"].to_pylist(), strict=True))
    entropies = [measured.entropy[measured.rows_of(row["feature_id"])] for row in rows]
    for row, entropy in zip(rows, entropies, strict=True):
        if not len(entropy) or row["feature_id"] not in known:
            problem = "a feature of the geometry set has no " + ("decoder vector" if len(entropy) else "events")
            expected = f"events at {ctx} tokens, and a vector"
            raise SchemaError(problem, where=f"feature {row['feature_id']}", expected=expected)
    vectors = np.array([known[row["feature_id"]] for row in rows], np.float64)
    coordinates, axes, sentence = _project(vectors, method)
    points = []
    for row, entropy, (x, y) in zip(rows, entropies, coordinates.tolist(), strict=True):
        lower, median, upper = np.percentile(entropy, [25, 50, 75]).tolist()
        points.append(
            ClusterPoint(
                feature_id=row["feature_id"],
                description=row["description"],
                group=row["tier"] if groups is None else groups.get(row["feature_id"]),
                x=x,
                y=y,
                median=median,
                lower=lower,
                upper=upper,
                n_events=len(entropy),
            )
        )
    return Clusters(points=tuple(points), axes=axes, method=sentence, ctx=ctx)


def render_clusters(clusters: Clusters, *, title: str, note: str) -> str:
    """The page as text, with all of plotly.js in it (5 MB).

    Args:
        clusters: what to show.
        title: of the page.
        note: where the numbers are from.
    """
    groups: dict[str | None, list[ClusterPoint]] = {}
    for point in clusters.points:
        groups.setdefault(point.group, []).append(point)
    return render_page(
        "clusters.html.j2",
        title=title,
        note=note,
        styles=[file_text("clusters.css")],
        scripts=[get_plotlyjs(), file_text("clusters.js")],
        any_style=True,  # plotly writes its own
        clusters=clusters,
        n_groups=len(groups),
        figure={
            "traces": [_trace(number, name, group) for number, (name, group) in enumerate(groups.items())],
            "texts": [[f"{one.feature_id} {visible(one.description or '')}" for one in own] for own in groups.values()],
            "axes": [*clusters.axes, "median H_pos (bits)"],
        },
    )


def write_clusters(clusters: Clusters, path: str | os.PathLike[str], *, title: str, note: str) -> None:
    """Write the page; arguments as :func:`render_clusters`.

    Raises:
        OSError: it cannot be written.
    """
    write_text(render_clusters(clusters, title=title, note=note), path)


def _project(vectors: Floats, method: str) -> tuple[Floats, tuple[str, str], str]:
    """Coordinates (n, 2), the names of the axes, and how it was done."""
    units = unit_rows(vectors)
    if method == "pca":
        coordinates, parts = pca_2d(units)
        first, second = (f"PC {number} ({100 * part:.1f} %)" for number, part in enumerate(parts.tolist(), 1))
        return coordinates, (first, second), "principal components of the unit decoder directions"
    if method != "tsne":
        problem = f"there is no projection {method!r}"
        raise UnknownNameError(problem, expected=", ".join(get_args(Method)))
    if len(units) < _LEAST_FOR_TSNE:
        problem = "too few features for t-SNE"
        raise SchemaError(problem, found=len(units), expected=f"at least {_LEAST_FOR_TSNE}")
    perplexity = _PERPLEXITY if len(units) > _PERPLEXITY + 1 else (len(units) - 1) / 3
    coordinates = tsne_2d(1 - np.abs(units @ units.T), perplexity=perplexity)
    sentence = f"t-SNE on 1 - |cos| of the decoder directions, perplexity {perplexity:.3g}"
    return coordinates, ("t-SNE 1", "t-SNE 2"), sentence


def _trace(number: int, name: str | None, own: Sequence[ClusterPoint]) -> dict[str, Any]:
    """One entry of the legend, in plotly's words."""
    colour = _REST_COLOUR if name is None else _COLOURS[number % len(_COLOURS)]
    return {
        "type": "scatter3d",
        "mode": "markers",
        "name": _REST if name is None else plotly_text(name, width=30),
        "x": [_rounded(point.x) for point in own],
        "y": [_rounded(point.y) for point in own],
        "z": [_rounded(point.median) for point in own],
        "error_z": {
            "type": "data",
            "symmetric": False,
            "array": [_rounded(point.upper - point.median) for point in own],
            "arrayminus": [_rounded(point.median - point.lower) for point in own],
            "color": colour,
            "thickness": 1.5,
            "width": 0,
        },
        "marker": {
            "size": _POINT_SIZE,
            "color": colour,
            "line": {"color": colour, "width": 0},
            "opacity": 1,
            "symbol": _SYMBOLS[number // len(_COLOURS) % len(_SYMBOLS)],
        },
        "hoverinfo": "text",
        "hovertext": [_hover(point) for point in own],
        "customdata": [point.feature_id for point in own],
    }


def _hover(point: ClusterPoint) -> str:
    lines = [
        f"feature {point.feature_id}" + ("" if point.group is None else f", {plotly_text(point.group)}"),
        plotly_text(point.description) if point.description else "no description",
        f"H_pos {point.median:.2f} bits, quartiles {point.lower:.2f} and {point.upper:.2f}, {point.n_events} events",
    ]
    return "<br>".join(lines)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
