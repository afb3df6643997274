from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from locality_fixture import OLD_SWEEP, SWEEP, loaded, write_locality
from locality_rows import HOSTILE, events, lengths, random_events, sweep, texts
from matplotlib.collections import LineCollection, PathCollection

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.locality.context_length import (
    draw_entropy_versus_context,
    draw_sweep,
    draw_sweep_layers,
    figure_entropy_versus_context,
    figure_sweep,
    figure_sweep_layers,
    sweep_summary,
)
from circuit_artifacts.sae_locality.files import RepositoryFile
from circuit_artifacts.sae_locality.tables import TABLES

EVENTS = events(
    [(16, 1, 1.0), (16, 1, 2.0), (16, 2, 3.0), (64, 1, 2.0), (64, 2, 5.0), (64, 3, 0.5), (128, 2, None), (128, 3, 1.0)]
)
FEATURES = sweep(
    [(0, 8, feature, feature / 4) for feature in range(9)]
    + [(0, 264, feature, feature / 2) for feature in range(5)]
    + [(6, 8, 1, 2.5), (6, 136, 1, 3.5), (6, 264, 1, 4.5)]
)
LENGTHS = lengths([(0, 8, 1.0), (0, 136, 2.0), (0, 264, None), (6, 8, 1.5), (6, 136, 2.5), (6, 264, 3.0)])


def test_every_features_mean_is_a_line_over_the_context_lengths() -> None:
    figure = figure_entropy_versus_context(EVENTS)
    (axes,) = figure.axes
    faint, _ = [one for one in axes.collections if isinstance(one, LineCollection)]
    lines = [segment[~np.isnan(segment[:, 1])].tolist() for segment in faint.get_segments()]
    assert lines == [[[16, 1.5], [64, 2]], [[16, 3], [64, 5]], [[64, 0.5], [128, 1]]]
    (dots,) = [one for one in axes.collections if isinstance(one, PathCollection)]
    assert sorted(map(tuple, np.asarray(dots.get_offsets()).tolist())) == sorted(
        (x, y) for line in lines for x, y in line
    )
    median, most = axes.lines
    np.testing.assert_array_equal(median.get_xdata(), [16, 64, 128])
    np.testing.assert_allclose(median.get_ydata(), [2.25, 2.0, 1.0])
    np.testing.assert_allclose(most.get_ydata(), [4, 6, 7])
    assert axes.get_xticks().tolist() == [16, 64, 128]
    assert "n = 1 to 3 features at a length, 1 to 2 events each" in texts(figure)


def test_the_band_is_between_the_quartiles_over_features() -> None:
    axes = figure_entropy_versus_context(EVENTS).axes[0]
    _, bars = [one for one in axes.collections if isinstance(one, LineCollection)]
    for segment, values in zip(bars.get_segments(), ([1.5, 3.0], [2.0, 5.0, 0.5], [1.0]), strict=True):
        np.testing.assert_allclose(segment[:, 1], np.percentile(values, [25, 75]))


def test_a_single_context_length_is_drawn(tmp_path: Path) -> None:
    for ctx in (1, 128):
        draw_entropy_versus_context(random_events(3, ctxs=(ctx,)), tmp_path / f"{ctx}.png")


def test_events_without_entropies_are_an_error() -> None:
    with pytest.raises(SchemaError, match="no event has an entropy"):
        figure_entropy_versus_context(events([(16, 1, None)]))


def test_a_sweep_has_quartiles_over_features_at_every_length() -> None:
    found = sweep_summary(FEATURES, LENGTHS)
    keys = list(zip(found["layer"], found["context_len"], strict=True))
    assert keys == [(layer, length) for layer in (0, 6) for length in (8, 136, 264)]
    assert found["n"].tolist() == [9, 0, 5, 1, 1, 1]
    np.testing.assert_allclose(found["token"], [1, 2, np.nan, 1.5, 2.5, 3])
    np.testing.assert_allclose(found["median"], [1, np.nan, 1, 2.5, 3.5, 4.5])
    np.testing.assert_allclose(found["lower"], [0.5, np.nan, 0.5, 2.5, 3.5, 4.5])
    np.testing.assert_allclose(found["upper"], [1.5, np.nan, 1.5, 2.5, 3.5, 4.5])


def test_the_lines_of_a_sweep_break_where_nothing_is_active_or_known() -> None:
    figure = figure_sweep(FEATURES, LENGTHS, layer=0)
    median, token, most = figure.axes[0].lines
    np.testing.assert_array_equal(median.get_xdata(), [8, 136, 264])
    np.testing.assert_allclose(median.get_ydata(), [1, np.nan, 1])
    np.testing.assert_allclose(token.get_ydata(), [1, 2, np.nan])
    np.testing.assert_allclose(most.get_ydata(), np.log2([8, 136, 264]))
    assert token.get_linestyle() == "--"
    assert "gpt2-small, fineweb, layer 0" in texts(figure)
    assert "3 lengths, n = 0 to 9 active features" in texts(figure)


def test_a_sweep_without_token_vectors_has_no_line_for_them() -> None:
    silent = lengths([(0, 8, None), (0, 264, None)])
    assert len(figure_sweep(FEATURES, silent, layer=0).axes[0].lines) == 2
    assert "token vector" not in texts(figure_sweep(FEATURES, silent, layer=0))


def test_layers_are_lines_of_median_and_token_vector_coloured_by_depth() -> None:
    figure = figure_sweep_layers(FEATURES, LENGTHS)
    left, right, bar = figure.axes
    for axes, expected in ((left, ([1, np.nan, 1], [2.5, 3.5, 4.5])), (right, ([1, 2, np.nan], [1.5, 2.5, 3]))):
        for line, values in zip(axes.lines, expected, strict=False):
            np.testing.assert_allclose(line.get_ydata(), values)
        assert len({tuple(np.ravel(line.get_color())) for line in axes.lines[:2]}) == 2
    assert [label.get_text() for label in bar.get_yticklabels()] == ["0", "6"]
    assert "2 layers" in texts(figure)


def test_layers_without_token_vectors_are_one_panel(tmp_path: Path) -> None:
    tables = sweep([(5, 8, 1, 1.0)]), lengths([(5, 8, None)])
    assert len(figure_sweep_layers(*tables).axes) == 2  # and the scale of colours
    draw_sweep_layers(*tables, tmp_path / "figure.png")


def test_many_layers_and_lengths_have_few_ticks() -> None:
    swept = [*range(8, 2048, 128), 2048]
    tables = sweep([(layer, n, 1, 1.0) for layer in range(26) for n in swept]), lengths([(0, n, 1.0) for n in swept])
    figure = figure_sweep_layers(*tables)
    assert figure.axes[0].get_xticks().tolist() == [8, 16, 32, 64, 128, 256, 512, 1024, 2048]
    assert [label.get_text() for label in figure.axes[2].get_yticklabels()] == [str(n) for n in range(0, 26, 3)]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ((FEATURES.slice(0, 0), LENGTHS.slice(0, 0)), "no context length to draw"),
        ((FEATURES, pa.concat_tables([LENGTHS, lengths([(0, 8, 1.0)])])), "twice.*layer 0, context length 8"),
        ((FEATURES, lengths([(0, 8, 1.0)], preset="other")), "more than one preset"),
        ((FEATURES, lengths([(0, 8, 1.0)], run="other")), "more than one run"),
        ((FEATURES.drop_columns(["entropy_bits"]), LENGTHS), "entropy_bits: the table lacks"),
    ],
)
def test_rows_that_make_no_sweep_are_an_error(tables: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        figure_sweep_layers(*tables)


def test_a_layer_that_was_not_swept_is_an_error() -> None:
    with pytest.raises(SchemaError, match=r"not swept.*found 3, expected 0, 6"):
        figure_sweep(FEATURES, LENGTHS, layer=3)


def test_a_sweep_without_any_feature_is_still_a_picture(tmp_path: Path) -> None:
    draw_sweep(FEATURES.slice(0, 0), LENGTHS, tmp_path / "layer.png", layer=0)
    draw_sweep_layers(FEATURES.slice(0, 0), lengths([(0, 1, None)]), tmp_path / "layers.png")


def test_equal_input_gives_equal_bytes_from_arrow_and_pandas(tmp_path: Path) -> None:
    for folder, convert in (("arrow", lambda table: table), ("pandas", lambda table: table.to_pandas())):
        (tmp_path / folder).mkdir()
        draw_sweep(convert(FEATURES), convert(LENGTHS), tmp_path / folder / "layer.png", layer=0, note="a note")
        draw_sweep_layers(convert(FEATURES), convert(LENGTHS), tmp_path / folder / "layers.png")
        draw_entropy_versus_context(convert(EVENTS), tmp_path / folder / "events.png")
    for path in (tmp_path / "arrow").iterdir():
        assert path.read_bytes() == (tmp_path / "pandas" / path.name).read_bytes()


def test_names_may_be_any_text(tmp_path: Path) -> None:
    name = " ".join(filter(None, HOSTILE))
    tables = sweep([(0, 8, 1, 1.0)], preset=name), lengths([(0, 8, 1.0)], preset=name, dataset=name)
    draw_sweep(*tables, tmp_path / "layer.png", layer=0)
    draw_sweep_layers(*tables, tmp_path / "layers.png", note=name)
    draw_entropy_versus_context(EVENTS, tmp_path / "events.png", title=name)


def test_published_sweeps_of_both_generations_are_drawn(tmp_path: Path) -> None:
    folder = write_locality(tmp_path)
    for run, layer, lines in ((SWEEP, 11, 3), (OLD_SWEEP, 2, 2)):
        (path,) = (folder / run / "gpt2-small").glob(f"*layer{layer}_*.pt")
        file = RepositoryFile(path, path.relative_to(folder).as_posix())
        features, measured = (TABLES[table].read(file, ()) for table in ("sweep_features", "sweep_lengths"))
        content = loaded(path)
        results = content.get("results_by_context_len") or content["results_by_batch_size"]
        drawn = figure_sweep(features, measured, layer=layer).axes[0].lines
        assert len(drawn) == lines
        expected = [
            np.median(list(entry["feature_entropies"].values())) if entry["feature_entropies"] else np.nan
            for entry in results.values()
        ]
        np.testing.assert_allclose(drawn[0].get_ydata(), expected, rtol=1e-6)
