"""CSV, JSON and JSON lines: columns and keys with their types, from a bounded part of the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from circuit_artifacts.errors import FormatError
from circuit_artifacts.inspection import Entry, inspect, json_text, tables


def test_columns_of_a_csv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,name,score,ok,none\n1,"a, ""b""\nc",0.5,true,\n2,x,3,false,\n')
    found = inspect(tmp_path / "a.csv")
    assert (found.format, found.facts) == ("csv", {"delimiter": ",", "rows_read": 2, "all_rows_read": True})
    assert [(entry.path, entry.dtype) for entry in found.entries] == [
        ("id", "int64"),
        ("name", "string"),
        ("score", "double"),
        ("ok", "bool"),
        ("none", "null"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "delimiter"),
    [("a.tsv", "a\tb,c\n1\t2\n", "\t"), ("a.csv", "a;b,c;d\n1;2;3\n", ";"), ("a.csv", "\ufeffa|b\n1|2\n", "|")],
)
def test_delimiters(tmp_path: Path, name: str, text: str, delimiter: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = inspect(tmp_path / name)
    assert found.facts["delimiter"] == delimiter
    assert found.entries[0] == Entry("a", "column", "int64")


def test_only_the_start_of_a_long_csv_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample may end inside a quoted line break."""
    monkeypatch.setattr(tables, "_SAMPLE_BYTES", 1000)
    (tmp_path / "a.csv").write_text("a,b\n" + '1,"x\ny\nz"\n' * 1000)
    found = inspect(tmp_path / "a.csv")
    assert not found.facts["all_rows_read"]
    assert 50 < found.facts["rows_read"] < 100
    assert [entry.dtype for entry in found.entries] == ["int64", "string"]


def test_a_header_alone(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n")
    found = inspect(tmp_path / "a.csv")
    assert (found.facts["rows_read"], [entry.path for entry in found.entries]) == (0, ["a", "b"])


@pytest.mark.parametrize("content", [b"a,b\n1,2\n1,2,3\n", b"\n\n\n", b"a,\xff\n1,2\n", b'a,b\n"1,2\n'])
def test_tables_that_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.csv: not a table"):
        inspect(tmp_path / "a.csv")


def test_keys_of_a_json(tmp_path: Path) -> None:
    items = [{"token": "a", "act": 1}, {"token": "b", "act": 0.5, "extra": None}]
    (tmp_path / "a.json").write_text(json.dumps({"layer": 3, "items": items, "d": {"e": {"f": {"g": {"h": 1}}}}}))
    found = inspect(tmp_path / "a.json")
    assert found.format == "json"
    assert found.entries == (
        Entry("/", "object"),
        Entry("layer", "integer"),
        Entry("items", "array", shape=(2,)),
        Entry("items/[]", "object"),
        Entry("items/[]/token", "string"),
        Entry("items/[]/act", "integer | number"),
        Entry("items/[]/extra", "null", note="in 1 of 2"),
        Entry("d", "object"),
        Entry("d/e", "object"),
        Entry("d/e/f", "object"),
        Entry("d/e/f/g", "object"),
    )


def test_arrays_of_arrays_and_many_keys(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([[1, 2], [3], {str(number): number for number in range(1500)}]))
    found = inspect(tmp_path / "a.json")
    assert found.entries[0] == Entry("/", "array", shape=(3,))
    assert found.entries[1].kind == "array | object"
    assert found.entries[1].note == "1,500 keys, of which 1,000 are listed; lengths 1 to 2"
    assert len(found.entries) == 2 + 1000 + 1


def test_a_large_json_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "_LARGEST", 10)
    (tmp_path / "a.json").write_text('{"a": [\n1, 2, 3]}')
    assert inspect(tmp_path / "a.json").entries == (Entry("/", "unknown", note="not read: larger than 10 bytes"),)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.txt"])
def test_json_lines_by_content(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"a": 1}\n\n{"a": null, "b": [1]}\n' + '{"a": 2}\n' * 200)
    found = inspect(tmp_path / name)
    assert (found.format, found.facts["lines_read"], found.facts["all_lines_read"]) == ("jsonl", 99, False)
    assert found.entries == (
        Entry("a", "integer | null"),
        Entry("b", "array", shape=(1,), note="in 1 of 99"),
        Entry("b/[]", "integer"),
    )


def test_one_line_of_json_lines(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n')
    found = inspect(tmp_path / "a.jsonl")
    assert (found.format, found.facts) == ("jsonl", {"lines_read": 1, "all_lines_read": True})


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("a.json", b'{"a": [1, 2', None),
        ("a.json", b"[" * 100_000, None),
        ("a.json", b'{"a": \xff}', None),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', "line 2"),
        ("a.jsonl", b'{"a": 1}\n"' + b"x" * (2 << 20), "line 2"),
    ],
)
def test_json_that_is_none(tmp_path: Path, name: str, content: bytes, where: str | None) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match="not JSON") as caught:
        inspect(tmp_path / name)
    assert (caught.value.file, caught.value.where) == (str(tmp_path / name), where)
