"""Which windows a run looks at; the numbers are those of the published pythia-70m run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from circuit_artifacts.compute.locality.windows import WindowFilter, cut_windows, sample_starts, sequential_starts
from circuit_artifacts.errors import SchemaError

# Locality golden numbers: 2,408,076 tokens, windows of 64, 50 of them, seed 0; 169,792 is in the run's own log.
PUBLISHED = [
    4736, 58880, 169792, 261184, 264128, 309248, 391168, 397696, 414208, 422336, 584128, 586112, 616384, 801344,
    857600, 916160, 929856, 1000768, 1022976, 1050688, 1085952, 1092544, 1182080, 1272128, 1300800, 1326208, 1363968,
    1384896, 1397248, 1483904, 1501760, 1615808, 1672768, 1698368, 1763968, 1820992, 1856768, 1980288, 1998976,
    2000704, 2038080, 2070208, 2116800, 2144384, 2186688, 2233728, 2301376, 2317440, 2347968, 2380288,
]  # fmt: skip


def test_published_window_starts() -> None:
    assert sample_starts(range(2_408_076), context_len=64, n_windows=50, seed=0) == PUBLISHED


def test_every_offset_is_a_candidate_where_whole_windows_are_too_few() -> None:
    assert sample_starts(range(40), context_len=10, n_windows=4, seed=1) == [0, 10, 20, 30]
    assert sample_starts(range(12), context_len=10, n_windows=3, seed=1) == [0, 1, 2]
    with pytest.raises(SchemaError, match=r"found 3 windows of 10 tokens, expected 4"):
        sample_starts(range(12), context_len=10, n_windows=4, seed=1)


def test_a_filter_is_asked_before_sampling_and_named_when_it_leaves_too_few() -> None:
    def text(ids: Sequence[int]) -> str:
        return " ".join(map(str, ids))

    even = WindowFilter("even", lambda ids, decoded: ids[0] % 20 == 0 and decoded.startswith(f"{ids[0]} "))
    found = sample_starts(range(200), context_len=10, n_windows=10, seed=0, keep=even, decode=text)
    assert found == list(range(0, 200, 20))
    with pytest.raises(SchemaError, match=r"found 10 windows of 10 tokens that pass even, expected 11"):
        sample_starts(range(200), context_len=10, n_windows=11, seed=0, keep=even, decode=text)
    with pytest.raises(SchemaError, match="decode"):
        sample_starts(range(200), context_len=10, n_windows=1, seed=0, keep=even)


def test_sequential_windows_are_evenly_spaced_and_never_coincide() -> None:
    assert sequential_starts(1064, context_len=64, n_windows=4) == [0, 250, 500, 750]
    with pytest.raises(SchemaError, match=r"found 66 tokens, expected at least 68"):
        sequential_starts(66, context_len=64, n_windows=4)


def test_cut_windows() -> None:
    windows = cut_windows(range(100, 120), [0, 3], context_len=4)
    assert windows.dtype == torch.int64
    assert windows.tolist() == [[100, 101, 102, 103], [103, 104, 105, 106]]
