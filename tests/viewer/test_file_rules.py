"""Rules on parquet files: each folder is broken in one way, and exactly that is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from viewer_upload import FILE, PATTERN, Upload, config, rows_with, sound

from circuit_artifacts.viewer import files

SECOND = "masks/train-00001-of-00002.parquet"
TEST = config("masks", train=PATTERN, test="masks/test.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"concept,layer\nFor,1\n" * 20])
def test_not_parquet(upload: Upload, content: bytes) -> None:
    (upload.folder / FILE).write_bytes(content)
    assert upload.places() == [("error", "readable", FILE, "")]


def test_cut_short(upload: Upload) -> None:
    path = upload.folder / FILE
    path.write_bytes(path.read_bytes()[:-100])
    assert upload.places() == [("error", "readable", FILE, "")]


def test_damaged_behind_a_sound_footer(upload: Upload) -> None:
    path = upload.write(sound(), compression="zstd")
    chunk = pq.read_metadata(path).row_group(0).column(0)
    content = bytearray(path.read_bytes())
    content[4 : 4 + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    path.write_bytes(content)
    assert upload.places() == [("error", "readable", FILE, "")]


def test_text_that_is_not_utf8(upload: Upload) -> None:
    broken = pa.Array.from_buffers(pa.utf8(), 20, pa.array([b"\xff\xfe"] * 20).buffers())
    upload.write(rows_with(broken))
    assert upload.places() == [("error", "readable", PATTERN, "")]
    assert "not UTF-8" in upload.finding().message


def test_two_columns_of_one_name(upload: Upload) -> None:
    upload.write(sound().append_column("layer", sound()["layer"]))
    assert upload.places() == [("error", "readable", FILE, "layer")]


def test_one_damaged_split_hides_no_other(upload: Upload) -> None:
    upload.write_card(configs=[TEST])
    (upload.folder / FILE).write_bytes(b"x")
    upload.write(rows_with([0, 1] * 10), "masks/test.parquet")
    assert [place[:3] for place in upload.places()] == [
        ("error", "readable", FILE),
        ("error", "neighbouring values", "masks/test.parquet"),
    ]


def test_too_many_files(upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_MAX_FILES", 1)
    upload.write(sound(), SECOND)
    assert upload.places() == [("error", "file count", PATTERN, "")]
    assert "found 2, expected <= 1" in upload.finding().message


def test_no_rows(upload: Upload) -> None:
    upload.write(sound().slice(0, 0))
    assert upload.places() == [("error", "empty split", PATTERN, "")]


def test_one_empty_file_of_two_is_no_empty_split(upload: Upload) -> None:
    upload.write(sound().slice(0, 0), SECOND)
    assert upload.findings() == []


@pytest.mark.parametrize(
    ("type_", "found"),
    [
        (pa.map_(pa.string(), pa.int64()), "found map<string, int64"),
        (pa.binary(4), "found fixed_size_binary[4]"),
        (pa.list_(pa.binary(4)), "found list<element: fixed_size_binary[4]>"),
        (pa.struct([("a", pa.binary(4))]), "found struct<a: fixed_size_binary[4]>"),
    ],
    ids=str,
)
def test_types_without_a_feature(upload: Upload, type_: pa.DataType, found: str) -> None:
    upload.write(rows_with(pa.nulls(20, type_)))
    assert upload.places() == [("error", "column type", FILE, "x")]
    assert found in upload.finding().message


@pytest.mark.parametrize(
    ("megabytes", "expected"),
    [(99, []), (101, [("error", "row group")]), (301, [("error", "row group")])],
)
def test_row_groups(
    upload: Upload, monkeypatch: pytest.MonkeyPatch, megabytes: int, expected: list[tuple[str, str]]
) -> None:
    """Sizes scaled: a second row group stands for one of hundreds of megabytes."""
    table = pa.concat_tables([sound(20), sound(4_000)]).combine_chunks()
    with pq.ParquetWriter(upload.folder / FILE, table.schema, write_page_index=True) as writer:
        writer.write_table(table.slice(0, 20))
        writer.write_table(table.slice(20))
        writer.add_key_value_metadata({"use_content_defined_chunking": "true"})
    measured = files.compressed_bytes
    scale = megabytes * 1e6 / measured(pq.read_metadata(upload.folder / FILE).row_group(1))
    monkeypatch.setattr(files, "compressed_bytes", lambda group: round(measured(group) * scale))
    findings = upload.findings()
    assert [(finding.level, finding.rule) for finding in findings] == expected
    assert all(finding.where == "row group 1" for finding in findings)
    assert all(f"found {megabytes} MB compressed" in finding.message for finding in findings)


def test_compressed_bytes_are_those_in_the_file(upload: Upload) -> None:
    path = upload.write(rows_with(np.random.default_rng(0).random(100_000)), compression="none", use_dictionary=False)
    size = files.compressed_bytes(pq.read_metadata(path).row_group(0))
    assert 0.95 * path.stat().st_size < size < path.stat().st_size


def test_no_page_index(upload: Upload) -> None:
    upload.write(sound(), write_page_index=False)
    assert upload.places() == [("error", "page index", FILE, "concept")]
    assert "found 5 of 5 columns" in upload.finding().message


@pytest.mark.parametrize("value", ["content_defined_chunking", None])
def test_no_badge_without_its_key(upload: Upload, value: str | None) -> None:
    """`datasets` writes another key than the one that the viewer looks for."""
    metadata = {value: "{}"} if value else None
    pq.write_table(sound().replace_schema_metadata(metadata), upload.folder / FILE, write_page_index=True)
    upload.write(sound(), SECOND)
    assert upload.places() == [("note", "optimized-parquet badge", FILE, "")]
    assert "1 of 2 files" in upload.finding().message


@pytest.mark.parametrize("name", [SECOND, "masks/test.parquet"])
@pytest.mark.parametrize(
    ("table", "where", "message"),
    [
        (sound().drop_columns(["kept"]), "", "only in one of them: kept"),
        (rows_with(["text"] * 20), "", "only in one of them: x"),
        (sound().set_column(1, "layer", pa.array(["0"] * 20)), "layer", "found string, expected int32"),
        (sound().set_column(4, "active", pa.array([2.5] * 20)), "active", "found double, expected list"),
    ],
)
def test_files_of_a_config_have_the_same_columns(
    upload: Upload, name: str, table: pa.Table, where: str, message: str
) -> None:
    """Among the files of a split, and between splits, of which `datasets` knows one set of features."""
    upload.write_card(configs=[TEST] if name != SECOND else upload.card["configs"])
    upload.write(table, name)
    assert upload.places() == [("error", "same columns", name, where)]
    assert message in upload.finding().message


def test_columns_in_another_order_and_castable_types_are_alike(upload: Upload) -> None:
    def recast(table: pa.Table, **types: Any) -> pa.Table:
        schema = pa.schema([field.with_type(types.get(field.name, field.type)) for field in table.schema])
        return table.cast(schema)

    upload.write(recast(sound(), layer=pa.int64(), score=pa.float32()).select(sound().column_names[::-1]), SECOND)
    assert upload.findings() == []
