from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from circuit_artifacts.compute.csp.decomposition import (
    SUMMARY_COLUMNS,
    Decomposition,
    compare_concepts,
    decompose,
    parse_target_checker,
    round_decimal,
    select_testable,
    summary_row,
    summary_table,
    target_checker_table,
)
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.schemas.csp_vocabulary import CONCEPTS, KEYWORDS

counts = hnp.arrays(np.int64, st.tuples(st.integers(0, 4), st.integers(1, 9)), elements=st.integers(0, 2048))


def decomposition_of(cells: list[list[tuple[int, int, int]]]) -> Decomposition:
    return Decomposition(*np.moveaxis(np.array(cells, dtype=np.int64), -1, 0))


def test_rounding_of_every_fraction_with_a_denominator_up_to_2048() -> None:
    # Ties such as 1/32 = 0.03125 and neighbours of ties are where numpy.round and round() part.
    denominators = np.array([*range(1, 120), 160, 320, 625, 800, 1000, 1250, 1600, 2000, 2048])
    ratios = np.concatenate([np.arange(denominator + 1) / denominator for denominator in denominators])
    assert round_decimal(ratios, 4).tolist() == [round(ratio, 4) for ratio in ratios.tolist()]


@given(st.lists(st.floats(-1e6, 1e6), max_size=8), st.integers(0, 6))
def test_rounding_equals_python(values: list[float], decimals: int) -> None:
    expected = [round(value, decimals) for value in values]
    assert round_decimal(np.array(values, dtype=np.float64), decimals).tolist() == expected


def test_rounding_where_numpy_differs() -> None:
    values = np.array([0.00015, 0.00025, 0.00035, 1.00005, 2.67495, 0.28125, 0.15625])
    expected = [round(value, 4) for value in values.tolist()]
    assert np.round(values, 4).tolist() != expected
    assert round_decimal(values, 4).tolist() == expected


@given(data=st.data(), shape=st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 9)))
def test_decomposition_equals_sets(data: st.DataObject, shape: tuple[int, int, int]) -> None:
    universal = data.draw(hnp.arrays(np.bool_, shape))
    checker = data.draw(hnp.arrays(np.bool_, shape))
    parts = decompose(universal, checker)
    assert parts.shared.shape == shape[:2]
    for index in np.ndindex(*shape[:2]):
        a, b = (set(np.flatnonzero(masks[index]).tolist()) for masks in (universal, checker))
        found = [int(part[index]) for part in (parts.concept_only, parts.shared, parts.token_only)]
        assert found == [len(a - b), len(a & b), len(b - a)]
        assert parts.concept_size[index] == len(a)
        assert parts.token_size[index] == len(b)
        assert parts.concept_fraction[index] == (round(len(a - b) / len(a), 4) if a else 0.0)
        assert parts.token_fraction[index] == (round(len(a & b) / len(a), 4) if a else 0.0)


def test_fraction_on_a_tie_rounds_to_even() -> None:
    parts = decomposition_of([[(1, 31, 0), (3, 29, 0)]])
    assert parts.concept_fraction.tolist() == [[0.0312, 0.0938]]


def test_empty_circuit_has_zero_fractions_that_do_not_add_up_to_one() -> None:
    parts = decomposition_of([[(0, 0, 7)]])
    assert parts.concept_fraction.tolist() == parts.token_fraction.tolist() == [[0.0]]


def test_shapes_must_agree() -> None:
    with pytest.raises(SchemaError, match="same shape"):
        decompose(np.zeros((1, 2, 3), np.bool_), np.zeros((1, 1, 3), np.bool_))


def test_testable_concepts_are_the_58() -> None:
    testable = select_testable(CONCEPTS, KEYWORDS)
    assert len(testable) == 58
    assert testable == sorted(testable)
    assert sum(concept.startswith("ast__") for concept in testable) == 24
    assert select_testable(["ast__BinOp", "ast__For", "ast__If"], ["ast__If", "ast__BinOp"]) == ["ast__If"]


def test_stacks_are_aligned_by_name_and_not_by_position() -> None:
    universal = np.array([[[1, 1, 0]], [[1, 0, 0]], [[1, 1, 1]]], dtype=np.bool_)
    checker = np.array([[[0, 0, 1]], [[1, 1, 0]]], dtype=np.bool_)
    names, parts = compare_concepts(
        ["builtin__list", "ast__BinOp", "ast__For"], universal, ["ast__For", "builtin__list"], checker
    )
    assert names == ["ast__For", "builtin__list"]
    assert target_checker_table(names, parts)["L0"].tolist() == ["2 / 1 / 0", "0 / 2 / 0"]


@given(concept_only=counts, offset=st.integers(0, 5))
def test_table_round_trip(concept_only: np.ndarray, offset: int) -> None:
    parts = Decomposition(concept_only, concept_only + offset, concept_only * offset)
    names = [f"ast__N{row}" for row in range(len(concept_only))]
    table = target_checker_table(names, parts)
    for frame in (table, table.reset_index(), table[table.columns[::-1]]):
        targets, parsed = parse_target_checker(frame)
        assert targets == names
        for name in ("concept_only", "shared", "token_only"):
            assert np.array_equal(getattr(parsed, name), getattr(parts, name))


def test_table_of_published_size_in_csv() -> None:
    parts = Decomposition(*(np.full((58, 8), value) for value in (12, 3, 45)))
    lines = target_checker_table(sorted(KEYWORDS), parts).to_csv().splitlines()
    assert lines[0] == "target,L0,L1,L2,L3,L4,L5,L6,L7"
    assert len(lines) == 59
    assert lines[1] == "ast__Assert" + ",12 / 3 / 45" * 8


@pytest.mark.parametrize(
    "cell", ["1 / 2", "1/2/3", "1 / -2 / 3", "1 / 2 / 3\n", "1.0 / 2 / 3", "", None, 5, float("nan")]
)
def test_bad_cell_is_located(cell: object) -> None:
    frame = pd.DataFrame(
        {"target": ["ast__For", "ast__If"], "L0": ["1 / 2 / 3", "1 / 2 / 3"], "L1": ["1 / 2 / 3", cell]}
    )
    with pytest.raises(SchemaError, match="row ast__If, column L1"):
        parse_target_checker(frame)


@pytest.mark.parametrize("columns", [["L0", "L2"], ["L0", "note"], []])
def test_wrong_columns_are_refused(columns: list[str]) -> None:
    frame = pd.DataFrame({"target": ["ast__For"]} | {column: ["1 / 2 / 3"] for column in columns})
    with pytest.raises(SchemaError, match="one column per layer"):
        parse_target_checker(frame)


def test_summary_by_hand() -> None:
    # Fractions: For 1/3 -> 0.3333 and 0 (empty circuit); list 1 and 0.5. Tokens: For 0.6667 and 0; list 0 and 0.5.
    parts = decomposition_of([[(1, 2, 3), (0, 0, 4)], [(5, 0, 0), (1, 1, 0)]])
    row = summary_row(target_checker_table(["ast__For", "builtin__list"], parts), epsilon=0.5, consistency=0.8)
    assert row == {
        "epsilon": 0.5,
        "consistency": 0.8,
        "n_testable": 2,
        "n_ast": 1,
        "n_builtin": 1,
        "mean_concept_fraction": 0.4583,
        "mean_token_fraction": 0.2917,
        "ast_concept_fraction": 0.1666,  # the mean of rounded values: 1/6 itself would give 0.1667
        "ast_token_fraction": 0.3334,
        "blt_concept_fraction": 0.75,
        "blt_token_fraction": 0.25,
        "mean_A_size": 2.5,
        "mean_B_size": 2.5,
    }


@given(cells=hnp.arrays(np.int64, (5, 3, 3), elements=st.integers(0, 40)))
def test_summary_equals_exact_arithmetic(cells: np.ndarray) -> None:
    names = ["ast__For", "ast__If", "builtin__all", "builtin__any", "builtin__zip"]
    parts = Decomposition(*np.moveaxis(cells, -1, 0))
    row = summary_row(target_checker_table(names, parts), epsilon=0.1, consistency=0.2)
    assert row is not None
    for column, rows, index in (
        ("mean_concept_fraction", slice(None), 0),
        ("ast_token_fraction", slice(0, 2), 1),
        ("blt_concept_fraction", slice(2, 5), 0),
    ):
        fractions = [
            Fraction(str(round(int(cell[index]) / int(cell[0] + cell[1]), 4))) if cell[0] + cell[1] else Fraction(0)
            for cell in cells[rows].reshape(-1, 3)
        ]
        assert row[column] == pytest.approx(float(sum(fractions) / len(fractions)), abs=0.50001e-4)


def test_kind_without_a_concept_is_blank_in_the_summary_csv() -> None:
    frame = target_checker_table(["ast__For"], decomposition_of([[(1, 1, 1)]]))
    table = summary_table({(0.001, 0.2): frame})
    assert list(table.columns) == list(SUMMARY_COLUMNS)
    assert table.to_csv(index=False).splitlines()[1] == "0.001,0.2,1,1,0,0.5,0.5,0.5,0.5,,,2.0,2.0"


def test_setting_without_a_testable_concept_is_left_out() -> None:
    frame = target_checker_table(["builtin__list"], decomposition_of([[(1, 1, 1)]]))
    table = summary_table({(0.1, 0.2): frame, (0.1, 0.5): frame.iloc[:0], (0.5, 0.2): frame})
    assert table[["epsilon", "consistency"]].to_numpy().tolist() == [[0.1, 0.2], [0.5, 0.2]]
    assert table["n_testable"].dtype == np.int64
    assert list(summary_table({}).columns) == list(SUMMARY_COLUMNS)
