from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from locality_fixture import CARD_EVENTS, EVENTS, write_locality
from locality_rows import CONTEXT, HOSTILE, events, influences, random_events, texts
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.locality.continuum import draw_feature_continuum, figure_feature_continuum
from circuit_artifacts.reports.locality.events import (
    at_context_length,
    event_profiles,
    feature_entropies,
    measured_events,
)
from circuit_artifacts.reports.locality.overview import (
    draw_entropy_overview,
    entropy_histogram,
    figure_entropy_overview,
    tier_entropies,
)
from circuit_artifacts.reports.locality.profiles import draw_profile_contrast, extremes, figure_profile_contrast
from circuit_artifacts.sae_locality.files import RepositoryFile
from circuit_artifacts.sae_locality.tables import TABLES

ENTROPIES = {40: [2.0, 2.5, 2.9], 7: [0.1, 0.3, 0.2, 1.0], 12: [1.0]}
ROWS = events([(CONTEXT, feature, entropy) for feature, values in ENTROPIES.items() for entropy in values])
ORDER = [7, 12, 40]
"""From local to global."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_locality(tmp_path_factory.mktemp("locality") / "published")


def profile(distance: int) -> list[float]:
    """All influence at one distance to the peak, which is the last token of the window."""
    return np.eye(CONTEXT)[CONTEXT - 1 - distance].tolist()


def described(texts: tuple[str | None, ...]) -> pd.DataFrame:
    """One feature per text, with two events."""
    rows = random_events(len(texts), n_events=2)
    return rows.assign(description=[texts[feature] for feature in rows["feature_id"]])


# Numbers


def test_only_events_with_an_entropy_count() -> None:
    rows = events([(CONTEXT, 1, 1.0), (CONTEXT, 1, None), (CONTEXT, 2, None)])
    assert measured_events(rows)["feature_id"].tolist() == [1]
    failed = events([(CONTEXT, 1, 1.0)], status="compute_error: x")
    with pytest.raises(SchemaError, match="no event has an entropy"):
        measured_events(failed)


def test_a_table_without_statuses_counts_by_its_entropies() -> None:
    rows = events([(CONTEXT, 1, 1.0), (CONTEXT, 2, None)], status=None)
    assert measured_events(rows)["feature_id"].tolist() == [1]


def test_features_are_sorted_by_mean_with_the_quartiles_of_their_events() -> None:
    found = feature_entropies(measured_events(ROWS))
    assert found["feature_id"].tolist() == ORDER
    assert found["n"].tolist() == [4, 1, 3]
    for _, row in found.iterrows():
        values = ENTROPIES[row["feature_id"]]
        assert row["mean"] == pytest.approx(np.mean(values))
        expected = np.percentile(values, [25, 50, 75])
        np.testing.assert_allclose([row["lower"], row["median"], row["upper"]], expected)


def test_features_of_equal_mean_are_in_the_order_of_their_ids() -> None:
    found = feature_entropies(measured_events(events([(8, 9, 1.0), (8, 3, 1.0), (8, 5, 1.0)])))
    assert found["feature_id"].tolist() == [3, 5, 9]


def test_a_feature_without_a_description_is_not_lost() -> None:
    rows = ROWS.to_pandas().assign(description=[None, "x", "", *[None] * 5])
    found = feature_entropies(measured_events(rows)).set_index("feature_id")
    assert found.index.tolist() == ORDER
    assert found["description"].tolist() == [None, None, "x"]


def test_profiles_run_from_the_peak_backwards() -> None:
    rows = influences([(CONTEXT, 7, [1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0, 10.0]), (CONTEXT, 8, profile(1))])
    np.testing.assert_allclose(
        event_profiles(rows, ctx=CONTEXT, feature_id=7), [[0.5, 0, 0, 0, 0.2, 0.15, 0.1, 0.05]], atol=1e-11
    )
    assert event_profiles(rows, ctx=CONTEXT, feature_id=9).shape == (0, CONTEXT)


def test_the_entropy_of_a_published_profile_is_the_one_in_the_table(folder: Path) -> None:
    measured = at_context_length(measured_events(published(folder, f"{EVENTS}/ctx128.csv", "events")), 128)
    rows = published(folder, f"{EVENTS}/influences_ctx128.npz", "influences")
    for feature, entropies in measured.groupby("feature_id")["H_pos_bits"]:
        shares = event_profiles(rows, ctx=128, feature_id=int(feature))  # type: ignore[call-overload]
        found = -(shares * np.log2(shares)).sum(axis=1)
        np.testing.assert_allclose(sorted(found), sorted(entropies), atol=1e-4)


def test_extremes_share_no_feature() -> None:
    for n, expected in ((2, 1), (3, 1), (4, 2), (9, 3)):
        features = feature_entropies(measured_events(random_events(n)))
        local, spread = extremes(features)
        assert len(local) == len(spread) == expected
        assert local["feature_id"].tolist() == features["feature_id"].tolist()[:expected]
        assert spread["feature_id"].tolist() == features["feature_id"].tolist()[::-1][:expected]


def test_a_histogram_counts_every_event_even_just_above_the_maximum() -> None:
    counts, edges = entropy_histogram(np.array([0.0, 3.0, 3.0 + 1e-6, 1.49, 1.51]), 8)
    assert counts.sum() == 5
    assert (counts[0], counts[-1], counts[11], counts[12]) == (1, 2, 1, 1)
    np.testing.assert_allclose(edges, np.linspace(0, 3, 25))
    assert entropy_histogram(np.zeros(3), 1)[0].tolist() == [3] + [0] * 23


def test_published_tiers_come_first_and_features_without_a_tier_are_in_none() -> None:
    tiers = ["concept"] * 3 + ["token"] * 4 + ["zeta"]
    found = tier_entropies(feature_entropies(measured_events(ROWS.to_pandas().assign(tier=tiers))))
    assert {tier: values.tolist() for tier, values in found.items()} == {
        "token": [pytest.approx(0.4)],
        "concept": [pytest.approx(7.4 / 3)],
        "zeta": [1.0],
    }
    assert list(found) == ["token", "concept", "zeta"]
    assert tier_entropies(feature_entropies(measured_events(ROWS))) == {}


# Continuum


def test_the_continuum_has_a_dot_per_event_and_mean_and_quartiles_per_feature() -> None:
    figure = figure_feature_continuum(ROWS, ctx=CONTEXT)
    (axes,) = figure.axes
    dots, means = axes.lines[0], axes.lines[1]
    drawn = sorted(zip(np.asarray(dots.get_ydata()), np.asarray(dots.get_xdata()), strict=True))
    assert drawn == sorted((ORDER.index(feature), value) for feature, values in ENTROPIES.items() for value in values)
    np.testing.assert_allclose(means.get_xdata(), [np.mean(ENTROPIES[feature]) for feature in ORDER])
    (bars,) = [one for one in axes.collections if isinstance(one, LineCollection)]
    for segment, feature in zip(bars.get_segments(), ORDER, strict=True):
        np.testing.assert_allclose(segment[:, 0], np.percentile(ENTROPIES[feature], [25, 75]))
    assert [float(line.get_xdata()[0]) for line in axes.lines if line.get_linestyle() == ":"] == [3.0]  # type: ignore[index]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["7", "12", "40"]
    assert axes.yaxis_inverted()
    assert "n = 3 features, 1 to 4 events each" in texts(figure)


def test_of_many_features_every_nth_is_named() -> None:
    figure = figure_feature_continuum(random_events(298), ctx=CONTEXT)
    assert figure.axes[0].get_yticks().tolist() == list(range(0, 298, 5))
    assert "one in 5 is named" in texts(figure)
    assert figure.get_size_inches()[1] < 14.5
    assert len(figure.axes[0].lines[0].get_xdata()) == 298 * 4  # type: ignore[arg-type]


def test_labels_are_descriptions_beside_ids_and_stay_in_the_picture() -> None:
    figure = figure_feature_continuum(described(HOSTILE[:-1]), ctx=CONTEXT)
    figure.draw_without_rendering()
    for label in figure.axes[0].get_yticklabels():
        assert label.get_window_extent().x0 >= 0
        assert label.get_text().split()[-1].isdecimal()
    assert any(label.get_text().startswith("$x^2$") for label in figure.axes[0].get_yticklabels())
    assert figure.axes[0].get_window_extent().width > figure.bbox.width / 2


# Contrast


def contrast() -> tuple[pa.Table, pa.Table]:
    rows = [(CONTEXT, 7, profile(0)), (CONTEXT, 7, profile(1)), (CONTEXT, 40, [1.0] * CONTEXT)]
    return ROWS, influences(rows)


def test_the_contrast_shows_the_ends_that_have_influences() -> None:
    figure = figure_profile_contrast(*contrast(), ctx=CONTEXT)
    left, right = figure.axes
    np.testing.assert_allclose(left.lines[0].get_ydata(), [0.5, 0.5, 0, 0, 0, 0, 0, 0], atol=1e-11)
    np.testing.assert_array_equal(left.lines[0].get_xdata(), range(CONTEXT))
    np.testing.assert_allclose(right.lines[0].get_ydata(), [1 / CONTEXT] * CONTEXT)
    (faint,) = [one for one in left.collections if isinstance(one, LineCollection)]
    np.testing.assert_allclose(np.array(faint.get_segments())[:, :2, 1], [[1, 0], [0, 1]], atol=1e-11)
    assert left.get_title(loc="left") == "feature 7: 0.40 bits, 2 events"
    assert left.get_ylim() == right.get_ylim()
    assert "1 most local (left) and most global (right) of n = 2 features" in texts(figure)


def test_a_contrast_of_less_than_two_features_is_an_error() -> None:
    rows, vectors = contrast()
    with pytest.raises(SchemaError, match=r"local and a global feature.*found 1"):
        figure_profile_contrast(rows, vectors.slice(0, 2), ctx=CONTEXT)
    with pytest.raises(SchemaError, match="one value per token"):
        wrong = influences([(CONTEXT, 7, [1.0]), (CONTEXT, 40, [1.0])])
        figure_profile_contrast(rows, wrong, ctx=CONTEXT)
    with pytest.raises(SchemaError, match="more than one run"):
        figure_profile_contrast(rows, influences([(CONTEXT, 7, profile(0))], run="other"), ctx=CONTEXT)


# Overview


def bars(figure: Figure, panel: int) -> list[float]:
    return [patch.get_height() for patch in figure.axes[panel].patches]  # type: ignore[attr-defined]


def test_the_overview_counts_events_and_features() -> None:
    figure = figure_entropy_overview(ROWS, ctx=CONTEXT)
    assert len(figure.axes) == 2
    values = [value for values in ENTROPIES.values() for value in values]
    means = [float(np.mean(values)) for values in ENTROPIES.values()]
    for panel, numbers in enumerate((values, means)):
        assert bars(figure, panel) == entropy_histogram(np.array(numbers), CONTEXT)[0].tolist()
        assert figure.axes[panel].lines[0].get_xdata() == [pytest.approx(np.median(numbers))] * 2
    assert "n = 8 events of 3 features" in texts(figure)


def test_the_overview_has_tiers_only_where_there_are_some() -> None:
    rows = ROWS.to_pandas().assign(tier=["token"] * 3 + ["abstract"] * 4 + [None])
    figure = figure_entropy_overview(rows, ctx=CONTEXT)
    panel = figure.axes[2]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["token (1)", "abstract (1)"]
    assert "retired" in panel.get_title(loc="left")
    dots = [np.asarray(one.get_offsets()).tolist() for one in panel.collections]
    expected = [[pytest.approx(7.4 / 3), 0]], [[pytest.approx(0.4), 1]]
    assert dots == [expected[0], expected[0], expected[1], expected[1]]  # dots, then the median


# All


def draw_all(rows: Any, vectors: Any, folder: Path, ctx: int = CONTEXT, note: str | None = None) -> list[bytes]:
    draw_feature_continuum(rows, folder / "continuum.png", ctx=ctx, note=note)
    draw_profile_contrast(rows, vectors, folder / "contrast.png", ctx=ctx, note=note)
    draw_entropy_overview(rows, folder / "overview.png", ctx=ctx, note=note)
    return [path.read_bytes() for path in sorted(folder.glob("*.png"))]


def test_arrow_and_pandas_rows_give_equal_bytes(tmp_path: Path) -> None:
    rows, vectors = contrast()
    first = draw_all(rows, vectors, tmp_path, note="a note")
    assert first == draw_all(rows.to_pandas(), vectors.to_pandas(), tmp_path, note="a note")


def test_descriptions_and_tiers_may_be_any_text(tmp_path: Path) -> None:
    rows = described(HOSTILE)
    rows["tier"] = rows["description"]
    vectors = influences([(CONTEXT, feature, profile(1)) for feature in range(len(HOSTILE))]).to_pandas()
    draw_all(rows, vectors, tmp_path)
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as picture:
            assert picture.height < 3000


@pytest.mark.parametrize(("run", "ctx", "suffix"), [(EVENTS, 128, "128"), (CARD_EVENTS, 64, "64")])
def test_published_files_of_both_generations_are_drawn(
    folder: Path, tmp_path: Path, run: str, ctx: int, suffix: str
) -> None:
    rows = published(folder, f"{run}/ctx{suffix}.csv", "events")
    vectors = published(folder, f"{run}/influences_ctx{suffix}.npz", "influences", beside=f"ctx{suffix}.csv")
    assert len(draw_all(rows, vectors, tmp_path, ctx)) == 3


@pytest.mark.parametrize("figure", [figure_feature_continuum, figure_entropy_overview])
def test_what_cannot_be_drawn_is_an_error(figure: Any) -> None:
    with pytest.raises(SchemaError, match=r"of this context length.*found 64, expected 8"):
        figure(ROWS, ctx=64)
    with pytest.raises(SchemaError, match="no event has an entropy"):
        figure(events([]), ctx=CONTEXT)
    with pytest.raises(SchemaError, match="no event has an entropy"):
        figure(events([(CONTEXT, 1, None)]), ctx=CONTEXT)
    with pytest.raises(SchemaError, match="more than one run"):
        figure(pa.concat_tables([ROWS, events([(CONTEXT, 1, 1.0)], run="other")]), ctx=CONTEXT)
    with pytest.raises(SchemaError, match="status: the table lacks"):
        figure(ROWS.drop_columns(["status"]), ctx=CONTEXT)


@pytest.mark.parametrize("figure", [figure_feature_continuum, figure_entropy_overview])
@pytest.mark.parametrize("ctx", [1, CONTEXT])
def test_a_single_event_is_drawn(figure: Any, ctx: int) -> None:
    figure(events([(ctx, 1, 0.0)]), ctx=ctx).draw_without_rendering()


def published(folder: Path, name: str, table: str, *, beside: str | None = None) -> pa.Table:
    other = f"{name.rpartition('/')[0]}/{beside}"
    others = [RepositoryFile(folder / other, other)] if beside else []
    return TABLES[table].read(RepositoryFile(folder / name, name), others)
