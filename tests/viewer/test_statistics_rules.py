"""Columns that take the statistics of their split away, and the nearest ones that do not."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Features
from viewer_upload import FILE, PATTERN, Upload, rows_with, sound

from circuit_artifacts.errors import FormatError
from circuit_artifacts.viewer.statistics import neighbouring_values

SECOND = "masks/train-00001-of-00002.parquet"
# Eleven different texts of 4 and 5 characters in 20 rows: not few, and more than a fifth.
TEXTS = [f"{index % 11:04}" + "x" * (index % 2) for index in range(20)]


@pytest.mark.parametrize("write_statistics", [True, False])
@pytest.mark.parametrize(
    ("values", "type_", "found"),
    [
        ([0, 1], pa.int8(), "found 0 and 1"),
        ([0, 1], pa.int64(), "found 0 and 1"),
        ([254, None, 255], pa.uint8(), "found 254 and 255"),
        ([-7, -8], pa.int32(), "found -8 and -7"),
        ([[1], [2, 3]], pa.list_(pa.float32()), "found 1 and 2"),
        ([[], None, ["a"]], pa.large_list(pa.string()), "found 0 and 1"),
        (TEXTS, pa.string(), "found 4 and 5"),
        (["ä" + text[1:] for text in TEXTS], pa.large_string(), "found 4 and 5"),
    ],
)
def test_two_neighbours(
    upload: Upload, values: list[Any], type_: pa.DataType, found: str, write_statistics: bool
) -> None:
    upload.write(rows_with(values * (60 // len(values)), type_), write_statistics=write_statistics)
    assert upload.places() == [("error", "neighbouring values", PATTERN, "x")]
    assert found in upload.finding().message


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([0, 1], pa.float32()),
        ([False, True], pa.bool_()),
        ([0, 2], pa.int8()),
        ([0, 1, 2], pa.int8()),
        ([3, None], pa.int8()),
        ([None], pa.int8()),
        ([[1], [1, 2, 3]], pa.list_(pa.int64())),
        ([[1, 2], [3, 4]], pa.list_(pa.int64(), 2)),
        ([{"a": 0}, {"a": 1}], None),
        ([[0], [1]], pa.list_(pa.int64())),
        (["a", "bb"], pa.string()),  # a category
        ([float("nan"), 1.0], pa.float64()),
    ],
)
def test_no_two_neighbours(upload: Upload, values: list[Any], type_: pa.DataType | None) -> None:
    upload.write(rows_with(values * (60 // len(values)), type_))
    assert upload.findings() == []


def test_neighbours_over_several_files(upload: Upload) -> None:
    """Each file has one value; the split has two."""
    upload.write(rows_with([0] * 20))
    upload.write(rows_with([1] * 20), SECOND)
    assert upload.places() == [("error", "neighbouring values", PATTERN, "x")]
    upload.write(rows_with([2, 1] * 10), SECOND)
    assert upload.findings() == []


def test_labels_are_counted_one_by_one(upload: Upload) -> None:
    table = rows_with([0, 1] * 10)
    upload.write(table)
    features = Features(Features.from_arrow_schema(table.schema) | {"x": ClassLabel(names=["no", "yes"])})
    upload.declare(features, {"train": 20})
    assert upload.findings() == []


@pytest.mark.parametrize(
    ("different", "rows", "is_category"),
    [(10, 12, True), (11, 54, False), (11, 55, True), (1_000, 5_000, True), (1_001, 6_000, False)],
)
def test_texts_are_a_category_up_to_ten_or_a_fifth(
    upload: Upload, different: int, rows: int, is_category: bool
) -> None:
    texts = [f"{index:05}" + "x" * (index % 2) for index in range(different)]
    upload.write(rows_with([texts[index % different] for index in range(rows)]))
    assert [place[1] for place in upload.places()] == ([] if is_category else ["neighbouring values"])


def test_null_is_one_of_the_texts(upload: Upload) -> None:
    upload.write(rows_with(TEXTS[:10] + [None] * 10))
    assert [place[1] for place in upload.places()] == ["neighbouring values"]


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
@pytest.mark.parametrize("type_", [pa.float16(), pa.float32(), pa.float64()], ids=str)
def test_infinite(upload: Upload, value: float, type_: pa.DataType) -> None:
    upload.write(rows_with(pa.array([value, 1, float("nan"), None, 2] * 4, pa.float64()).cast(type_)))
    assert upload.places() == [("error", "infinite", PATTERN, "x")]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([2**53, 0], []),
        ([-(2**53), 0], []),
        ([2**53 + 1, 0], [("error", "inexact integer", PATTERN, "x")]),
        ([-(2**53) - 1, 0], [("error", "inexact integer", PATTERN, "x")]),
    ],
)
def test_integers_that_floats_cannot_hold(upload: Upload, values: list[int], expected: list[Any]) -> None:
    upload.write(rows_with(values * 10, pa.int64()))
    assert upload.places() == expected


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([7], pa.int64()),
        ([0.5], pa.float64()),
        ([0.5, float("nan")], pa.float64()),
        ([[1, 2, 3]], pa.list_(pa.int64())),
    ],
)
def test_a_single_value(upload: Upload, values: list[Any], type_: pa.DataType) -> None:
    upload.write(rows_with(values + [None] * (20 - len(values)), type_))
    assert upload.places() == [("error", "single value", PATTERN, "x")]
    upload.write(rows_with(values * 2 + [None] * (20 - 2 * len(values)), type_))
    assert upload.findings() == []


def test_a_single_row(upload: Upload) -> None:
    upload.write(sound(1))
    assert upload.places() == [("error", "single value", PATTERN, name) for name in ("layer", "score", "active")]
    upload.write(sound(1).select(["concept", "kept"]))
    assert upload.findings() == []


def test_many_row_groups_count_as_one_column(upload: Upload) -> None:
    values = list(chain(range(5, 3_000), range(3_000)))
    upload.write(rows_with([[0] * (value % 2) for value in values], pa.list_(pa.int8())), row_group_size=7)
    assert upload.places() == [("error", "neighbouring values", PATTERN, "x")]


def test_neighbouring_values_by_file_and_by_split(upload: Upload, tmp_path: Path) -> None:
    table = pa.table(
        {
            "flag": pa.array([0, 1, None], pa.int8()),
            "a.b": pa.array([4, 5, 4], pa.uint64()),
            "constant": [3, 3, 3],
            "float": [0.0, 1.0, 1.0],
            "bool": [True, False, True],
            "nested": [[0], [1], []],
            "struct": [{"flag": 0}, {"flag": 1}, {"flag": 1}],
            "wide": [0, 1, 2],
            "empty": pa.nulls(3, pa.int32()),
        }
    )
    for write_statistics in (True, False):
        path = tmp_path / f"{write_statistics}.parquet"
        pq.write_table(table, path, write_statistics=write_statistics, row_group_size=2)
        assert neighbouring_values(path) == ["flag", "a.b"]
    other = tmp_path / "other.parquet"
    pq.write_table(table.set_column(0, "flag", pa.array([7, 7, 7])).set_column(2, "constant", pa.array([4] * 3)), other)
    assert neighbouring_values(path, other) == ["a.b", "constant"]
    assert neighbouring_values() == []


def test_neighbouring_values_of_what_is_no_parquet(upload: Upload) -> None:
    (upload.folder / FILE).write_bytes(b"x")
    with pytest.raises(FormatError, match="not a parquet file"):
        neighbouring_values(upload.folder / FILE)
