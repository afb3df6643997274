"""Parquet footers: columns, row groups, and what shapes the viewer's requests."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from circuit_artifacts import provenance
from circuit_artifacts.errors import FormatError
from circuit_artifacts.inspection import inspect

TABLE = pa.table(
    {
        "a": pa.array([1, 2, 3], pa.int32()),
        "a.b": pa.array([[1], [], [2, 3]], pa.list_(pa.uint16())),
        "s": pa.array([{"x": 1.5, "y": ["t"]}] * 3),
        "d": pa.array(["u", "v", "u"]).dictionary_encode(),
    },
    schema=pa.schema(
        [
            pa.field("a", pa.int32(), nullable=False, metadata={"unit": "nats"}),
            pa.field("a.b", pa.list_(pa.uint16())),
            pa.field("s", pa.struct({"x": pa.float64(), "y": pa.list_(pa.string())})),
            pa.field("d", pa.dictionary(pa.int32(), pa.string())),
        ],
        metadata={"huggingface": "{}"},
    ),
)


def test_columns_and_facts(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet", row_group_size=2, compression="zstd", write_page_index=True)
    found = inspect(tmp_path / "a.parquet")
    assert found.format == "parquet"
    assert [(entry.path, entry.dtype, entry.shape) for entry in found.entries] == [
        ("a", "int32", (3,)),
        ("a.b", "list<element: uint16>", (3,)),
        ("s", "struct<x: double, y: list<element: string>>", (3,)),
        ("d", "dictionary<values=string, indices=int32, ordered=0>", (3,)),
    ]
    assert (found.entries[0].attributes["unit"], found.entries[0].note) == ("nats", "not nullable")
    footer = pq.read_metadata(tmp_path / "a.parquet")
    sizes = [[footer.row_group(g).column(c).total_compressed_size for c in range(5)] for g in range(2)]
    assert [entry.stored_bytes for entry in found.entries] == [
        sum(row[0] for row in sizes),
        sum(row[1] for row in sizes),
        sum(row[2] + row[3] for row in sizes),
        sum(row[4] for row in sizes),
    ]
    assert found.facts == {
        "rows": 3,
        "row_groups": 2,
        "largest_row_group_rows": 2,
        "largest_row_group_bytes": max(map(sum, sizes)),
        "compression": {"ZSTD": 10},
        "page_index": "10 of 10 column chunks",
        "created_by": footer.created_by,
        "format_version": "2.6",
        "metadata": {"huggingface": "{}"},
    }


def test_our_own_record_is_shown_once(tmp_path: Path) -> None:
    record = provenance.Provenance(mirror="csp-atlas-mini", step="masks")
    table = TABLE.replace_schema_metadata({provenance.KEY: record.embedded()})
    pq.write_table(table, tmp_path / "a.parquet")
    found = inspect(tmp_path / "a.parquet")
    assert found.facts["provenance"]["step"] == "masks"
    assert found.facts["metadata"] == {}
    provenance.write_sidecar(tmp_path / "a.parquet", record)
    assert inspect(tmp_path / "a.parquet").facts["provenance"]["date"]
    provenance.sidecar(tmp_path / "a.parquet").write_text("{}")
    assert inspect(tmp_path / "a.parquet").facts["provenance"] == "a record that cannot be understood"


@pytest.mark.parametrize("keep", [4, 40, -1, -20])
def test_truncated_files(tmp_path: Path, keep: int) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:keep])
    with pytest.raises(FormatError, match="truncated or damaged") as caught:
        inspect(tmp_path / "a.parquet")
    assert caught.value.file == str(tmp_path / "a.parquet")


def test_a_damaged_footer(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet")
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[-200:-150] = b"\xff" * 50
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(FormatError):
        inspect(tmp_path / "a.parquet")
