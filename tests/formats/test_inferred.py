"""Tables of undeclared files: every value as it is in the file, whatever its neighbours look like."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from circuit_artifacts.errors import CircuitArtifactsError, FormatError, SchemaError
from circuit_artifacts.formats import inferred
from circuit_artifacts.formats.hdf5.inferred import HDF5Table
from circuit_artifacts.formats.inferred import CsvTable, InferredTable, JsonLines, ParquetTable

REQUEST: Any = None  # says nothing about the columns


def read(reader: type[InferredTable], path: Path) -> pa.Table:
    table = reader(REQUEST)
    schema = table.schema(path)
    tables = [part for shard in table.shards(path) for part in table.tables(path, shard)]
    assert all(part.schema.equals(schema) for part in tables)
    return pa.concat_tables(tables) if tables else schema.empty_table()


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "-2", ""], pa.int64(), [1, -2, None]),
        (["1", "2.5", ""], pa.float64(), [1.0, 2.5, None]),
        (["true", "False"], pa.bool_(), [True, False]),
        (["0", "1"], pa.int64(), [0, 1]),
        (["1", "NA"], pa.string(), ["1", "NA"]),
        (["null", "1.5"], pa.string(), ["null", "1.5"]),
        (["True", "1"], pa.string(), ["True", "1"]),
        (["", ""], pa.string(), ["", ""]),
        (["2020-01-01", "2020-01-02"], pa.string(), ["2020-01-01", "2020-01-02"]),
        (["9223372036854775808", "1"], pa.string(), ["9223372036854775808", "1"]),
        (['"two\nlines, ""quoted"""', "é"], pa.string(), ['two\nlines, "quoted"', "é"]),
    ],
)
def test_types_of_csv(tmp_path: Path, cells: Sequence[str], kind: pa.DataType, values: list[Any]) -> None:
    lines = "".join(f"{row},{cell}\n" for row, cell in enumerate(cells))
    table = read(CsvTable, write(tmp_path / "x.csv", f"row,cell\n{lines}"))
    assert table.schema.field("cell").type == kind
    assert table["cell"].to_pylist() == values


def test_the_last_line_of_a_long_csv_decides(tmp_path: Path) -> None:
    """Arrow's own stream takes types from the first block and fails on what comes later."""
    text = "a,b\n" + "1,line one\n" * 600_000 + 'x,"line\ntwo"\n'
    table = read(CsvTable, write(tmp_path / "x.csv", text))
    assert table.schema.types == [pa.string(), pa.string()]
    assert table.slice(599_999).to_pylist() == [{"a": "1", "b": "line one"}, {"a": "x", "b": "line\ntwo"}]


def test_a_column_without_a_name_gets_one(tmp_path: Path) -> None:
    assert read(CsvTable, write(tmp_path / "x.csv", ",a\n7,x\n")).to_pylist() == [{"column_0": 7, "a": "x"}]


def test_a_csv_of_a_header_only(tmp_path: Path) -> None:
    assert read(CsvTable, write(tmp_path / "x.csv", "a,b\n")).to_pydict() == {"a": [], "b": []}


@pytest.mark.parametrize("text", ["", "a,b\n1\n", "a,a\n1,2\n", "a\n\udcff\n"])
def test_what_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CircuitArtifactsError) as caught:
        read(CsvTable, tmp_path / "x.csv")
    assert caught.value.file == str(tmp_path / "x.csv")


def test_json_of_all_lines_makes_the_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are read apart; a column that comes late is null before, and numbers widen."""
    monkeypatch.setattr(inferred, "_BLOCK_BYTES", 1)
    rows: list[dict[str, Any]] = [
        {"n": 1, "when": "2020-01-01", "s": {"a": [1]}},
        {"n": 2.5, "when": "hello", "s": {"a": [], "b": "x"}},
        {"new": True},
    ]
    path = write(tmp_path / "x.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n")
    assert read(JsonLines, path).to_pylist() == [
        {"n": 1.0, "when": "2020-01-01", "s": {"a": [1], "b": None}, "new": None},
        {"n": 2.5, "when": "hello", "s": {"a": [], "b": "x"}, "new": None},
        {"n": None, "when": None, "s": None, "new": True},
    ]


def test_times_in_json_stay_text(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", '{"when": "2020-01-01", "in": {"t": ["2020-01-01 00:00:00"]}}\n')
    assert read(JsonLines, path).to_pylist() == [{"when": "2020-01-01", "in": {"t": ["2020-01-01 00:00:00"]}}]


def test_json_values_that_do_not_go_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.jsonl", '{"a": 1}\n{"a": "x"}\n')
    with pytest.raises(FormatError, match=r"x\.jsonl.*number to string"):
        read(JsonLines, path)
    monkeypatch.setattr(inferred, "_BLOCK_BYTES", 1)
    with pytest.raises(SchemaError, match=r"x\.jsonl: values of one column"):
        read(JsonLines, path)


@pytest.mark.parametrize("text", ["", "\n", "[1]\n", '{"a": 1}\n{"a"'])
def test_what_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(CircuitArtifactsError, match=r"x\.jsonl"):
        read(JsonLines, write(tmp_path / "x.jsonl", text))


def test_parquet_types_that_datasets_has_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inferred, "_TABLE_BYTES", 1)
    table = pa.table(
        {
            "category": pa.array(["a", None, "a"]).dictionary_encode(),
            "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
            "fixed": pa.array([b"ab", None, b"cd"], pa.binary(2)),
            "inside": pa.array([[{"f": b"xyz"}], [], None], pa.list_(pa.struct({"f": pa.binary(3)}))),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=2)
    found = read(ParquetTable, tmp_path / "x.parquet")
    assert [str(kind) for kind in found.schema.types] == [
        "string",
        "list<item: struct<key: string, value: int64>>",
        "binary",
        "list<item: struct<f: binary>>",
    ]
    assert found.to_pylist() == [
        {"category": "a", "map": [{"key": "k", "value": 1}], "fixed": b"ab", "inside": [{"f": b"xyz"}]},
        {"category": None, "map": None, "fixed": None, "inside": []},
        {"category": "a", "map": [], "fixed": b"cd", "inside": None},
    ]


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"x\.parquet"):
        read(ParquetTable, write(tmp_path / "x.parquet", "PAR1"))


def test_hdf5_keeps_its_attributes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["values"] = np.arange(3.0)
        file.attrs["who"] = "me"
    rows = read(HDF5Table, tmp_path / "x.h5").to_pylist()
    assert [row["values"] for row in rows] == [0.0, 1.0, 2.0]
    assert json.loads(rows[0]["attrs"]) == {"/": {"who": "me"}}


def test_json_lines_with_numbers_that_only_a_float_could_hold_are_refused(tmp_path: Path) -> None:
    # Holds down: 9223372036854775809 read as 9223372036854775808.0.
    held = [{"a": 2**63 - 1, "b": "[99999999999999999999]"}, {"a": -(2**63), "b": '\\",99999999999999999999]'}]
    path = write(tmp_path / "x.jsonl", "\n".join(map(json.dumps, held)))
    assert read(JsonLines, path).to_pylist() == held
    for row in ({"a": 2**63 + 1}, {"a": [1, -(2**64)]}, {"x": {"a": 10**30}}):
        path = write(tmp_path / "x.jsonl", json.dumps(row) + "\n")
        with pytest.raises(SchemaError, match=r"x\.jsonl: a whole number does not fit"):
            read(JsonLines, path)
