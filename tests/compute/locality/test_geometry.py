"""Geometry against plain loops and SciPy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest
import scipy.spatial.distance
import scipy.stats

from circuit_artifacts.compute.locality.geometry import (
    cosines,
    feature_means,
    nearest_features,
    neighbours,
    neuronpedia_check,
    pairs,
)
from circuit_artifacts.compute.locality.geometry_statistics import correlations, neighbour_correlation
from circuit_artifacts.errors import SchemaError, UnknownNameError


def events(**columns: Any) -> pd.DataFrame:
    given: dict[str, Any] = {"ctx": 128, "tier": "token", "description": "d", "status": "ok"}
    return pd.DataFrame(given | columns)


def features(entropies: npt.ArrayLike) -> pd.DataFrame:
    values = np.asarray(entropies, np.float64)
    ids = 10 * np.arange(len(values)) + 3
    return pd.DataFrame({"feature_id": ids, "tier": [f"t{i}" for i in ids], "H_pos_mean": values})


def decoder(n: int, width: int = 5, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)


# Features


def test_means_of_good_events() -> None:
    random = np.random.default_rng(0)
    ids = random.integers(0, 9, 60)
    entropies = random.uniform(0, 7, 60)
    status = random.choice(["ok", "feature_below_threshold_at_peak"], 60)
    found = feature_means(events(feature_id=ids, H_pos_bits=entropies, status=status))
    good = {f: entropies[(ids == f) & (status == "ok")] for f in sorted(set(ids[status == "ok"].tolist()))}
    assert list(found) == ["feature_id", "tier", "description", "n_events", "H_pos_mean", "H_pos_std", "row_idx"]
    assert found["feature_id"].tolist() == list(good)
    assert found["row_idx"].tolist() == list(range(len(good)))
    assert found["n_events"].tolist() == [len(values) for values in good.values()]
    np.testing.assert_allclose(found["H_pos_mean"], [np.mean(values) for values in good.values()])
    expected = [np.std(values, ddof=1) if len(values) > 1 else np.nan for values in good.values()]
    np.testing.assert_allclose(found["H_pos_std"], expected)


@pytest.mark.parametrize("missing", ["", None, float("nan")])
def test_a_feature_without_description_is_not_lost(missing: object) -> None:
    """Grouping by the description too would drop it without a word."""
    rows = events(feature_id=[7, 7, 2], description=[missing, missing, "null"], H_pos_bits=[1.0, 2.0, 3.0])
    found = feature_means(rows)
    assert found[["feature_id", "description", "n_events"]].values.tolist() == [[2, "null", 1], [7, "", 2]]
    assert np.isnan(found["H_pos_std"][0])


def test_events_as_arrow_and_without_status() -> None:
    rows = events(feature_id=[4, 1, 4], H_pos_bits=[1.0, None, 3.0], tier=None, status=None)
    table = pa.Table.from_pandas(rows.assign(feature_id=rows["feature_id"].astype("int32")), preserve_index=False)
    for found in (feature_means(rows), feature_means(table)):
        assert found[["feature_id", "tier", "n_events", "H_pos_mean"]].values.tolist() == [[4, "", 2, 2.0]]


def test_events_of_two_lengths_are_not_averaged() -> None:
    with pytest.raises(SchemaError, match=r"ctx: .*found \[64, 128\], expected one length"):
        feature_means(events(feature_id=[1, 1], H_pos_bits=[1.0, 2.0], ctx=[128, 64]))


def test_no_good_events_are_no_features() -> None:
    found = feature_means(events(feature_id=[1], H_pos_bits=[np.nan], status=["compute_error: x"]))
    assert len(found) == 0
    assert list(found) == ["feature_id", "tier", "description", "n_events", "H_pos_mean", "H_pos_std", "row_idx"]


# Cosines, pairs, neighbours


def test_cosines_of_every_two_rows() -> None:
    rows = decoder(7)
    found = cosines(rows)
    assert found.dtype == np.float32
    expected = [[1 - scipy.spatial.distance.cosine(a, b) for b in rows] for a in rows]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(found, found.T)


def test_identical_opposite_and_empty_rows() -> None:
    row = decoder(1)[0]
    found = cosines(np.stack([row, row, -3 * row, 0 * row]))
    expected = [[1, 1, -1, 0], [1, 1, -1, 0], [-1, -1, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_pairs_are_in_row_order() -> None:
    table, matrix = features([2.5, 1.0, 4.0, 3.25]), cosines(decoder(4))
    found = pairs(table, matrix)
    expected = []
    for (i, a), (j, b) in itertools.combinations(enumerate(table.itertuples()), 2):
        cosine, difference = float(matrix[i, j]), abs(a.H_pos_mean - b.H_pos_mean)
        entropies = [a.H_pos_mean, b.H_pos_mean, difference]
        expected.append([a.feature_id, b.feature_id, cosine, *entropies, a.tier, b.tier, abs(cosine)])
    assert list(found) == ["fid_a", "fid_b", "cosine", "H_a", "H_b", "dH", "tier_a", "tier_b", "abs_cosine"]
    assert found.values.tolist() == expected


def test_published_number_of_pairs() -> None:
    """Locality spec 4.15: 298 features give 44,253 rows."""
    assert len(pairs(features(np.zeros(298)), np.eye(298, dtype=np.float32))) == 44_253


def test_neighbours_are_the_nearest_of_either_sign_but_oneself() -> None:
    table, rows = features(np.random.default_rng(1).uniform(0, 7, 9)), decoder(9)
    rows[4] = -rows[2]
    matrix = cosines(rows)
    found = neighbours(table, matrix, k=3)
    for row in range(9):
        others = sorted((-abs(matrix[row, other]), other) for other in range(9) if other != row)[:3]
        nearest = [other for _, other in others]
        assert found["nbr10_H_mean"][row] == pytest.approx(table["H_pos_mean"][nearest].mean())
        assert found["nbr10_abs_cos_mean"][row] == pytest.approx(-np.mean([value for value, _ in others]))
    assert found["feature_id"].tolist() == table["feature_id"].tolist()
    assert neighbours(table, matrix, k=1)["nbr10_H_mean"][2] == table["H_pos_mean"][4]


def test_a_small_set_has_fewer_neighbours_and_one_feature_none() -> None:
    found = neighbours(features([1.0, 2.0, 4.0]), cosines(decoder(3)))
    assert found["nbr10_H_mean"].tolist() == [3.0, 2.5, 1.5]
    alone = neighbours(features([1.0]), cosines(decoder(1)))
    assert alone[["nbr10_H_mean", "nbr10_abs_cos_mean"]].isna().all(axis=None)


def test_equally_near_features_come_in_row_order() -> None:
    rows = np.tile(decoder(1), (5, 1))
    matrix = np.ones_like(cosines(rows))
    assert neighbours(features([1.0, 2.0, 3.0, 4.0, 5.0]), matrix, k=2)["nbr10_H_mean"].tolist() == [
        2.5,
        2,
        1.5,
        1.5,
        1.5,
    ]


@pytest.mark.parametrize("n_anchors", [0, 3, 80])
def test_nearest_of_a_whole_dictionary(n_anchors: int) -> None:
    rows = decoder(100, width=8)
    rows[17] = 0.5 * rows[3]
    anchors = [3, 0, 99, *range(10, 87)][:n_anchors]
    found = nearest_features(rows, anchors, k=4)
    matrix = cosines(rows)
    assert found.features.shape == found.cosines.shape == (n_anchors, 4)
    for place, anchor in enumerate(anchors):
        order = [i for i in np.argsort(-np.abs(matrix[anchor]), kind="stable").tolist() if i != anchor][:4]
        assert found.features[place].tolist() == order
        np.testing.assert_allclose(found.cosines[place], matrix[anchor, order], atol=1e-6)
    if anchors:
        assert found.features[0, 0] == 17


def test_a_small_dictionary_and_features_that_it_lacks() -> None:
    assert nearest_features(decoder(3), [1], k=10).features.shape == (1, 2)
    for anchor in (3, -1):
        with pytest.raises(UnknownNameError, match=rf"anchors: .*found {anchor} to {anchor}, expected 0 to 2"):
            nearest_features(decoder(3), [anchor])


# Correlations


def plain(entropies: npt.NDArray[np.float64], matrix: npt.NDArray[np.float32]) -> dict[str, dict[str, float]]:
    """One call of SciPy per predictor and permutation."""
    first, second = np.triu_indices(len(entropies), 1)
    signed = matrix[first, second].astype(np.float64)
    found = {}
    for name, values in {"signed": signed, "abs": np.abs(signed)}.items():
        difference = np.abs(entropies[first] - entropies[second])
        spearman, pearson = scipy.stats.spearmanr(values, difference), scipy.stats.pearsonr(values, difference)
        generator = np.random.default_rng(0)
        null = []
        for _ in range(200):
            permuted = generator.permutation(entropies)
            null.append(scipy.stats.spearmanr(values, np.abs(permuted[first] - permuted[second])).statistic)
        found[name] = {
            "spearman_r": spearman.statistic,
            "spearman_p": spearman.pvalue,
            "pearson_r": pearson.statistic,
            "pearson_p": pearson.pvalue,
            "permutation_null_mean": np.mean(null),
            "permutation_null_std": np.std(null),
            "permutation_z": (spearman.statistic - np.mean(null)) / np.std(null),
            "permutation_p_two_sided": np.mean(np.abs(null) >= abs(spearman.statistic) - 1e-12),
        }
    return found


@pytest.mark.parametrize("n", [3, 4, 5, 30])
@pytest.mark.parametrize("ties", [False, True])
def test_correlations_and_their_null_are_scipys(n: int, ties: bool) -> None:
    """Of three to five features, many permutations give the very coefficient that is observed."""
    random = np.random.default_rng(n)
    entropies = random.uniform(0, 7, n)
    rows = decoder(n)
    if ties:
        entropies = np.arange(n) // 2 * 1.0
        rows = np.array([*np.eye(5), *random.integers(-1, 2, (n, 5))], np.float32)[:n]
        rows[-1] = [2, 2, 0, 0, 0]
    matrix = cosines(rows)
    found = correlations(entropies, matrix)
    for name, expected in plain(entropies, matrix).items():
        for statistic, value in expected.items():
            assert getattr(found[name], statistic) == pytest.approx(value, rel=1e-9, abs=1e-12), (name, statistic)
        assert len(found[name].null) == 200


def test_features_that_point_alike_and_have_alike_entropies() -> None:
    cluster = np.repeat(np.arange(4), 6)
    rows = np.eye(4, 16, dtype=np.float32)[cluster] + decoder(24, width=16) * np.float32(0.1)
    rows[::2] *= -1  # either sign is alike, so that only magnitudes tell
    found = correlations(1.5 * cluster, cosines(rows))
    assert found["abs"].spearman_r < -0.5
    assert found["abs"].permutation_p_two_sided == 0
    assert found["abs"].permutation_z < -5
    assert abs(found["signed"].spearman_r) < 0.2


@pytest.mark.parametrize(
    ("entropies", "rows"),
    [
        (np.full(6, 2.5), decoder(6)),
        (np.arange(2.0), decoder(2)),
        (np.arange(1.0), decoder(1)),
        (np.empty(0), decoder(0)),
        (np.arange(6.0), np.tile(np.float32([1, 0, 0]), (6, 1))),
    ],
    ids=["equal entropies", "two features", "one feature", "no feature", "equal vectors"],
)
def test_what_is_not_defined_is_nan(entropies: npt.NDArray[np.float64], rows: npt.NDArray[np.float32]) -> None:
    for found in correlations(entropies, cosines(rows)).values():
        numbers = {name: value for name, value in vars(found).items() if name != "null"}
        assert np.isnan(list(numbers.values())).all()


def test_more_permutations_go_on_from_the_same_seed() -> None:
    entropies, matrix = np.random.default_rng(3).uniform(0, 7, 12), cosines(decoder(12))
    few, many, other = (
        correlations(entropies, matrix, n_permutations=n, seed=seed)["abs"].null for n, seed in ((5, 0), (9, 0), (9, 1))
    )
    np.testing.assert_array_equal(few, many[:5])
    assert not np.array_equal(many, other)


def test_correlation_with_neighbours() -> None:
    table = neighbours(features(np.random.default_rng(2).uniform(0, 7, 15)), cosines(decoder(15)))
    found = neighbour_correlation(table, 10)
    expected = scipy.stats.spearmanr(table["H_pos"], table["nbr10_H_mean"])
    assert (found.k, found.spearman_r, found.spearman_p) == (10, expected.statistic, expected.pvalue)
    alone = neighbour_correlation(table.head(1), 10)
    assert (alone.k, np.isnan(alone.spearman_r), np.isnan(alone.spearman_p)) == (0, True, True)


# Neuronpedia


def test_neuronpedia_is_compared_inside_the_set_only() -> None:
    ids, matrix = [3, 13, 23], cosines(decoder(3))
    answers = {
        3: {"topkCosSimIndices": [3, 99, 23, "13"], "topkCosSimValues": [1.0, 0.9, 0.25, "0.125"]},
        13: {"topkCosSimIndices": None},
        99: {"topkCosSimIndices": [3], "topkCosSimValues": [0.9]},
    }
    found = neuronpedia_check(answers, ids, matrix)
    assert list(found) == ["fid", "neighbour_fid", "cosine_local", "cosine_neuronpedia", "abs_diff"]
    expected = [
        [3, 23, float(matrix[0, 2]), 0.25, abs(float(matrix[0, 2]) - 0.25)],
        [3, 13, float(matrix[0, 1]), 0.125, abs(float(matrix[0, 1]) - 0.125)],
    ]
    assert found.values.tolist() == expected


def test_without_answers_there_is_nothing_to_compare() -> None:
    found = neuronpedia_check({}, [3, 13], cosines(decoder(2)))
    assert found.shape == (0, 5)


@pytest.mark.parametrize(
    "answer",
    [
        {"topkCosSimIndices": [1, 2], "topkCosSimValues": [0.5]},
        {"topkCosSimIndices": [1]},
        {"topkCosSimIndices": ["x"], "topkCosSimValues": [0.5]},
        {"topkCosSimIndices": [1], "topkCosSimValues": [None]},
        {"topkCosSimIndices": 1, "topkCosSimValues": 0.5},
    ],
)
def test_a_malformed_answer_is_named(answer: dict[str, object]) -> None:
    with pytest.raises(
        SchemaError, match="of feature 3: an answer of Neuronpedia does not hold one cosine per neighbour"
    ):
        neuronpedia_check({3: answer}, [3, 13], cosines(decoder(2)))
