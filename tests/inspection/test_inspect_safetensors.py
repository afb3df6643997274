"""Safetensors headers: what they say is listed; what they say about places in the file is checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from circuit_artifacts.errors import FormatError
from circuit_artifacts.inspection import Entry, inspect


def write(path: Path, header: Any, data: bytes = bytes(8), length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def tensor(start: int, stop: int, dtype: str = "F32", shape: tuple[int, ...] = (1,)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


def test_tensors_and_metadata(tmp_path: Path) -> None:
    content = {"w": torch.zeros(2, 3, dtype=torch.bfloat16), "n": torch.tensor(5), "e": torch.zeros(0, 4)}
    save_file(content, tmp_path / "a.safetensors", metadata={"model": "pythia"})
    found = inspect(tmp_path / "a.safetensors")
    assert (found.format, found.facts["metadata"], found.facts["tensors"]) == ("safetensors", {"model": "pythia"}, 3)
    assert sorted(found.entries, key=lambda entry: entry.path) == [
        Entry("e", "tensor", "float32", (0, 4), 0),
        Entry("n", "tensor", "int64", (), 8),
        Entry("w", "tensor", "bfloat16", (2, 3), 12),
    ]


@pytest.mark.parametrize("length", [0x0280, 0x8B1F, 0x4B50], ids=["as a pickle", "as gzip", "as zip"])
def test_a_length_that_looks_like_another_format(tmp_path: Path, length: int) -> None:
    text = json.dumps({"w": tensor(0, 8, "I64")}).encode()
    path = write(tmp_path / "a.bin", text + b" " * (length - len(text)))
    assert inspect(path).format == "safetensors"


def test_types_of_later_versions_are_listed(tmp_path: Path) -> None:
    (entry,) = inspect(write(tmp_path / "a.safetensors", {"w": tensor(0, 8, "F7_NEW", (9,))})).entries
    assert (entry.dtype, entry.stored_bytes) == ("F7_NEW", 8)
    assert entry.note == "of a type that this version does not know"


@pytest.mark.parametrize(
    ("header", "length", "message"),
    [
        ({}, 1 << 62, "longer than it may be"),
        ({}, 200, "longer than it may be, or than the file .*200 bytes, expected at most 10"),
        (b"[]", None, "not a header"),
        (b"{'a': 1}", None, "not a header"),
        (b"\xff\xfe", None, "not a header"),
        ({"w": 3}, None, "not a header"),
        ({"w": {"dtype": "F32"}}, None, "not a header"),
        ({"w": tensor(-4, 0)}, None, "not a header"),
        ({"w": {**tensor(0, 4), "shape": [1.5]}}, None, "not a header"),
        ({"w": tensor(0, 8)}, None, "a.safetensors:w: .*as its shape needs .*expected 4 bytes"),
        ({"w": tensor(4, 0)}, None, "as its shape needs"),
        ({"w": tensor(8, 12)}, None, "w: the tensor ends outside the file.*up to 8"),
        ({"v": tensor(0, 8, "F64"), "w": tensor(4, 8)}, None, "w: the tensor overlaps"),
    ],
)
def test_headers_that_lie(tmp_path: Path, header: Any, length: int | None, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        inspect(write(tmp_path / "a.safetensors", header, length=length))


@pytest.mark.parametrize("keep", [1, 8, 30, -1])
def test_truncated_files(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"w": torch.zeros(20)}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FormatError) as caught:
        inspect(path)
    assert caught.value.file == str(path)


def test_a_deeply_nested_header(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="not a header"):
        inspect(write(tmp_path / "a.safetensors", b'{"w":' + b"[" * 200_000))
