"""CSV and parquet against row models: what is text stays text, what does not fit has a place."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from circuit_artifacts import provenance
from circuit_artifacts.errors import FormatError, MissingArtifactError, SchemaError
from circuit_artifacts.formats.reader import Request
from circuit_artifacts.formats.tabular import CsvReader, ParquetReader, read_csv, write_parquet
from circuit_artifacts.schemas.common import ArtifactModel
from circuit_artifacts.schemas.declaration import Family, Mirror, Split

SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("flag", pa.bool_(), nullable=False),
    ]
)
WORDS = [
    "null",
    "NA",
    "nan",
    "None",
    "True",
    "1",
    "1.5",
    "inf",
    "#N/A",
    "a,b",
    'say "x"',
    "line\nbreak",
    " padded ",
    "é",
]
texts = st.one_of(st.sampled_from(WORDS), st.text("abcNAnul,\"' é", min_size=1, max_size=8))
rows = st.tuples(
    texts, st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.booleans()
)
once_per_example = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def tabled(found: list[tuple[str, int, float, bool]]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in found], schema=SCHEMA)


class Row(ArtifactModel):
    name: str
    count: int
    value: float
    flag: bool


def request(reader: str = "csv", headers: dict[str, str] | None = None) -> Request:
    split = Split(name="train", row=Row, headers=headers or {})
    family = Family(name="toy", summary="", file="toy." + reader, reader="", splits=(split,))
    mirror = Mirror(name="toy", title="", families=(family,), n_layers=1, width=1, default_config="toy")
    return Request(mirror=mirror, config=family.configs[0], split=split)


@once_per_example
@given(st.lists(rows, min_size=1, max_size=6))
def test_csv_round_trip(tmp_path: Path, found: list[tuple[str, int, float, bool]]) -> None:
    # Holds down: "null" and "NA" read as missing, numbers guessed into text columns, floats that lose digits.
    path = tmp_path / "toy.csv"
    tabled(found).to_pandas().to_csv(path, index=False)
    assert read_csv(path, SCHEMA).to_pylist() == tabled(found).to_pylist()
    with path.open(newline="", encoding="utf-8") as stream:
        assert [line[0] for line in csv.reader(stream)][1:] == [row[0] for row in found]


@once_per_example
@given(st.lists(rows, max_size=40), st.integers(1, 7))
def test_parquet_shards_are_the_table(tmp_path: Path, found: list[tuple[str, int, float, bool]], group: int) -> None:
    path = tmp_path / "toy.parquet"
    pq.write_table(tabled(found), path, row_group_size=group)
    reader = ParquetReader(request("parquet"))
    shards = reader.shards(path)
    assert len(shards) == max(1, min(8, len(found)))
    parts = [[row for table in reader.tables(path, shard) for row in table.to_pylist()] for shard in shards]
    assert [row for part in parts for row in part] == tabled(found).to_pylist()
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_columns_may_come_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "toy.csv"
    path.write_text("flag,value,name,count\nTrue,2,null,3\n")
    table = read_csv(path, SCHEMA)
    assert table.schema == SCHEMA
    assert table.to_pylist() == [{"name": "null", "count": 3, "value": 2.0, "flag": True}]


def test_a_byte_order_mark_and_windows_lines_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "toy.csv"
    path.write_bytes(b"\xef\xbb\xbfname,count,value,flag\r\nNA,1,2.5,False\r\n")
    assert read_csv(path, SCHEMA).to_pylist() == [{"name": "NA", "count": 1, "value": 2.5, "flag": False}]


def test_headers_may_differ_from_columns(tmp_path: Path) -> None:
    path = tmp_path / "toy.csv"
    path.write_text(",count,value,flag\nx,1,2.5,False\n")
    reader = CsvReader(request(headers={"name": ""}))
    assert reader.read(path).to_pylist() == [{"name": "x", "count": 1, "value": 2.5, "flag": False}]


HEADER = "name,count,value,flag\n"


@pytest.mark.parametrize(
    ("text", "error", "pattern"),
    [
        ("name,count,value\nx,1,2\n", SchemaError, r"header.*missing \['flag'\]"),
        ("name,count,value,flag,more\nx,1,2,True,3\n", SchemaError, r"unexpected \['more'\]"),
        ("name,count,value,flag,flag\nx,1,2,True,True\n", SchemaError, "flag"),
        ("", SchemaError, "missing"),
        (HEADER + "x,1.5,2,True\n", SchemaError, r"1\.5"),
        (HEADER + "x,99999999999999999999,2,True\n", SchemaError, "99999999999999999999"),
        (HEADER + "x,1,two,True\n", SchemaError, "two"),
        (HEADER + "x,1,2,perhaps\n", SchemaError, "perhaps"),
        (HEADER + "x,,2,True\n", SchemaError, "count, row 0.*null"),
        (HEADER + "x,1,2,True\ny,1\n", FormatError, "Expected 4 columns"),
    ],
)
def test_faults_have_a_place(tmp_path: Path, text: str, error: type[Exception], pattern: str) -> None:
    path = tmp_path / "toy.csv"
    path.write_text(text)
    with pytest.raises(error, match=f"(?s){pattern}") as caught:
        read_csv(path, SCHEMA)
    assert caught.value.file == str(path)


def test_no_text_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "toy.csv"
    path.write_bytes(HEADER.encode() + b"\xff\xfe,1,2,True\n")
    with pytest.raises((FormatError, SchemaError)) as caught:
        read_csv(path, SCHEMA)
    assert caught.value.file == str(path)
    with pytest.raises(MissingArtifactError):
        read_csv(tmp_path / "none.csv", SCHEMA)
    with pytest.raises(MissingArtifactError):
        ParquetReader(request("parquet")).shards(tmp_path / "none.parquet")


def test_empty_text_is_null_only_where_the_model_allows_it(tmp_path: Path) -> None:
    path = tmp_path / "toy.csv"
    path.write_text("name,value\nx,\n,1\n")
    nullable = pa.schema([("name", pa.string()), ("value", pa.float64())])
    assert read_csv(path, nullable)["value"].to_pylist() == [None, 1.0]


def test_parquet_types_that_lose_nothing_are_cast(tmp_path: Path) -> None:
    path = tmp_path / "toy.parquet"
    table = tabled([("x", 1, 2.0, True)])
    narrow = table.set_column(1, "count", table["count"].cast(pa.int16()))
    large = narrow.set_column(0, "name", narrow["name"].cast(pa.large_string()))
    pq.write_table(large, path)
    (found,) = ParquetReader(request("parquet")).tables(path, 0)
    assert found.schema == SCHEMA
    assert found.to_pylist() == table.to_pylist()


def test_parquet_faults_name_column_and_row(tmp_path: Path) -> None:
    path = tmp_path / "toy.parquet"
    reader = ParquetReader(request("parquet"))
    table = tabled([("x", number, 2.0, True) for number in range(30)])
    counts = table["count"].to_pylist()
    pq.write_table(table.set_column(1, "count", pa.array([*counts[:17], None, *counts[18:]])), path, row_group_size=4)
    with pytest.raises(SchemaError, match="count, row 17"):
        [list(reader.tables(path, shard)) for shard in reader.shards(path)]
    pq.write_table(table.set_column(1, "count", pa.array(np.arange(30) + 0.5)), path)
    with pytest.raises(SchemaError, match="count: a column has another type"):
        list(reader.tables(path, 0))


def test_parquet_carries_provenance(tmp_path: Path) -> None:
    path = tmp_path / "toy.parquet"
    record = provenance.Provenance(mirror="toy", step="test", width=3)
    write_parquet(tabled([("x", 1, 2.0, True)]), path, record)
    assert provenance.read(path) == record
    file = pq.ParquetFile(path)
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert file.metadata.row_group(0).column(0).has_offset_index
    file.close()
