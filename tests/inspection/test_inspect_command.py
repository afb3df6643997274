"""``circuit-artifacts inspect``: recognition, the table, JSON, and one line for a broken file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
from rich.console import Console

from circuit_artifacts import cli, display
from circuit_artifacts.errors import FormatError, MissingArtifactError
from circuit_artifacts.inspection import Entry, inspect, view


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["circuit-artifacts", "inspect", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        code = exit_.value.code
        return Result(code if isinstance(code, int) else int(code is not None), *capfd.readouterr())

    return call


Run = Callable[..., Result]


def test_a_table(run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=np.zeros((2, 3)), o=np.array([None]))
    code, out, err = run(tmp_path / "a.npz")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{tmp_path / 'a.npz'}: npz, {(tmp_path / 'a.npz').stat().st_size:,} bytes"
    assert lines[1:4] == [
        "members: 2",
        f"declared bytes: {176 + inspect(tmp_path / 'a.npz').entries[1].stored_bytes}",
        "zip64: false",
    ]
    assert [line.split()[:5] for line in lines[4:6]] == [
        ["path", "kind", "dtype", "shape", "bytes"],
        ["w", "array", "float64", "(2,", "3)"],
    ]
    assert lines[6].endswith("Python objects: pickled, never loaded")


def test_json_of_several_files(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 3)))
    (tmp_path / "b.csv").write_text("x\n1\n")
    found = json.loads(run(tmp_path / "a.npy", tmp_path / "b.csv", "--json").out)
    assert [item["format"] for item in found] == ["npy", "csv"]
    assert found[0] == {
        "file": str(tmp_path / "a.npy"),
        "format": "npy",
        "bytes": 176,
        "facts": {},
        "entries": [
            {"path": "/", "kind": "array", "dtype": "float64", "shape": [2, 3], "stored_bytes": 176}
            | {"attributes": {}, "note": ""}
        ],
    }


def test_a_broken_file_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and no more")
    code, out, err = run(tmp_path / "a.npz")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {tmp_path / 'a.npz'}: the archive is truncated or damaged")
    assert err.count("\n") == 1


def test_a_missing_file(run: Run, tmp_path: Path) -> None:
    assert run(tmp_path / "absent.h5")[0] == 1
    with pytest.raises(MissingArtifactError):
        inspect(tmp_path / "absent.h5")


def test_names_do_not_reach_the_terminal_as_they_are(run: Run, tmp_path: Path) -> None:
    """A name can hold escape sequences, or bytes that are no text."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        h5py.h5d.create(file.id, b"\x1b[31mred\xff", h5py.h5t.NATIVE_INT8, h5py.h5s.create(h5py.h5s.SCALAR))
    code, out, _ = run(tmp_path / "a.h5")
    assert code == 0
    assert "\\x1b[31mred\\udcff" in out
    assert "\x1b" not in out


def test_a_narrow_terminal(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", a_rather_long_name_of_an_array=np.array([None]))
    monkeypatch.setattr(display, "OUT", Console(force_terminal=True, width=60, color_system=None))
    out = run(tmp_path / "a.npz").out
    assert "a_rather_long_name_of_an_array" in out
    assert "Not shown here: attributes, note" in out


def test_siblings_share_a_row() -> None:
    """21,694 masks are a handful of rows."""
    entries = [
        Entry(
            f"masks/layer_{layer}/word{chr(97 + i % 26)}{chr(97 + i // 26)}", "dataset", "bool", (2048,), 10, {"n": i}
        )
        for layer in range(8)
        for i in range(200)
    ]
    entries += [Entry(f"names/{i}", "dataset", "string", (i, 5), 1) for i in range(50)]
    found = view.rows(entries)
    assert len(found) == 9
    assert found[0] == {
        "path": "masks/layer_0/…",
        "entries": 200,
        "kind": "dataset",
        "dtype": "bool",
        "shape": "(2048,)",
        "bytes": 2000,
        "attributes": "n",
    }
    assert (found[8]["path"], found[8]["entries"], found[8]["shape"]) == ("names/…", 50, "(0…49, 5)")


def test_numbered_names_share_a_row_by_what_follows() -> None:
    """One group per sample, or one per layer of a model."""
    entries = [Entry(f"demo_{i}/{name}", "dataset", "f4", (3,), 12) for i in range(100) for name in ("obs", "act")]
    assert [(row["path"], row["entries"]) for row in view.rows(entries)] == [("demo_#/obs", 100), ("demo_#/act", 100)]


def test_few_entries_have_a_row_each() -> None:
    entries = [Entry(f"a{i}", "tensor", "f4", (3,)) for i in range(40)]
    assert [row["path"] for row in view.rows(entries)] == [entry.path for entry in entries]
    assert list(view.rows(entries)[0]) == ["path", "kind", "dtype", "shape"]


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".pt", ".csv", ".parquet", ".safetensors", ""])
def test_the_content_decides(tmp_path: Path, suffix: str) -> None:
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    path = (tmp_path / "a.npz").rename(tmp_path / f"b{suffix}")
    found = inspect(path)
    assert found.format == "npz"
    promised = {".h5": "hdf5", ".pt": "torch"}.get(suffix, suffix.removeprefix("."))
    expected = {"name": f"the name says {promised}, the content is npz"} if suffix not in {"", ".npz"} else {}
    assert {name: value for name, value in found.facts.items() if name == "name"} == expected


@pytest.mark.parametrize("suffix", [".h5", ".parquet", ".npz", ".pt", ".safetensors", ".csv", ".json", ".bin"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"\x1f\x8b\x08\x00abc", "gzip"),
    ],
)
def test_what_is_often_found_instead_is_named(tmp_path: Path, suffix: str, content: bytes, message: str) -> None:
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(FormatError, match=message):
        inspect(tmp_path / f"a{suffix}")


def test_unknown_content(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"a,b\n1,2\n")
    with pytest.raises(FormatError, match=r"listed here \(found it starts with b'a,b.*expected hdf5, "):
        inspect(tmp_path / "a.h5")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError):
        inspect(tmp_path)
