import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pytest
from locality_rows import CONTEXT, HOSTILE, depth_features, depth_windows, random_depth, texts
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.lines import Line2D
from PIL import Image

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.locality.depth import (
    Shape,
    draw_depth,
    draw_depth_grid,
    figure_depth,
    figure_depth_grid,
    layer_ticks,
)
from circuit_artifacts.reports.locality.statistics import RULES, DepthSummary, Rule, depth_summary
from circuit_artifacts.reports.style import BLUE, RED

SHAPES: list[Shape] = ["violin", "box"]


def line(axes: Axes, color: str, style: str = "--") -> Line2D:
    (found,) = [one for one in axes.lines if one.get_color() == color and one.get_linestyle() == style]
    return found


def dotted(axes: Axes) -> list[float]:
    return [float(one.get_ydata()[0]) for one in axes.lines if one.get_linestyle() == ":"]  # type: ignore[index]


def medians(axes: Axes, shape: Shape) -> list[float]:
    if shape == "violin":
        (segments,) = [one for one in axes.collections if isinstance(one, LineCollection)]
        return [float(segment[0, 1]) for segment in segments.get_segments()]
    return [float(one.get_ydata()[0]) for one in axes.lines if one.get_linewidth() == 1.6]  # type: ignore[index]


def expected(features: pa.Table, windows: pa.Table, rule: Rule = "most_windows") -> DepthSummary:
    return depth_summary(features, windows, rule=rule)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rule", list(RULES))
def test_lines_are_the_means_of_token_vector_and_of_the_features_that_the_rule_chose(shape: Shape, rule: Rule) -> None:
    features, windows = random_depth([0, 3, 6])
    figure = figure_depth(features, windows, shape=shape, rule=rule)
    axes, summary = figure.axes[0], expected(features, windows, rule)
    for color, values in (
        (RED, [layer.token for layer in summary.layers]),
        (BLUE, [layer.top for layer in summary.layers]),
    ):
        np.testing.assert_array_equal(line(axes, color).get_xdata(), [0, 3, 6])
        np.testing.assert_array_equal(line(axes, color).get_ydata(), values)
    assert medians(axes, shape) == [layer.median for layer in summary.layers]
    assert dotted(axes) == [np.log2(CONTEXT)]
    assert f"top 20 features: {RULES[rule]}" in texts(figure)
    assert "3 windows of 8 tokens, n = 30 features" in texts(figure)
    assert "pythia-70m, wikitext, SAE relu" in texts(figure)


def test_a_box_spans_the_quartiles_and_a_violin_the_range() -> None:
    features, windows = random_depth([0, 1])
    summary = expected(features, windows)
    axes = figure_depth(features, windows, shape="box").axes[0]
    for patch, layer in zip(axes.patches, summary.layers, strict=True):
        box = patch.get_path().vertices[:, 1]
        np.testing.assert_allclose([box.min(), box.max()], np.percentile(layer.features, [25, 75]))
    axes = figure_depth(features, windows).axes[0]
    violins = [one for one in axes.collections if isinstance(one, PolyCollection)]
    for violin, layer in zip(violins, summary.layers, strict=True):
        heights = violin.get_paths()[0].vertices[:, 1]
        np.testing.assert_allclose([heights.min(), heights.max()], [layer.features.min(), layer.features.max()])


def test_a_violin_of_many_features_keeps_its_range() -> None:
    features, windows = random_depth([0], n_features=6000)
    axes = figure_depth(features, windows).axes[0]
    (violin,) = [one for one in axes.collections if isinstance(one, PolyCollection)]
    heights, values = violin.get_paths()[0].vertices[:, 1], expected(features, windows).layers[0].features
    np.testing.assert_allclose([heights.min(), heights.max()], [values.min(), values.max()])


@pytest.mark.parametrize(
    ("layers", "ticks"),
    [
        (range(14), list(range(14))),
        (range(15), [0, 2, 4, 6, 8, 10, 12, 14]),
        (range(26), [0, 3, 6, 9, 12, 15, 18, 21, 24]),
        (range(0, 31, 3), list(range(0, 31, 3))),
    ],
)
def test_more_than_fourteen_layers_are_ticked_every_nth(layers: range, ticks: list[int]) -> None:
    assert layer_ticks(list(layers)) == ticks
    figure = figure_depth(*random_depth(list(layers), n_features=2))
    assert figure.axes[0].get_xticks().tolist() == ticks


@pytest.mark.parametrize("shape", SHAPES)
def test_a_layer_without_features_shows_its_token_vector_only(shape: Shape) -> None:
    features = depth_features([(0, 0, 1, 2.0, 1.0), (1, 0, 1, np.nan, 1.0)])  # one feature, and none with an entropy
    windows = depth_windows([(0, 0, 1.0), (1, 0, 1.5), (2, 0, 2.5)])
    figure = figure_depth(features, windows, shape=shape)
    assert medians(figure.axes[0], shape) == [2.0]
    np.testing.assert_array_equal(line(figure.axes[0], RED).get_ydata(), [1.0, 1.5, 2.5])
    np.testing.assert_array_equal(line(figure.axes[0], BLUE).get_ydata(), [2.0, np.nan, np.nan])
    assert "n = 0 to 1 features" in texts(figure)
    figure.draw_without_rendering()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_run_without_any_feature_or_known_entropy_is_still_a_picture(tmp_path: Path, shape: Shape) -> None:
    windows = depth_windows([(0, 0, None), (1, 0, None)], context_len=None, preset=None, sae_arch=None)
    draw_depth(depth_features([]), windows, tmp_path / "figure.png", shape=shape)
    assert dotted(figure_depth(depth_features([]), windows, shape=shape).axes[0]) == []


def test_no_window_is_an_error() -> None:
    with pytest.raises(SchemaError, match="no window to draw"):
        figure_depth(depth_features([]), depth_windows([]))
    with pytest.raises(SchemaError, match="no rows of a preset"):
        figure_depth_grid(depth_features([]), depth_windows([]))


def models(*presets: str, **changes: Any) -> tuple[pa.Table, pa.Table]:
    tables = [random_depth([0, 1], preset=preset, run=f"{preset}/x/1", **changes) for preset in presets]
    return pa.concat_tables([one for one, _ in tables]), pa.concat_tables([one for _, one in tables])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_grid_has_a_panel_per_model_published_ones_first_in_their_order(shape: Shape) -> None:
    features, windows = models("zeta", "gemma-2-2b", "alpha", "pythia-70m")
    figure = figure_depth_grid(features, windows, shape=shape, n_top=3)
    titles = [axes.get_title(loc="left").split(",")[0] for axes in figure.axes if axes.axison]
    assert titles == ["pythia-70m", "gemma-2-2b", "alpha", "zeta"]
    summary = depth_summary(*random_depth([0, 1]), rule="largest_activation_sum", n_top=3)
    for axes in figure.axes[:4]:
        np.testing.assert_array_equal(line(axes, BLUE).get_ydata(), [layer.top for layer in summary.layers])
        assert medians(axes, shape) == [layer.median for layer in summary.layers]
        assert axes.get_ylim() == figure.axes[0].get_ylim()
    assert "top 3 features: largest summed activation" in texts(figure)


def test_a_grid_has_the_published_size(tmp_path: Path) -> None:
    draw_depth_grid(*models("a", "b", "c", "d"), tmp_path / "grid.png", note="a note")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size == (round(3 * 4.2 * 160), round(2 * 3.4 * 160))


def test_a_grid_shows_one_dataset_and_one_run_of_a_model() -> None:
    features, windows = models("a")
    others = models("b", dataset="gsm8k")
    with pytest.raises(SchemaError, match="more than one dataset"):
        figure_depth_grid(*(pa.concat_tables(pair) for pair in zip((features, windows), others, strict=True)))
    again = random_depth([0], preset="a", run="a/x/2")
    with pytest.raises(SchemaError, match="more than one run"):
        figure_depth_grid(*(pa.concat_tables(pair) for pair in zip((features, windows), again, strict=True)))
    with pytest.raises(SchemaError, match="rows without a preset"):
        figure_depth_grid(features, pa.concat_tables([windows, depth_windows([(0, 0, 1.0)], preset=None)]))
    with pytest.raises(SchemaError, match="no window to draw"):
        figure_depth_grid(pa.concat_tables([features, models("b")[0]]), windows)


def test_a_note_is_in_the_corner_and_titles_claim_nothing(tmp_path: Path) -> None:
    note = "regenerated: mini, not the published data"
    figure = figure_depth(*random_depth([0]), note=note)
    (found,) = [text for text in figure.texts if text.get_text() == note]
    x, y = found.get_position()
    assert x > 0.95
    assert y < 0.05
    assert "published" not in texts(figure_depth(*random_depth([0])))


def test_titles_and_names_may_be_any_text(tmp_path: Path) -> None:
    for number, name in enumerate((" ".join(filter(None, HOSTILE)), "$x^2$", "W" * 5000)):
        tables = random_depth([0, 1], preset=name, dataset=name)
        draw_depth(*tables, tmp_path / f"{number}.png", note=name, title=name)
        draw_depth_grid(*tables, tmp_path / f"grid{number}.png")


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_equal_input_gives_equal_bytes_whatever_the_users_style(tmp_path: Path, suffix: str) -> None:
    features, windows = random_depth([0, 1])
    draw_depth(features, windows, tmp_path / f"first{suffix}")
    with mpl.rc_context({"text.usetex": True, "savefig.dpi": 30, "axes.facecolor": "black", "font.family": "serif"}):
        before = dict(mpl.rcParams)
        draw_depth(features.to_pandas(), windows.to_pandas(), tmp_path / f"second{suffix}")
        assert dict(mpl.rcParams) == before
    assert (tmp_path / f"first{suffix}").read_bytes() == (tmp_path / f"second{suffix}").read_bytes()


def test_a_picture_does_not_tell_the_version_that_drew_it(tmp_path: Path) -> None:
    draw_depth(*random_depth([0]), tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as picture:
        assert "Software" not in picture.info


def test_an_unknown_suffix_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"found \.txt, expected \.png, \.pdf, \.svg"):
        draw_depth(*random_depth([0]), tmp_path / "figure.txt")
    assert not list(tmp_path.iterdir())


def test_a_figure_can_be_rendered_elsewhere() -> None:
    buffer = io.BytesIO()
    figure_depth(*random_depth([0])).savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")
