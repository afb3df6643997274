from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from locality_fixture import DEPTH, loaded, write_locality
from locality_rows import CONTEXT, HOSTILE, depth_features, depth_windows, texts
from matplotlib.collections import LineCollection, PathCollection
from PIL import Image

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.locality.batches import draw_batch, figure_batch, read_batch
from circuit_artifacts.reports.locality.statistics import shares
from circuit_artifacts.reports.style import PALETTE, RED
from circuit_artifacts.sae_locality.files import RepositoryFile
from circuit_artifacts.sae_locality.tables import TABLES

RANDOM = np.random.default_rng(0)


def window(n: int, **changes: Any) -> tuple[pa.Table, pa.Table]:
    """N features in window 4 of layer 2, of which the later are the more active; and rows that do not belong to it."""
    tables = [
        depth_features([(2, 4, feature, feature / n, feature + 0.5)], influence=RANDOM.random(CONTEXT).tolist())
        for feature in range(n)
    ]
    others = depth_features([(2, 5, 900, 1.0, 99.0), (3, 4, 901, 1.0, 99.0)])
    windows = depth_windows([(2, 4, 1.25), (2, 5, 2.0), (3, 4, 2.5)], **changes)
    return pa.concat_tables([others, *tables]), windows


def test_features_come_from_the_most_active_on_and_only_of_the_window() -> None:
    features = depth_features([(2, 4, 5, 1.0, 1.0), (2, 4, 9, 2.0, 7.0), (2, 4, 3, 0.5, 1.0), (2, 4, 1, 0.1, None)])
    batch = read_batch(features, window(1)[1], layer=2, batch_idx=4)
    assert batch.ids.tolist() == [9, 3, 5, 1]
    np.testing.assert_array_equal(batch.activation, [7, 1, 1, np.nan])
    np.testing.assert_allclose(batch.entropy, [2.0, 0.5, 1.0, 0.1], rtol=1e-6)
    np.testing.assert_allclose(batch.shares, np.eye(CONTEXT)[[-1] * 4], atol=1e-11)
    np.testing.assert_allclose(batch.token_shares, np.full(CONTEXT, 1 / CONTEXT))
    assert (batch.start, batch.token_entropy, batch.preset) == (640, 1.25, "pythia-70m")


@pytest.mark.parametrize(("n", "coloured", "grey"), [(0, 0, 0), (1, 1, 0), (5, 5, 0), (7, 5, 2), (220, 5, 200)])
def test_five_are_coloured_and_two_hundred_others_grey(n: int, coloured: int, grey: int) -> None:
    features, windows = window(n)
    figure = figure_batch(features, windows, layer=2, batch_idx=4)
    left, right = figure.axes
    batch = read_batch(features, windows, layer=2, batch_idx=4)
    *drawn, token = left.lines
    assert [line.get_color() for line in drawn] == list(PALETTE[:coloured])
    for line, curve in zip(drawn, batch.shares, strict=False):
        np.testing.assert_array_equal(line.get_ydata(), curve)
    np.testing.assert_array_equal(token.get_ydata(), batch.token_shares)
    assert token.get_linestyle() == "--"
    (others,) = [one for one in left.collections if isinstance(one, LineCollection)]
    assert len(others.get_segments()) == grey
    if grey:
        np.testing.assert_array_equal(np.array(others.get_segments())[:, :, 1], batch.shares[5 : 5 + grey])
    scattered = [one for one in right.collections if isinstance(one, PathCollection)]
    points = np.concatenate([np.asarray(one.get_offsets()) for one in scattered])
    expected = np.column_stack([batch.activation, batch.entropy])
    np.testing.assert_array_equal(points[np.argsort(points[:, 0])], expected[::-1])
    (red,) = [line for line in right.lines if line.get_color() == RED]
    assert (red.get_linestyle(), red.get_ydata()) == ("--", [1.25, 1.25])
    assert f"n = {n} active features: most active in colour ({coloured}), next in grey ({grey})" in texts(figure)
    assert "pythia-70m, wikitext, layer 2, window 4 (start_idx 640)" in texts(figure)
    assert figure.get_size_inches().tolist() == [14, 5]


def test_legends_name_the_most_active_features() -> None:
    figure = figure_batch(*window(7), layer=2, batch_idx=4)
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]  # type: ignore[union-attr]
    assert labels == [f"feature {feature}, activation {feature}.5" for feature in (6, 5, 4, 3, 2)] + ["token vector"]


def test_an_unknown_token_entropy_gives_no_line(tmp_path: Path) -> None:
    windows = depth_windows([(2, 4, None)], preset=None)
    figure = figure_batch(window(3)[0], windows, layer=2, batch_idx=4)
    assert not [line for line in figure.axes[1].lines if line.get_color() == RED]
    draw_batch(depth_features([]), windows, tmp_path / "figure.png", layer=2, batch_idx=4)


def test_features_of_unknown_activation_are_grey_on_the_left_and_not_on_the_right() -> None:
    features = depth_features([(2, 4, 1, 1.0, 3.0), *((2, 4, feature, 1.0, None) for feature in range(2, 9))])
    figure = figure_batch(features, window(1)[1], layer=2, batch_idx=4)
    left, right = figure.axes
    assert [line.get_label() for line in left.lines] == ["feature 1, activation 3", "token vector"]
    assert len(left.collections[0].get_segments()) == 7  # type: ignore[attr-defined]
    drawn = np.concatenate([np.asarray(np.ma.filled(one.get_offsets(), np.nan)) for one in right.collections])
    assert drawn[~np.isnan(drawn[:, 0])].tolist() == [[3.0, 1.0]]
    assert "activation of 7 unknown" in texts(figure)


@pytest.mark.parametrize(
    ("changes", "windows", "message"),
    [
        ({}, [(2, 5, 1.0)], "shows one window.*found 0 rows"),
        ({}, [(2, 4, 1.0), (2, 4, 1.0)], "shows one window.*found 2 rows"),
        ({"influence": [1.0, 2.0]}, [(2, 4, 1.0)], "one value per token"),
    ],
)
def test_what_is_no_window_is_an_error(
    changes: dict[str, Any], windows: list[tuple[int, int, float]], message: str
) -> None:
    features = depth_features([(2, 4, 0, 1.0, 1.0)], **changes)
    with pytest.raises(SchemaError, match=message):
        figure_batch(features, depth_windows(windows), layer=2, batch_idx=4)


def test_arrow_and_pandas_rows_give_equal_bytes(tmp_path: Path) -> None:
    features, windows = window(9)
    paths = [tmp_path / "arrow.png", tmp_path / "pandas.png"]
    draw_batch(features, windows, paths[0], layer=2, batch_idx=4, note="a note")
    draw_batch(features.to_pandas(), windows.to_pandas(), paths[1], layer=2, batch_idx=4, note="a note")
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with Image.open(paths[0]) as picture:
        assert picture.width == pytest.approx(14 * 150, rel=0.05)


def test_names_may_be_any_text(tmp_path: Path) -> None:
    name = " ".join(filter(None, HOSTILE))
    features, windows = window(2, preset=name, dataset=name)
    draw_batch(features, windows, tmp_path / "figure.png", layer=2, batch_idx=4, note=name)


def test_curves_of_a_published_window_are_its_normalised_influences(tmp_path: Path) -> None:
    folder = write_locality(tmp_path)
    name = f"{DEPTH}/entropy_comparison_resid_out_layer1.pt"
    file = RepositoryFile(folder / name, name)
    features, windows = (TABLES[table].read(file, ()) for table in ("depth_features", "depth_windows"))
    stored = loaded(folder / name)["batch_results"]
    for entry in stored:
        batch = read_batch(features, windows, layer=1, batch_idx=entry["batch_idx"])
        ranked = sorted(entry["feature_activations"], key=lambda feature: -entry["feature_activations"][feature])
        assert batch.ids.tolist() == ranked
        for feature, curve in zip(batch.ids, batch.shares, strict=True):
            influence = entry["feature_influences"][feature].astype(float)
            np.testing.assert_allclose(curve, influence / influence.sum(), rtol=1e-6, atol=1e-9)
        token = entry["token_vector_influence"].astype(float)
        np.testing.assert_allclose(batch.token_shares, shares(token))
    assert [len(entry["feature_activations"]) for entry in stored].count(0) == 1
