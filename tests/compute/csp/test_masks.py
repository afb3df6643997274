import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from circuit_artifacts.compute.csp.masks import (
    MaskArray,
    binarize,
    binarize_grid,
    jaccard_matrices,
    pairwise_jaccard,
    universals,
)
from circuit_artifacts.errors import SchemaError, UnknownNameError
from circuit_artifacts.schemas.csp_vocabulary import CONCEPTS, CONSISTENCIES, EPSILONS, ISOLATED_NODES, attempted_pairs

Statistics = tuple[np.ndarray, np.ndarray, np.ndarray]


def random_statistics(seed: int, shape: tuple[int, int, int] = (7, 3, 13), n: int = 50) -> Statistics:
    random = np.random.default_rng(seed)
    counts = random.integers(0, n + 1, shape, dtype=np.int32)
    sums = (random.exponential(0.6, shape) * counts).astype(np.float32)
    return sums, counts, np.full(shape[0], n, dtype=np.int64)


def masks_of(sets: Sequence[set[int]], width: int) -> MaskArray:
    masks = np.zeros((len(sets), width), dtype=np.bool_)
    for row, active in enumerate(sets):
        masks[row, list(active)] = True
    return masks


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60), setting=st.tuples(st.floats(0, 1.5), st.floats(0, 1)))
def test_mean_rule_equals_a_float32_comparison_per_element(seed: int, n: int, setting: tuple[float, float]) -> None:
    sums, counts, n_prompts = random_statistics(seed, (2, 2, 3), n)
    masks = binarize(sums, counts, n_prompts, epsilon=setting[0], consistency=setting[1])
    epsilon, consistency = np.float32(setting[0]), np.float32(setting[1])
    for index in np.ndindex(*sums.shape):
        strong = sums[index] / np.float32(n) > epsilon
        frequent = np.float32(counts[index]) / np.float32(n) >= consistency
        assert masks[index] == (strong and frequent)


@pytest.mark.parametrize(("consistency", "least"), [(0.2, 10), (0.5, 25), (0.8, 40)])
def test_exact_consistency_passes_although_the_level_is_no_binary_number(consistency: float, least: int) -> None:
    counts = np.arange(51, dtype=np.int32).reshape(1, 1, 51)
    masks = binarize(np.full((1, 1, 51), 100, np.float32), counts, np.array([50]), epsilon=0.5, consistency=consistency)
    assert np.flatnonzero(masks[0, 0]).tolist() == list(range(least, 51))


def test_consistency_boundary_is_the_rational_one_for_every_group_size_up_to_50() -> None:
    n_prompts = np.arange(1, 51, dtype=np.int64)
    counts = np.broadcast_to(np.arange(51, dtype=np.int32), (50, 1, 51)).copy()
    sums = np.full(counts.shape, 1000, np.float32)
    for tenths in (2, 5, 8):
        masks = binarize(sums, counts, n_prompts, epsilon=0.5, consistency=tenths / 10)
        assert np.array_equal(masks, counts * 10 >= tenths * n_prompts[:, None, None])


def test_epsilon_is_strict() -> None:
    sums = np.array([[[25.0, np.nextafter(np.float32(25.0), np.float32(26.0)), 24.0]]], dtype=np.float32)
    masks = binarize(sums, np.full((1, 1, 3), 50, np.int32), np.array([50]), epsilon=0.5, consistency=0.8)
    assert masks.tolist() == [[[False, True, False]]]


def test_epsilon_is_compared_in_float32_not_float64() -> None:
    # 5 / 50 rounds to float32(0.1), which as a float64 is greater than 0.1: only a float32 comparison finds them equal.
    masks = binarize(
        np.full((1, 1, 1), 5, np.float32), np.full((1, 1, 1), 50), np.array([50]), epsilon=0.1, consistency=0.2
    )
    assert not masks.any()


def test_group_without_prompts_is_empty_and_warns_of_nothing() -> None:
    sums, counts = np.ones((2, 1, 2), np.float32), np.ones((2, 1, 2), np.int32)
    masks = binarize(sums, counts, np.array([0, 1]), epsilon=(0.001, 0.5), consistency=(0.0, 0.8))
    assert not masks[:, :, 0].any()
    assert masks[:, :, 1].all()


def test_grid_shapes_and_order() -> None:
    sums, counts, n_prompts = random_statistics(0)
    grid = binarize(sums, counts, n_prompts, epsilon=EPSILONS, consistency=CONSISTENCIES)
    assert grid.shape == (3, 3, 7, 3, 13)
    streamed = list(binarize_grid(sums, counts, n_prompts, epsilon=EPSILONS, consistency=CONSISTENCIES))
    assert [setting[:2] for setting in streamed] == list(itertools.product(EPSILONS, CONSISTENCIES))
    for (i, epsilon), (j, consistency) in itertools.product(enumerate(EPSILONS), enumerate(CONSISTENCIES)):
        single = binarize(sums, counts, n_prompts, epsilon=epsilon, consistency=consistency)
        assert single.shape == sums.shape
        assert np.array_equal(grid[i, j], single)
        assert np.array_equal(streamed[3 * i + j][2], single)
    assert binarize(sums, counts, n_prompts, epsilon=0.1, consistency=CONSISTENCIES).shape == (1, 3, 7, 3, 13)
    assert binarize(sums, counts, n_prompts, epsilon=EPSILONS, consistency=0.8).shape == (3, 1, 7, 3, 13)


@pytest.mark.parametrize("seed", range(3))
def test_masks_shrink_along_the_grid(seed: int) -> None:
    sums, counts, n_prompts = random_statistics(seed)
    pairs = [("For", "list"), ("For", "set"), ("If", "list"), ("If", "set"), ("If", "x"), ("Try", "x"), ("Try", "list")]
    grid = binarize(sums, counts, n_prompts, epsilon=EPSILONS, consistency=CONSISTENCIES)
    concept_grid = np.array([[universals(masks, pairs)[1] for masks in row] for row in grid])
    for masks in (grid, concept_grid):
        assert not (masks[1:] & ~masks[:-1]).any()
        assert not (masks[:, 1:] & ~masks[:, :-1]).any()
    assert grid[0, 0].sum() > grid[2, 2].sum() > 0


def test_blocks_do_not_change_the_result() -> None:
    # Wide enough for several blocks and for a last one that is not full.
    sums, counts, n_prompts = random_statistics(5, (11, 4, 9000))
    masks = binarize(sums, counts, n_prompts, epsilon=0.1, consistency=0.5)
    expected = (sums / np.float32(50) > np.float32(0.1)) & (counts.astype(np.float32) / np.float32(50) >= 0.5)
    assert np.array_equal(masks, expected)


def test_per_prompt_rule_equals_counting_prompts_and_differs_from_the_mean_rule() -> None:
    random = np.random.default_rng(1)
    activations = random.exponential(0.4, (4, 10, 2, 6)).astype(np.float32) * (random.random((4, 10, 2, 6)) < 0.8)
    activations[0, :, 0, 0] = [0.4] * 9 + [5]  # a mean above 0.5 that one prompt makes
    sums = activations.sum(axis=1, dtype=np.float32)
    counts = (activations > 0).sum(axis=1, dtype=np.int32)
    exceedance = np.stack([(activations > epsilon).sum(axis=1, dtype=np.int32) for epsilon in EPSILONS])
    n_prompts = np.full(4, 10)
    masks = binarize(
        sums,
        counts,
        n_prompts,
        epsilon=EPSILONS,
        consistency=CONSISTENCIES,
        rule="per_prompt",
        exceedance_count=exceedance,
    )
    for (i, epsilon), (j, tenths) in itertools.product(enumerate(EPSILONS), enumerate((2, 5, 8))):
        assert np.array_equal(masks[i, j], (activations > epsilon).sum(axis=1) * 10 >= tenths * 10)
    one = binarize(
        sums, counts, n_prompts, epsilon=0.5, consistency=0.8, rule="per_prompt", exceedance_count=exceedance[2]
    )
    assert np.array_equal(one, masks[2, 2])
    assert not one[0, 0, 0]
    assert binarize(sums, counts, n_prompts, epsilon=0.5, consistency=0.8)[0, 0, 0]


def test_per_prompt_rule_without_counts_says_which_stage_to_run_again() -> None:
    with pytest.raises(SchemaError, match="stage 12"):
        binarize_grid(*random_statistics(0), epsilon=EPSILONS, consistency=0.8, rule="per_prompt")


def test_a_misspelt_rule_is_not_taken_for_another() -> None:
    sums, counts, n_prompts = random_statistics(0)
    with pytest.raises(UnknownNameError, match="median"):
        binarize(sums, counts, n_prompts, epsilon=0.5, consistency=0.8, rule="median")  # type: ignore[arg-type]


def test_mismatching_statistics_are_refused() -> None:
    sums, counts, n_prompts = random_statistics(0)
    with pytest.raises(SchemaError, match="activation_sum"):
        binarize(sums, counts[:-1], n_prompts, epsilon=0.1, consistency=0.5)
    with pytest.raises(SchemaError, match="n_prompts"):
        binarize(sums, counts, n_prompts[:-1], epsilon=0.1, consistency=0.5)
    with pytest.raises(SchemaError, match="exceedance_count"):
        binarize(
            sums,
            counts,
            n_prompts,
            epsilon=EPSILONS,
            consistency=0.5,
            rule="per_prompt",
            exceedance_count=np.zeros((2, *sums.shape), np.int32),
        )


names = st.sampled_from(["For", "If", "_isolated_", "ZeroDivisionError", "abs"])


@given(pairs=st.lists(st.tuples(names, names), max_size=12), width=st.integers(1, 19), seed=st.integers(0, 99))
def test_universals_are_intersections_of_sets(pairs: list[tuple[str, str]], width: int, seed: int) -> None:
    pair_masks = np.random.default_rng(seed).random((len(pairs), 2, width)) < 0.7
    concepts, masks = universals(pair_masks, pairs)
    expected = {}
    for position, kind in enumerate(("ast", "builtin")):
        for name in sorted({pair[position] for pair in pairs}):
            rows = [row for row, pair in enumerate(pairs) if pair[position] == name]
            for layer in range(2):
                active = set.intersection(*(set(np.flatnonzero(pair_masks[row, layer]).tolist()) for row in rows))
                expected[f"{kind}__{name}", layer] = active
    assert concepts == sorted({concept for concept, _ in expected})
    assert masks.shape == (len(concepts), 2, width)
    assert masks.dtype == np.bool_
    for row, concept in enumerate(concepts):
        for layer in range(2):
            assert set(np.flatnonzero(masks[row, layer]).tolist()) == expected[concept, layer]


def test_published_concepts_and_sentinel_identities() -> None:
    pairs = attempted_pairs("small")
    pair_masks = np.random.default_rng(3).random((len(pairs), 2, 17)) < 0.95
    concepts, masks = universals(pair_masks, pairs)
    assert tuple(concepts) == CONCEPTS  # 43 + 63, the sentinel between ZeroDivisionError and abs
    isolated = [pair_masks[pairs.index((node, "_isolated_"))] for node in ISOLATED_NODES]
    for node, mask in zip(ISOLATED_NODES, isolated, strict=True):
        assert np.array_equal(masks[concepts.index(f"ast__{node}")], mask)
    assert np.array_equal(masks[concepts.index("builtin___isolated_")], np.logical_and.reduce(isolated))


def test_universals_refuse_wrong_input() -> None:
    with pytest.raises(SchemaError, match="one name"):
        universals(np.zeros((2, 1, 4), np.bool_), [("For", "list")])
    with pytest.raises(SchemaError, match="uint8"):
        universals(np.zeros((1, 1, 4), np.uint8), [("For", "list")])


@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_pairwise_jaccard_equals_sets(masks: MaskArray) -> None:
    sets = [set(np.flatnonzero(mask).tolist()) for mask in masks]
    expected = [[len(a & b) / len(a | b) if a | b else 0.0 for b in sets] for a in sets]
    assert pairwise_jaccard(masks).tolist() == expected
    assert pairwise_jaccard(masks).dtype == np.float64


@given(shared=st.integers(0, 2048), only_a=st.integers(0, 2048), only_b=st.integers(0, 2048))
def test_float32_jaccard_is_the_float64_one_stored_in_float32(shared: int, only_a: int, only_b: int) -> None:
    sizes = (shared, only_a, only_b)
    width = max(1, sum(sizes))
    dimension = np.arange(width)
    masks = np.stack([dimension < shared + only_a, (dimension < shared) | (dimension >= shared + only_a)])
    result = pairwise_jaccard(masks, dtype=np.float32)
    assert result.dtype == np.float32
    if sum(sizes):
        assert result[0, 1] == np.float32(shared / sum(sizes))


def test_pairwise_jaccard_keeps_layers_apart() -> None:
    masks = np.random.default_rng(2).random((3, 5, 20)) < 0.4
    assert np.array_equal(pairwise_jaccard(masks), np.stack([pairwise_jaccard(layer) for layer in masks]))


def test_jaccard_matrices_are_of_layer_4_by_kind() -> None:
    masks = np.zeros((5, 6, 8), dtype=np.bool_)
    masks[:, 4] = masks_of([{0, 1}, {1, 2}, set(), {5}, {5, 6, 7}], 8)
    concepts = ["ast__For", "ast__If", "ast__Try", "builtin__abs", "builtin__all"]
    matrices = jaccard_matrices(concepts, masks)
    assert set(matrices) == {"jaccard_ast_matrix", "jaccard_builtin_matrix"}
    assert matrices["jaccard_ast_matrix"].tolist() == [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 0]]
    assert matrices["jaccard_builtin_matrix"].tolist() == [[1, 1 / 3], [1 / 3, 1]]


def test_jaccard_matrices_of_an_absent_layer_are_zero_on_the_diagonal_too() -> None:
    matrices = jaccard_matrices(["ast__For", "builtin__abs", "builtin__all"], np.ones((3, 4, 8), dtype=np.bool_))
    assert [matrix.shape for matrix in matrices.values()] == [(1, 1), (2, 2)]
    assert math.fsum(matrix.sum() for matrix in matrices.values()) == 0
