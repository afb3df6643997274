import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuit_artifacts.compute.csp.masks import MaskArray
from circuit_artifacts.compute.csp.modularity import (
    TRIMS,
    RelaxedModularity,
    detail_table,
    relaxed_modularity,
    scores_table,
)
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.schemas.csp_vocabulary import CONCEPTS


def one_by_one(masks: MaskArray, trims: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The statistic with sets and one concept at a time."""
    n_concepts, n_layers, _ = masks.shape
    observed = np.empty((n_layers, len(trims), n_concepts), dtype=np.float32)
    for layer in range(n_layers):
        sets = [set(np.flatnonzero(mask).tolist()) for mask in masks[:, layer]]
        for concept in range(n_concepts):
            others = [
                len(sets[concept] & other) / len(sets[concept] | other) if sets[concept] | other else 0.0
                for index, other in enumerate(sets)
                if index != concept
            ]
            for trim_index, trim in enumerate(trims):
                dropped = math.floor(trim * len(others))
                kept = sorted(others, reverse=True)[dropped:] if trim > 0 else others
                observed[layer, trim_index, concept] = np.array(kept, dtype=np.float32).mean()
    percentile = np.array(
        [[[sum(v <= own for v in row) / n_concepts for own in row] for row in layer] for layer in observed.tolist()]
    )
    return observed, percentile


@settings(max_examples=30)
@given(n=st.integers(2, 14), seed=st.integers(0, 999), density=st.sampled_from([0.02, 0.3, 0.9]))
def test_equals_sets_one_concept_at_a_time(n: int, seed: int, density: float) -> None:
    masks = np.random.default_rng(seed).random((n, 2, 25)) < density
    observed, percentile = one_by_one(masks, TRIMS)
    result = relaxed_modularity(masks)
    assert np.array_equal(result.observed, observed)
    assert np.array_equal(result.percentile, percentile)
    assert np.array_equal(result.significant, percentile < 0.05)
    assert np.array_equal(result.scores, (percentile < 0.05).sum(axis=0).T)


@pytest.fixture(scope="module")
def published_size() -> tuple[MaskArray, RelaxedModularity]:
    masks = np.random.default_rng(0).random((106, 8, 64)) < np.linspace(0.1, 0.7, 106)[:, None, None]
    return masks, relaxed_modularity(masks)


def test_float32_means_are_those_of_one_row_at_a_time(published_size: tuple[MaskArray, RelaxedModularity]) -> None:
    # 105 neighbours: long enough for numpy's blocked summation, whose order another memory layout would change.
    masks, result = published_size
    observed, _ = one_by_one(masks[:, :1], TRIMS)
    assert np.array_equal(result.observed[:1], observed)


def test_at_most_five_of_106_are_significant(published_size: tuple[MaskArray, RelaxedModularity]) -> None:
    masks, result = published_size
    assert (result.significant.sum(axis=2) <= 5).all()
    assert (result.scores.sum(axis=0) <= 40).all()
    ranks = result.percentile * 106
    assert np.array_equal(result.significant, np.rint(ranks) <= 5)
    for layer, trim in np.ndindex(*result.significant.shape[:2]):
        values = np.sort(result.observed[layer, trim])
        if values[4] < values[5]:
            assert result.significant[layer, trim].sum() == 5
    assert result.observed.shape == (len(masks[0]), 4, 106)


def ranked_masks(n: int, tied: range) -> MaskArray:
    """Masks that share dimension 0 and differ in size, so that a larger concept is less like the others; some tie."""
    masks = np.zeros((n, 1, n * n + 1), dtype=np.bool_)
    masks[:, :, 0] = True
    for concept in range(n):
        size = n - (tied.start if concept in tied else concept)
        masks[concept, 0, 1 + concept * n : 1 + concept * n + size] = True
    return masks


@pytest.mark.parametrize(
    ("tied", "expected"),
    [
        (range(0), {0, 1, 2, 3, 4}),
        (range(3, 5), {0, 1, 2, 3, 4}),  # a tie within the first five
        (range(4, 6), {0, 1, 2, 3}),  # a tie across ranks 5 and 6: neither is significant
        (range(6), set()),  # six equal ones at the low end
    ],
)
def test_tie_group_that_reaches_rank_six_is_not_significant(tied: range, expected: set[int]) -> None:
    result = relaxed_modularity(ranked_masks(106, tied), trims=(0.25,))
    assert set(np.flatnonzero(result.significant[0, 0]).tolist()) == expected


def test_trim_drops_the_closest_concepts() -> None:
    # Concepts 0 and 1 are twins. With one neighbour dropped, 0 is no longer like anything.
    masks = np.array([[[1, 1, 0, 0, 0]], [[1, 1, 0, 0, 0]], [[0, 0, 1, 1, 0]], [[0, 0, 1, 0, 1]], [[0, 0, 1, 1, 1]]])
    result = relaxed_modularity(masks.astype(np.bool_), trims=(0.0, 0.25))
    assert result.observed[0, 0, 0] == 0.25
    assert result.observed[0, 1, 0] == 0.0


def test_trim_counts_of_105_neighbours() -> None:
    # Concept 0 has index 1 with its first `twins` neighbours and 0 with the rest.
    for trim, dropped in zip(TRIMS, (0, 5, 10, 26), strict=True):
        for twins in (dropped, dropped + 1):
            masks = np.zeros((106, 1, 106), dtype=np.bool_)
            masks[: twins + 1, 0, 0] = True
            masks[np.arange(twins + 1, 106), 0, np.arange(twins + 1, 106)] = True
            observed = relaxed_modularity(masks, trims=(trim,)).observed[0, 0, 0]
            assert observed == np.float32(twins - dropped) / np.float32(105 - dropped)


def test_scores_table_order_and_csv() -> None:
    significant = np.zeros((3, 4, 4), dtype=np.bool_)
    significant[:2, 0, 2] = True  # builtin__abs: p=0.0 2
    significant[0, 0, :2] = True  # ast__If, ast__For: p=0.0 1
    significant[0, 3, 3] = True  # builtin__all: p=0.25 1
    result = RelaxedModularity(TRIMS, np.zeros((3, 4, 4), np.float32), np.ones((3, 4, 4)), significant)
    table = scores_table(["ast__If", "ast__For", "builtin__abs", "builtin__all"], result)
    assert table.index.name is None
    assert table.to_csv().splitlines() == [
        ",type,p=0.0,p=0.05,p=0.1,p=0.25",
        "builtin__abs,builtin,2,0,0,0",
        "ast__For,ast,1,0,0,0",
        "ast__If,ast,1,0,0,0",
        "builtin__all,builtin,0,0,0,1",
    ]


def test_detail_table(published_size: tuple[MaskArray, RelaxedModularity]) -> None:
    _, result = published_size
    table = detail_table(CONCEPTS, result)
    assert len(table) == 3392
    row = table.iloc[(5 * 106 + 17) * 4 + 2]
    assert (row["object"], row["type"], row["layer"], row["p_trim"]) == (CONCEPTS[17], "ast", 5, 0.1)
    assert row["observed_trimmed_jaccard"] == round(result.observed[5, 2, 17], 4)
    assert row["percentile"] == float(result.percentile[5, 2, 17])
    assert bool(row["significant"]) == bool(result.significant[5, 2, 17])
    lines = table.to_csv(index=False).splitlines()
    assert lines[0] == "object,type,layer,p_trim,observed_trimmed_jaccard,percentile,significant"
    for line in lines[1:]:
        fields = line.split(",")
        assert len(fields[4].partition(".")[2]) <= 4
        assert fields[3] in {"0.0", "0.05", "0.1", "0.25"}
        assert fields[6] in {"True", "False"}


def test_detail_table_is_in_ascii_order_whatever_the_order_of_the_masks() -> None:
    masks = np.random.default_rng(1).random((3, 2, 30)) < 0.5
    table = detail_table(["builtin__abs", "ast__If", "ast__For"], result := relaxed_modularity(masks, trims=(0.0,)))
    assert table["object"].tolist() == ["ast__For", "ast__If", "builtin__abs"] * 2
    assert table["percentile"].tolist() == [
        float(result.percentile[layer, 0, concept]) for layer in range(2) for concept in (2, 1, 0)
    ]


def test_wrong_input_is_refused() -> None:
    with pytest.raises(SchemaError, match="at least 2"):
        relaxed_modularity(np.ones((1, 2, 3), np.bool_))
    with pytest.raises(SchemaError, match="trim"):
        relaxed_modularity(np.ones((3, 2, 3), np.bool_), trims=(1.0,))
