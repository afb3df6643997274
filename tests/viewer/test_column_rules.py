"""Rules on columns: what preview, search and Croissant cannot take, and what they just can."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from datasets import Features, Image, List, Value
from viewer_upload import PATTERN, Upload, rows_with, sound

from circuit_artifacts.viewer import columns


@pytest.mark.parametrize(("count", "expected"), [(1_000, []), (1_001, [("error", "column count", PATTERN, "")])])
def test_number_of_columns(upload: Upload, count: int, expected: list[Any]) -> None:
    table = sound(2).select(["concept"])
    for index in range(count - 1):
        table = table.append_column(f"c{index}", pa.array([True, False]))
    upload.write(table)
    assert upload.places() == expected


@pytest.mark.parametrize(
    ("length", "expected"), [(500, []), (501, [("error", "column name", PATTERN, "é" * 40 + "...")])]
)
def test_length_of_names(upload: Upload, length: int, expected: list[Any]) -> None:
    upload.write(rows_with(["text"] * 20).rename_columns([*sound().column_names, "é" * length]))
    assert upload.places() == expected


def test_types_that_fill_an_answer(upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_MAX_RESPONSE_BYTES", 100)
    assert upload.places() == [("error", "response size", PATTERN, "")]


@pytest.mark.parametrize(
    ("cell", "rows", "shown"),
    [
        ([False] * 2_048, 100, 16),  # as the viewer itself shows them
        (list(range(300)), 100, None),
        ("x" * 18_000, 100, 11),
        ("x" * 18_000, 10, None),
        (b"x" * 13_500, 100, 11),  # as base64
    ],
)
def test_long_rows_shorten_the_preview(upload: Upload, cell: Any, rows: int, shown: int | None) -> None:
    upload.write(rows_with([cell] * rows))
    findings = upload.findings()
    assert [finding.rule for finding in findings] == ([] if shown is None else ["preview rows"])
    assert all(f"found {shown} rows, expected 100 rows in 200 kB" in finding.message for finding in findings)


@pytest.mark.parametrize("declared", [True, False])
def test_pictures_are_links_in_the_preview(upload: Upload, declared: bool) -> None:
    """The viewer stores them beside the answer; what is only declared as a struct of bytes is in it."""
    cells = [{"bytes": b"\x89PNG" + bytes(30_000), "path": None}] * 20
    features = Features({"text": Value("string"), "picture": Image()})
    table = pa.table({"text": ["a"] * 20, "picture": pa.array(cells, Image().pa_type)})
    if declared:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features.to_dict()}})})
    upload.write(table)
    rules = [finding.rule for finding in upload.findings()]
    assert ("preview cells" in rules) is not declared


@pytest.mark.parametrize(("rows", "least"), [(100, 10), (8, 8)])
def test_rows_so_long_that_cells_are_cut(upload: Upload, rows: int, least: int) -> None:
    upload.write(rows_with(["x" * 30_000] * rows))
    assert upload.places() == [("error", "preview cells", PATTERN, "")]
    assert f"found 6 rows, expected {least} rows" in upload.finding().message


@pytest.mark.parametrize("write_statistics", [True, False])
@pytest.mark.parametrize(
    ("values", "type_", "where"),
    [
        ([{"a": [0, 2**63]}], pa.struct([("a", pa.list_(pa.uint64()))]), "x.a.list.element"),
        ([[2**63]], pa.list_(pa.uint64(), 1), "x.list.element"),
    ],
)
def test_integers_that_cannot_be_kept(
    upload: Upload, values: list[Any], type_: pa.DataType, where: str, write_statistics: bool
) -> None:
    """Nested ones too; with or without statistics in the footer."""
    upload.write(rows_with(values * 20, type_), write_statistics=write_statistics)
    assert upload.places() == [("error", "large integer", PATTERN, where)]
    assert f"found {2**63}, expected < 2**63" in upload.finding().message
    upload.write(rows_with([2**63 - 1, 2**63] * 10, pa.uint64()))
    assert ("error", "large integer", PATTERN, "x") in upload.places()


def test_largest_integer_that_can_be_kept(upload: Upload) -> None:
    upload.write(rows_with([[2**63 - 1]] * 20, pa.list_(pa.uint64())))
    assert upload.findings() == []


def test_lists_not_as_long_as_declared(upload: Upload) -> None:
    features = Features(Features.from_arrow_schema(sound().schema) | {"x": List(Value("int64"), length=3)})
    upload.declare(features, {"train": 20})
    upload.write(rows_with([[1, 2, 3]] * 20))
    assert upload.findings() == []
    upload.write(rows_with([[1, 2, 3]] * 19 + [[1]]))
    assert ("error", "fixed lists", PATTERN, "x") in upload.places()
    assert "found lengths 1 to 3, expected 3" in upload.findings()[0].message


def test_nothing_to_search(upload: Upload) -> None:
    upload.write(sound().drop_columns(["concept"]))
    assert upload.places() == [("error", "search", PATTERN, "")]


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([["a", "b", "c"]], pa.list_(pa.string())),
        ([{"a": [{"b": "c"}]}], None),
        (["a"], pa.large_string()),
        (["a"], pa.dictionary(pa.int8(), pa.string())),
    ],
)
def test_nested_text_is_searched(upload: Upload, values: list[Any], type_: pa.DataType | None) -> None:
    upload.write(rows_with(values * 20, type_).drop_columns(["concept"]))
    assert upload.findings() == []


def test_no_column_with_statistics(upload: Upload) -> None:
    """Structs, fixed-size lists, binary and dates have none."""
    columns_without = {
        "struct": pa.array([{"text": "a"}] * 20),
        "vector": pa.array([[1.0, 2.0]] * 20, pa.list_(pa.float32(), 2)),
        "bytes": pa.array([b"a"] * 20),
        "day": pa.array([datetime.date(2026, 1, 2)] * 20),
    }
    upload.write(pa.table(columns_without))
    assert upload.places() == [("error", "statistics", PATTERN, "")]
    upload.write(pa.table(columns_without | {"flag": pa.array([True] * 20)}))
    assert upload.findings() == []
    upload.write(pa.table(columns_without | {"time": pa.array([datetime.datetime(2026, 1, 2)] * 20)}))
    assert upload.findings() == []


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([Decimal("1.5")], pa.decimal128(5, 2)),
        ([datetime.timedelta(1)], pa.duration("s")),
        ([None], pa.null()),
        (["a"], pa.string_view()),
    ],
)
def test_types_that_croissant_leaves_out(upload: Upload, values: list[Any], type_: pa.DataType) -> None:
    upload.write(rows_with(values * 20, type_))
    assert upload.places() == [("note", "croissant", PATTERN, "x")]
