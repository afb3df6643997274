"""The files of a split: their bytes depend on the rows alone, their row groups and sizes are bounded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from circuit_artifacts.conversion import parts
from circuit_artifacts.conversion.parts import part_name, read_parts, write_parts

SCHEMA = pa.schema(
    {
        "text": pa.string(),
        "number": pa.int32(),
        "flag": pa.bool_(),
        "vector": pa.list_(pa.float32(), 3),
        "active": pa.list_(pa.uint16()),
        "nested": pa.list_(pa.struct({"name": pa.string(), "values": pa.list_(pa.int8())})),
    }
)
ROWS = [
    {
        "text": None if i % 7 == 0 else "é" * (i % 13),
        "number": None if i % 5 == 0 else i,
        "flag": i % 3 == 0,
        "vector": [i, i + 1, i + 2] if i % 4 else None,
        "active": None if i % 11 == 0 else list(range(i % 6)),
        "nested": [{"name": "x" * j, "values": [j] * j} for j in range(i % 4)],
    }
    for i in range(120)
]
TABLE = pa.Table.from_pylist(ROWS, schema=SCHEMA)


@pytest.fixture(autouse=True)
def _no_fsync() -> Iterator[None]:
    with mock.patch("circuit_artifacts.atomic._synchronise"):
        yield


def pieces(cuts: list[int]) -> Iterator[pa.Table]:
    bounds = [0, *sorted(cuts), len(TABLE)]
    for start, stop in pairwise(bounds):
        yield TABLE.slice(start, stop - start)


def row_groups(path: Path) -> list[pa.Table]:
    file = pq.ParquetFile(path)
    return [file.read_row_group(group) for group in range(file.metadata.num_row_groups)]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, len(TABLE)), max_size=12))
def test_equal_rows_make_equal_bytes(tmp_path_factory: pytest.TempPathFactory, cuts: list[int]) -> None:
    """However a reader cuts its rows into tables, in whichever buffers they are."""
    limits = {"_ROW_GROUP_BYTES": 900, "_PART_BYTES": 3_000}
    with mock.patch.multiple(parts, **limits):
        whole = write_parts([TABLE], SCHEMA, tmp_path_factory.mktemp("whole"), "train")
        fresh = (pa.Table.from_pylist(piece.to_pylist(), schema=SCHEMA) for piece in pieces(cuts))
        for tables in (pieces(cuts), fresh):
            cut = write_parts(tables, SCHEMA, tmp_path_factory.mktemp("cut"), "train")
            assert [(p.name, p.read_bytes()) for p in cut] == [(p.name, p.read_bytes()) for p in whole]
    assert len(whole) == 2
    assert len(row_groups(whole[0])) > 1
    assert pa.concat_tables(read_parts(whole)).equals(TABLE)


@pytest.mark.parametrize(("limit", "value"), [("_ROW_GROUP_BYTES", 1_000), ("_ROW_GROUP_ROWS", 7)])
def test_row_groups_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(parts, limit, value)
    (file,) = write_parts(pieces([50]), SCHEMA, tmp_path, "train")
    groups = row_groups(file)
    assert len(groups) > 5
    for group, following in pairwise(groups):
        size = sum(parts._row_bytes(group))
        assert size <= value if limit == "_ROW_GROUP_BYTES" else len(group) == value
        if limit == "_ROW_GROUP_BYTES":  # as large as may be
            assert size + parts._row_bytes(following)[0] > value


def test_a_row_larger_than_a_row_group_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_ROW_GROUP_BYTES", 100)
    table = pa.table({"text": ["a", "b" * 500, "c", "d"]})
    (file,) = write_parts([table], table.schema, tmp_path, "train")
    assert [len(group) for group in row_groups(file)] == [1, 1, 2]


def test_a_large_split_is_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many is known at the end only, and part of the first one's name."""
    monkeypatch.setattr(parts, "_ROW_GROUP_ROWS", 10)
    monkeypatch.setattr(parts, "_PART_BYTES", 2_500)
    files = write_parts([TABLE], SCHEMA, tmp_path, "pair")
    assert len(files) > 2
    assert [file.name for file in files] == [part_name("pair", n, len(files)) for n in range(len(files))]
    assert sorted(tmp_path.iterdir()) == files
    # A file ends with the row group that takes it over the limit.
    assert all(2_500 <= file.stat().st_size < 9_000 for file in files[:-1])
    assert pa.concat_tables(map(pq.read_table, files)).equals(TABLE)


def test_no_rows_make_no_file(tmp_path: Path) -> None:
    assert write_parts([TABLE.slice(0, 0)], SCHEMA, tmp_path, "train") == []
    assert not list(tmp_path.iterdir())


def test_what_the_viewer_looks_for(tmp_path: Path) -> None:
    """Pages that can be found without reading the row group, and the key of the badge (hub_and_viewer spec 4.2)."""
    (file,) = write_parts([TABLE], SCHEMA, tmp_path, "train")
    metadata = pq.read_metadata(file)
    chunks = [metadata.row_group(0).column(column) for column in range(metadata.num_columns)]
    assert all(chunk.has_offset_index and chunk.has_column_index and chunk.compression == "ZSTD" for chunk in chunks)
    assert b"use_content_defined_chunking" in metadata.metadata


def test_sizes_in_memory_are_recorded(tmp_path: Path) -> None:
    table = pa.table({"number": pa.array([1, 2, 3], pa.int32()), "text": ["a", "", None], "list": [[1], [], [2, 3]]})
    (file,) = write_parts([table], table.schema, tmp_path, "train")
    expected = 3 * 4 + (3 * 4 + 1) + (3 * 4 + 3 * 8)
    assert pq.read_metadata(file).metadata[parts.ARROW_BYTES_KEY.encode()] == str(expected).encode()


def test_a_row_that_is_inserted_changes_little(tmp_path: Path) -> None:
    """Pages are cut where their content says so: an upload of the next version sends what is new."""
    numbers = np.random.default_rng(0).integers(0, 1 << 60, 600_000)
    written = []
    for name, values in {"before": numbers, "after": np.insert(numbers, 200_000, 7)}.items():
        (tmp_path / name).mkdir()
        table = pa.table({"number": values})
        with mock.patch.multiple(parts, _ROW_GROUP_ROWS=1 << 20):
            written += write_parts([table], table.schema, tmp_path / name, "train")
    before, after = (path.read_bytes() for path in written)
    assert before[2_500_000:3_000_000] in after
