"""Batches: every sequence once, inside the budget, padded on the right, the same on every run."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from circuit_artifacts.compute.csp.batching import UniqueSequences, length_sorted_batches

SEQUENCES = st.lists(st.lists(st.integers(1, 9), max_size=12), max_size=30)


@given(sequences=SEQUENCES)
def test_unique_sequences_rebuild_the_list_in_order_of_first_appearance(sequences: list[list[int]]) -> None:
    unique = UniqueSequences.of(sequences)
    assert [list(unique.sequences[index]) for index in unique.index] == sequences
    assert unique.sequences == list(dict.fromkeys(map(tuple, sequences)))
    assert unique.index.dtype == np.int64


@given(sequences=SEQUENCES, budget=st.integers(1, 60))
def test_every_sequence_is_in_one_batch_with_padding_on_the_right(sequences: list[list[int]], budget: int) -> None:
    batches = list(length_sorted_batches(sequences, batch_tokens=budget, pad_id=77))
    rows = [int(row) for batch in batches for row in batch.rows]
    assert sorted(rows) == list(range(len(sequences)))
    lengths = [len(sequences[row]) for row in rows]
    assert lengths == sorted(lengths)
    for batch in batches:
        assert batch.ids.numel() <= budget or len(batch.rows) == 1
        assert batch.ids.shape[1] == max(int(batch.lengths.max()), 1)
        for row, ids, length in zip(batch.rows, batch.ids.tolist(), batch.lengths.tolist(), strict=True):
            assert ids == sequences[row] + [77] * (len(ids) - length)
            assert length == len(sequences[row])


@given(sequences=SEQUENCES, budget=st.integers(1, 60))
def test_batches_are_as_full_as_the_budget_allows(sequences: list[list[int]], budget: int) -> None:
    batches = list(length_sorted_batches(sequences, batch_tokens=budget))
    for batch, following in itertools.pairwise(batches):
        assert (len(batch.rows) + 1) * max(int(following.lengths[0]), 1) > budget


def test_the_order_is_stable_and_repeatable() -> None:
    sequences = [[1, 2], [3], [4, 5], [6], [7, 8, 9]]
    runs = [[b.rows.tolist() for b in length_sorted_batches(sequences, batch_tokens=4)] for _ in range(2)]
    assert runs[0] == runs[1] == [[1, 3], [0, 2], [4]]


def test_a_sequence_above_the_budget_runs_alone() -> None:
    rows = [b.rows.tolist() for b in length_sorted_batches([[1] * 9, [2] * 9], batch_tokens=5)]
    assert rows == [[0], [1]]
