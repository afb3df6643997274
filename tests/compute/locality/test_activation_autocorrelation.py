"""Strips, curves and samples of activations, against plain loops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit_artifacts.compute.locality.autocorrelation import (
    activation_statistics,
    autocorrelation,
    curve_table,
    feature_summary,
    sample_targets,
    select_features,
    strips,
    top_peaks,
)

Floats = npt.NDArray[np.float32]
FEATURES = (12, 5, 70)


def sparse(lengths: Sequence[int], *, n: int = 3, seed: int = 0) -> list[Floats]:
    """Activations of which about four in five are zero."""
    random = np.random.default_rng(seed)
    values = [random.exponential(size=(length, n)) * (random.random((length, n)) < 0.2) for length in lengths]
    return [value.astype(np.float32) for value in values]


def plain_curve(documents: Sequence[Floats], column: int, max_lag: int) -> list[float]:
    """The sums of locality spec 5.7, one product at a time."""
    texts = [document[:, column].astype(np.float64) for document in documents]
    mean = sum(text.sum() for text in texts) / sum(map(len, texts))
    sums = [
        sum((text[t] - mean) * (text[t + lag] - mean) for text in texts for t in range(len(text) - lag))
        for lag in range(max_lag + 1)
    ]
    return [value / sums[0] for value in sums]


# Statistics and selection


def test_statistics_count_tokens_and_documents() -> None:
    documents = sparse([40, 3, 0, 25])
    documents[1][:] = 0
    found = activation_statistics(documents, FEATURES, 0.5)
    for column, row in enumerate(found.itertuples()):
        active = [document[:, column] > 0.5 for document in documents]
        assert row.feature_id == FEATURES[column]
        assert row.n_active == sum(map(np.sum, active))
        assert row.n_documents == sum(map(np.any, active))
        assert row.density == row.n_active / 68
        assert row.max_activation == max(document[:, column].max(initial=0) for document in documents)
    nothing = activation_statistics([], FEATURES)
    assert nothing[["n_active", "density", "max_activation"]].to_numpy().tolist() == [[0, 0, 0]] * 3


def test_selection_keeps_what_lies_between_and_says_by_which_filters() -> None:
    statistics = pd.DataFrame(
        {"feature_id": range(5), "density": [0.0, 0.01, 0.1, 0.2, 0.05], "n_documents": [9, 9, 9, 9, 1]}
    )
    found = select_features(statistics, min_density=0.01, max_density=0.1, min_documents=2)
    assert found["feature_id"].tolist() == [1, 2]
    assert found.index.tolist() == [0, 1]
    assert found[["min_density", "max_density", "min_documents"]].values.tolist() == [[0.01, 0.1, 2]] * 2


# Peaks and strips


def test_peaks_are_the_maxima_of_documents_highest_first() -> None:
    documents = sparse([30, 0, 50, 7, 12])
    found = top_peaks(documents, FEATURES, n_examples=3, threshold=0.2)
    expected = []
    for column, feature in enumerate(FEATURES):
        maxima = [
            (-float(document[:, column].max()), number, int(document[:, column].argmax()))
            for number, document in enumerate(documents)
            if len(document) and document[:, column].max() > 0.2
        ]
        for example, (value, number, place) in enumerate(sorted(maxima)[:3]):
            expected.append([feature, example, number, place, -value])
    assert found.values.tolist() == expected
    assert list(found) == ["feature_id", "example", "document", "peak_position", "activation"]


def test_of_equal_activations_the_first_is_the_peak() -> None:
    documents = [np.float32([[0], [2], [2]]), np.float32([[3], [3]]), np.float32([[2]])]
    found = top_peaks(documents, [4], n_examples=9)
    assert found[["document", "peak_position"]].values.tolist() == [[1, 0], [0, 1], [2, 0]]


def test_a_feature_that_is_never_active_has_no_peak() -> None:
    documents = [np.float32([[0, 1]]), np.float32([[0, 0]])]
    peaks = top_peaks(documents, [4, 9], n_examples=2)
    assert peaks["feature_id"].tolist() == [9]
    assert list(strips(documents, [4, 9], peaks)) == [9]
    assert top_peaks([], [4, 9], n_examples=2).empty


@pytest.mark.parametrize("length", [1, 60, 64, 65, 128, 129, 130, 300])
@pytest.mark.parametrize("place", [0.0, 0.3, 0.5, 1.0])
def test_strips_end_where_the_document_does(length: int, place: float) -> None:
    document = sparse([length], n=2)[0]
    peak = round(place * (length - 1))
    document[peak, 1] = 100.0
    (strip,) = strips([document], [8, 3], top_peaks([document], [8, 3], n_examples=1).query("feature_id == 3"))[3]
    expected = [document[t, 1] / document[peak, 1] if 0 <= t < length else np.nan for t in range(peak - 64, peak + 65)]
    assert strip.dtype == np.float32
    np.testing.assert_array_equal(strip, np.float32(expected))
    assert strip[64] == 1.0


@given(st.integers(0, 10_000), st.lists(st.integers(0, 90), min_size=1, max_size=4))
def test_the_middle_of_a_strip_is_exactly_one_and_nothing_is_above(seed: int, lengths: list[int]) -> None:
    documents = sparse(lengths, seed=seed)
    peaks = top_peaks(documents, FEATURES, n_examples=9)
    found = strips(documents, FEATURES, peaks)
    assert sum(map(len, found.values())) == len(peaks)
    for members in found.values():
        assert members.shape[1] == 129
        assert (members[:, 64] == 1).all()
        assert (np.nan_to_num(members) <= 1).all()


# Autocorrelation


@pytest.mark.parametrize("lengths", [[80], [30, 1, 0, 55, 9], [5, 5], [1, 1, 1]])
@pytest.mark.parametrize("max_lag", [0, 1, 20])
def test_curves_are_the_plain_sums_pooled_over_documents(lengths: list[int], max_lag: int) -> None:
    documents = sparse(lengths, seed=4)
    documents[0][0] = [0.5, 1, 2]  # none is constant
    found = autocorrelation(documents, max_lag=max_lag)
    assert found.shape == (3, max_lag + 1)
    for column in range(3):
        np.testing.assert_allclose(found[column], plain_curve(documents, column, max_lag), atol=1e-12)


@given(st.integers(0, 10_000), st.lists(st.integers(2, 90), min_size=1, max_size=4))
def test_curves_begin_at_one_and_stay_within(seed: int, lengths: list[int]) -> None:
    found = autocorrelation(sparse(lengths, seed=seed))
    changing = found[~np.isnan(found[:, 0])]
    assert (changing[:, 0] == 1).all()
    assert (np.abs(changing) <= 1 + 1e-12).all()


def test_a_period_is_a_peak_of_the_curve() -> None:
    document = np.zeros((700, 1), np.float32)
    document[::17] = 3.0
    (found,) = autocorrelation([document])
    inside = found[1:-1]
    is_peak = (inside > found[:-2]) & (inside > found[2:]) & (inside > 0.5)
    assert (np.flatnonzero(is_peak) + 1).tolist() == [17, 34, 51]


def test_documents_do_not_go_on_in_each_other() -> None:
    """An activation at the end of one and the beginning of the next are no pair."""
    first, second = np.zeros((2, 50, 1), np.float32)
    first[-1], second[0] = 1.0, 1.0
    apart, together = (
        autocorrelation(documents, max_lag=1)[0, 1] for documents in ([first, second], [np.vstack([first, second])])
    )
    assert together > 0.4
    assert apart < 0


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_an_activation_that_never_changes_has_no_curve(value: float) -> None:
    documents = [np.full((length, 1), value, np.float32) for length in (30, 17)]
    assert np.isnan(autocorrelation(documents)).all()
    assert np.isnan(autocorrelation([np.zeros((0, 2), np.float32)])).all()


def test_curves_in_long_form() -> None:
    found = curve_table([5, 2], np.array([[1.0, 0.5], [1.0, np.nan]]))
    assert found.iloc[:3].values.tolist() == [[5, 0, 1.0], [5, 1, 0.5], [2, 0, 1.0]]
    assert found["lag"].tolist() == [0, 1, 0, 1]
    assert np.isnan(found["autocorrelation"][3])


# Samples


def test_samples_are_active_positions_with_enough_before_them() -> None:
    documents = sparse([40, 9, 0, 70])
    everything = sample_targets(documents, FEATURES, n_positions=1000, lookback=10, threshold=0.3)
    expected = [
        [feature, number, position, float(document[position, column])]
        for column, feature in enumerate(FEATURES)
        for number, document in enumerate(documents)
        for position in range(9, len(document))
        if document[position, column] > 0.3
    ]
    assert everything.values.tolist() == expected
    few = sample_targets(documents, FEATURES, n_positions=4, lookback=10, threshold=0.3)
    assert few["feature_id"].tolist() == [feature for feature in FEATURES for _ in range(4)]
    assert not few.duplicated().any()
    assert {tuple(row) for row in few.values.tolist()} <= {tuple(row) for row in expected}
    assert few.values.tolist() == sorted(few.values.tolist(), key=lambda row: (FEATURES.index(row[0]), *row[1:]))


def test_a_sample_depends_on_the_seed_but_on_no_other_feature() -> None:
    documents = sparse([300])
    options = {"n_positions": 5, "lookback": 10}
    together = sample_targets(documents, FEATURES, **options)
    alone = sample_targets([documents[0][:, 1:2]], FEATURES[1:2], **options)
    pd.testing.assert_frame_equal(together.query("feature_id == 5").reset_index(drop=True), alone)
    other = sample_targets(documents, FEATURES, seed=1, **options)
    assert not other.equals(together)
    pd.testing.assert_frame_equal(together, sample_targets(documents, FEATURES, **options))


def test_no_positions_to_sample() -> None:
    for documents in ([], [np.ones((9, 3), np.float32)], [np.zeros((90, 3), np.float32)]):
        found = sample_targets(documents, FEATURES, n_positions=5, lookback=10)
        assert found.shape == (0, 4)


# Summary


def test_summary_has_one_line_per_feature() -> None:
    statistics = pd.DataFrame(
        {"feature_id": [12, 5, 70], "density": [0.5, 0.25, 0.0], "max_activation": [3.0, 2.0, 0.0]}
    )
    curves = np.array([[1, 0.75, 0.5, 0.25], [1, 0.75, 0.7, 0.6], [np.nan] * 4])
    traces = {5: np.ones((2, 129), np.float32), 12: np.ones((1, 129), np.float32)}
    targets = pd.DataFrame({"feature_id": [12, 12, 12, 5, 5], "H_pos_bits": [1.0, 3.0, np.nan, 2.0, np.nan]})
    found = feature_summary(statistics, curves, traces, targets).set_index("feature_id")
    assert found.index.tolist() == [12, 5, 70]
    assert found["n_examples"].tolist() == [1, 2, 0]
    assert found["n_targets"].tolist() == [2, 1, 0]
    np.testing.assert_array_equal(found["H_pos_mean"], [2.0, 2.0, np.nan])
    np.testing.assert_array_equal(found["H_pos_std"], [np.sqrt(2), np.nan, np.nan])
    np.testing.assert_array_equal(found["autocorr_lag1"], [0.75, 0.75, np.nan])
    assert found["half_lag"].isna().tolist() == [False, True, True]
    assert found["half_lag"][12] == 2
