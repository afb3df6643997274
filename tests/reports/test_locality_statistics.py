from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from locality_fixture import DEPTH, loaded, write_locality
from locality_rows import depth_features, depth_windows, random_depth

from circuit_artifacts.errors import SchemaError, UnknownNameError
from circuit_artifacts.reports.locality.statistics import (
    RULES,
    Rule,
    depth_summary,
    per_feature_means,
    quartiles,
    shares,
    token_means,
    top_features,
)
from circuit_artifacts.reports.locality.tables import columns, matrix, only
from circuit_artifacts.sae_locality.files import RepositoryFile
from circuit_artifacts.sae_locality.tables import TABLES

# Feature 1: few windows, weak, high entropy. 2: many windows. 3: one strong window, low entropy. 4: as 2, but lower.
FEATURES = depth_features(
    [(0, 0, 1, 2.9, 0.1)]
    + [(0, batch, 2, 1.5, 1.0) for batch in range(4)]
    + [(0, 0, 3, 0.5, 50.0)]
    + [(0, batch, 4, 1.0 + 0.1 * batch, 2.0) for batch in range(4)]
    + [(5, 1, 2, 2.0, None)]
)


def test_means_are_over_the_windows_in_which_a_feature_is_active() -> None:
    means = per_feature_means(FEATURES).set_index(["layer", "feature_id"])
    assert means.index.tolist() == [(0, 1), (0, 2), (0, 3), (0, 4), (5, 2)]
    np.testing.assert_allclose(means["entropy_bits"], [2.9, 1.5, 0.5, 1.15, 2.0], rtol=1e-6)
    assert means["n_windows"].tolist() == [1, 4, 1, 4, 1]
    np.testing.assert_allclose(means["activation_sum"], [0.1, 4, 50, 8, np.nan], rtol=1e-6)


def test_arrow_and_pandas_rows_give_the_same_means() -> None:
    pd.testing.assert_frame_equal(per_feature_means(FEATURES), per_feature_means(FEATURES.to_pandas()))


def test_a_missing_entropy_does_not_count_in_a_mean_but_its_window_does() -> None:
    means = per_feature_means(depth_features([(0, 0, 7, np.nan, 1.0), (0, 1, 7, 2.0, 1.0), (0, 0, 8, np.nan, 1.0)]))
    assert means["entropy_bits"].fillna(-1).tolist() == [2.0, -1.0]
    assert means["n_windows"].tolist() == [2, 1]


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 4), st.floats(0, 6, width=32), st.floats(0, 9)),
        max_size=30,
    )
)
def test_means_agree_with_a_loop_over_the_rows(rows: list[tuple[int, int, int, float, float]]) -> None:
    entropies, activations = defaultdict[tuple[int, int], list[float]](list), defaultdict[tuple[int, int], float](float)
    for layer, _, feature, entropy, activation in rows:
        entropies[layer, feature].append(entropy)
        activations[layer, feature] += np.float32(activation)
    means = per_feature_means(depth_features(rows))
    assert list(zip(means["layer"], means["feature_id"], strict=True)) == sorted(entropies)
    for _, row in means.iterrows():
        key = int(row["layer"]), int(row["feature_id"])
        assert row["entropy_bits"] == pytest.approx(np.mean(entropies[key]), abs=1e-6)
        assert row["n_windows"] == len(entropies[key])
        assert row["activation_sum"] == pytest.approx(activations[key], rel=1e-6)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("most_windows", [2, 4, 1]),  # 2 before 4 and 1 before 3: as many windows, higher entropy
        ("largest_activation_sum", [3, 4, 2]),
        ("highest_entropy", [1, 2, 4]),
    ],
)
def test_the_three_rules_choose_different_features(rule: Rule, expected: list[int]) -> None:
    top = top_features(per_feature_means(FEATURES), rule, 3)
    assert top.loc[top["layer"] == 0, "feature_id"].tolist() == expected


@pytest.mark.parametrize("rule", list(RULES))
def test_equal_features_are_taken_by_id_and_twenty_of_each_layer(rule: Rule) -> None:
    rows = depth_features([(layer, 0, feature, 1.0, 1.0) for layer in (0, 3) for feature in reversed(range(25))])
    top = top_features(per_feature_means(rows), rule)
    assert top["layer"].tolist() == [0] * 20 + [3] * 20
    assert top["feature_id"].tolist() == [*range(20), *range(20)]


@pytest.mark.parametrize(("rule", "expected"), [("most_windows", [1, 2]), ("largest_activation_sum", [1])])
def test_a_feature_without_what_the_rule_compares_is_not_chosen(rule: Rule, expected: list[int]) -> None:
    rows = depth_features([(0, 0, 1, 1.0, 1.0), (0, 0, 2, 0.5, None), (0, 0, 3, np.nan, 9.0)])
    assert top_features(per_feature_means(rows), rule)["feature_id"].tolist() == expected


def test_an_unknown_rule_is_an_error_that_lists_the_rules() -> None:
    with pytest.raises(UnknownNameError, match="largest_activation_sum"):
        top_features(per_feature_means(FEATURES), "top", 3)  # type: ignore[arg-type]


def test_token_means_leave_out_windows_without_an_entropy() -> None:
    means = token_means(depth_windows([(0, 0, 1.0), (0, 1, 2.0), (0, 2, None), (4, 0, None)]))
    assert means.index.tolist() == [0, 4]
    assert means.loc[0] == 1.5
    assert np.isnan(means.loc[4])


def test_quartiles_are_numpys_percentiles() -> None:
    values = np.random.default_rng(0).random(37)
    rows = pd.DataFrame({"kind": np.arange(37) % 3, "value": values})
    rows.loc[36, "value"] = np.nan
    found = quartiles(rows, ("kind",), "value")
    for kind in range(3):
        mine = values[:36][np.arange(36) % 3 == kind]
        row = found.loc[kind]
        np.testing.assert_allclose(row[["lower", "median", "upper"]].astype(float), np.percentile(mine, [25, 50, 75]))
        assert (row["n"], row["mean"]) == (12, pytest.approx(mine.mean()))


def test_a_summary_has_every_layer_that_was_measured() -> None:
    summary = depth_summary(FEATURES, depth_windows([(0, 0, 1.0), (0, 1, 3.0), (2, 0, 0.5)]), rule="most_windows")
    assert [layer.layer for layer in summary.layers] == [0, 2, 5]
    assert summary.n_features == [4, 0, 1]
    np.testing.assert_allclose([layer.token for layer in summary.layers], [2, 0.5, np.nan])
    np.testing.assert_allclose([layer.median for layer in summary.layers], [(1.5 + 1.15) / 2, np.nan, 2], rtol=1e-6)
    np.testing.assert_allclose(
        [layer.top for layer in summary.layers], [(2.9 + 1.5 + 0.5 + 1.15) / 4, np.nan, 2], rtol=1e-6
    )
    assert (summary.n_windows, summary.context_len, summary.sae_arch) == (2, 8, "relu")


def test_top_features_of_a_summary_follow_the_rule_and_the_number() -> None:
    windows = depth_windows([(0, 0, 1.0), (5, 0, 1.0)])
    summary = depth_summary(FEATURES, windows, rule="largest_activation_sum", n_top=2)
    assert summary.layers[0].top == pytest.approx((0.5 + 1.15) / 2)
    assert np.isnan(summary.layers[1].top)  # its activation is unknown


def test_a_published_run_gives_the_means_of_its_own_summary(tmp_path: Path) -> None:
    folder = write_locality(tmp_path)
    for layer in (0, 1):
        name = f"{DEPTH}/entropy_comparison_resid_out_layer{layer}.pt"
        file = RepositoryFile(folder / name, name)
        features, windows = (TABLES[table].read(file, ()) for table in ("depth_features", "depth_windows"))
        summary = depth_summary(features, windows, rule="most_windows")
        content = loaded(folder / name)
        expected = content["summary"]["mean_token_vector_entropy"]
        assert summary.layers[0].token == pytest.approx(expected, abs=1e-5)
        by_feature = defaultdict[int, list[float]](list)
        for window in content["batch_results"]:
            for feature, entropy in window["feature_entropies"].items():
                by_feature[feature].append(float(entropy))
        medians = np.median([np.mean(entropies) for entropies in by_feature.values()])
        assert summary.layers[0].median == pytest.approx(medians, abs=1e-5)
        assert (summary.context_len, summary.n_windows) == (64, 4)


@pytest.mark.parametrize(
    ("features", "windows", "message"),
    [
        (random_depth([0])[0], depth_windows([]), "no window"),
        (random_depth([0], run="other")[0], random_depth([0])[1], "more than one run"),
        (
            random_depth([0])[0],
            pa.concat_tables([depth_windows([(0, 0, 1.0)]), depth_windows([(0, 1, 1.0)], context_len=16)]),
            "more than one context_len",
        ),
        (random_depth([0])[0].drop_columns(["activation"]), random_depth([0])[1], "activation: the table lacks"),
        (random_depth([0])[0].to_pandas().drop(columns="layer"), random_depth([0])[1], "layer: the table lacks"),
    ],
)
def test_rows_that_make_no_summary_are_an_error(features: pa.Table, windows: pa.Table, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        depth_summary(features, windows, rule="most_windows")


def test_an_unknown_context_length_stays_unknown() -> None:
    summary = depth_summary(FEATURES, depth_windows([(0, 0, 1.0)], context_len=None), rule="most_windows")
    assert summary.context_len is None


def test_shares_have_the_entropy_that_the_authors_compute() -> None:
    influence = np.random.default_rng(0).random((5, 64)) ** 8
    found = shares(influence)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    expected = scipy.stats.entropy((influence + 1e-12) / (influence.sum(axis=1, keepdims=True) + 1e-12), base=2, axis=1)
    np.testing.assert_allclose(scipy.stats.entropy(found, base=2, axis=1), expected, atol=1e-9)
    np.testing.assert_array_equal(shares(np.zeros(4)), np.full(4, 0.25))


def test_rows_are_chosen_alike_from_arrow_and_pandas() -> None:
    for table in (FEATURES, FEATURES.to_pandas()):
        chosen = columns(table, ("feature_id",), layer=0, batch_idx=3)
        assert chosen.columns.tolist() == ["feature_id"]
        assert chosen["feature_id"].tolist() == [2, 4]


def test_only_ignores_nulls_and_absent_columns() -> None:
    assert only("activation", depth_features([(0, 0, 0, 1.0, None), (0, 0, 1, 1.0, 2.0)])) == 2.0
    assert only("no such column", FEATURES) is None


def test_influences_of_another_length_are_an_error() -> None:
    with pytest.raises(SchemaError, match="found 3, expected 4"):
        matrix([np.ones(4), np.ones(3)], 4)
    assert matrix([], 4).shape == (0, 4)
