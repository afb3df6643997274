"""Decoder directions and entropies as points, and the figure that plotly gets."""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np
import pytest
from page_data import HOSTILE, NOTE, page_data
from page_markup import parsed

from circuit_artifacts.errors import SchemaError, UnknownNameError
from circuit_artifacts.reports.pages.clusters import (
    ClusterPoint,
    Clusters,
    build_clusters,
    render_clusters,
    write_clusters,
)
from circuit_artifacts.reports.pages.text import visible
from circuit_artifacts.reports.projection import pca_2d, tsne_2d, unit_rows

CTX = 32
DATA = page_data(14, 6, CTX)
VECTORS = np.array(DATA.vectors["vector"].to_pylist())


def test_points_are_principal_components_and_quartiles() -> None:
    clusters = build_clusters(DATA.features, DATA.vectors, DATA.events, ctx=CTX)
    coordinates, parts = pca_2d(unit_rows(VECTORS))
    assert clusters.axes == (f"PC 1 ({100 * parts[0]:.1f} %)", f"PC 2 ({100 * parts[1]:.1f} %)")
    events = DATA.events.to_pylist()
    for point, feature, place in zip(clusters.points, DATA.features.to_pylist(), coordinates, strict=True):
        own = [e["H_pos_bits"] for e in events if e["feature_id"] == feature["feature_id"] and e["status"] == "ok"]
        assert (point.x, point.y) == pytest.approx(tuple(place))
        assert (point.lower, point.median, point.upper) == pytest.approx(tuple(np.quantile(own, [0.25, 0.5, 0.75])))
        assert (point.feature_id, point.group, point.n_events) == (feature["feature_id"], feature["tier"], len(own))


def test_tsne_is_on_one_minus_the_size_of_the_cosine() -> None:
    clusters = build_clusters(DATA.features, DATA.vectors, DATA.events, ctx=CTX, method="tsne", groups=DATA.groups)
    units = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    expected = tsne_2d(1 - np.abs(units @ units.T), perplexity=10, iterations=2000, seed=0)
    np.testing.assert_allclose([[point.x, point.y] for point in clusters.points], expected, rtol=1e-3)
    assert clusters.method.endswith("perplexity 10")
    assert [point.group for point in clusters.points] == [
        DATA.groups.get(point.feature_id) for point in clusters.points
    ]


def test_a_set_too_small_for_the_perplexity_says_which_it_got() -> None:
    small = build_clusters(DATA.features.slice(0, 7), DATA.vectors, DATA.events, ctx=CTX, method="tsne")
    assert small.method.endswith("perplexity 2")
    with pytest.raises(SchemaError, match="at least 5"):
        build_clusters(DATA.features.slice(0, 4), DATA.vectors, DATA.events, ctx=CTX, method="tsne")


def test_what_cannot_be_placed_is_refused() -> None:
    with pytest.raises(SchemaError, match="no features"):
        build_clusters(DATA.features.slice(0, 0), DATA.vectors, DATA.events, ctx=CTX)
    with pytest.raises(SchemaError, match="no decoder vector"):
        build_clusters(DATA.features, DATA.vectors.slice(1), DATA.events, ctx=CTX)
    with pytest.raises(SchemaError, match="no events"):
        build_clusters(DATA.features, DATA.vectors, DATA.events, ctx=CTX + 1)
    with pytest.raises(UnknownNameError, match="pca, tsne"):
        build_clusters(DATA.features, DATA.vectors, DATA.events, ctx=CTX, method="umap")


def test_the_page_gets_one_trace_per_group_with_quartile_bars(tmp_path: Path) -> None:
    clusters = build_clusters(DATA.features, DATA.vectors, DATA.events, ctx=CTX, groups=DATA.groups)
    write_clusters(clusters, tmp_path / "clusters3d.html", title="Clusters", note=NOTE)
    figure = parsed((tmp_path / "clusters3d.html").read_text(encoding="utf-8")).data
    assert [trace["name"] for trace in figure["traces"]] == ["anchor 1033", "anchor 6810", "anchor 15979", "no group"]
    for trace in figure["traces"]:
        group = None if trace["name"] == "no group" else trace["name"]
        own = [point for point in clusters.points if point.group == group]
        assert trace["customdata"] == [point.feature_id for point in own]
        for axis, values in {"x": "x", "y": "y", "z": "median"}.items():
            assert trace[axis] == pytest.approx([getattr(point, values) for point in own], rel=1e-5)
        assert trace["error_z"]["array"] == pytest.approx([p.upper - p.median for p in own], rel=1e-4, abs=1e-9)
        assert trace["error_z"]["arrayminus"] == pytest.approx([p.median - p.lower for p in own], rel=1e-4, abs=1e-9)
        for text, point in zip(trace["hovertext"], own, strict=True):
            assert text.startswith(f"feature {point.feature_id}")
            assert (point.description or "no description") in text.replace("<br>", " ")


def test_hostile_text_is_text_for_plotly() -> None:
    points = tuple(
        ClusterPoint(feature_id=n, description=text, group=text, x=n, y=0, median=2, lower=1, upper=3, n_events=4)
        for n, text in enumerate(HOSTILE)
    )
    page = parsed(render_clusters(Clusters(points=points, axes=("x", "y"), method="m", ctx=8), title="", note=""))
    assert not {"img", "b", "a"} & {tag for tag, _ in page.elements}
    for trace, text in zip(page.data["traces"], HOSTILE, strict=True):
        for label in (trace["name"], trace["hovertext"][0]):
            assert "<" not in label.replace("<br>", "")
            shown = html.unescape(label.replace("<br>", " "))
            assert "".join(visible(text).split()) in "".join(shown.split())
