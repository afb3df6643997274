"""Npz, npy and other archives listed: directory and headers, with what is doubtful about them."""

from __future__ import annotations

import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from circuit_artifacts.errors import FormatError
from circuit_artifacts.inspection import Entry, inspect


def test_arrays_of_an_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=np.zeros((2, 3), ">f4"), f=np.asfortranarray(np.ones((2, 2))), s=np.array("ä"))
    found = inspect(tmp_path / "a.npz")
    assert (found.format, found.bytes) == ("npz", (tmp_path / "a.npz").stat().st_size)
    assert found.facts == {"members": 3, "declared_bytes": 152 + 160 + 132, "zip64": False}
    assert found.entries == (
        Entry("w", "array", ">f4", (2, 3), 152),
        Entry("f", "array", "float64", (2, 2), 160, note="Fortran order"),
        Entry("s", "array", "<U1", (), 132),
    )


def test_pickled_members_are_named_and_not_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", objects=np.array([print, None]))
    (entry,) = inspect(tmp_path / "a.npz").entries
    assert (entry.dtype, entry.shape, entry.note) == ("object", (2,), "Python objects: pickled, never loaded")


def test_a_bomb_is_listed_without_inflating_it(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", zeros=np.zeros((100, 1 << 20), dtype=bool))
    tracemalloc.start()
    found = inspect(tmp_path / "a.npz")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 << 20
    assert found.facts["declared_bytes"] == (100 << 20) + 128
    assert found.entries[0].shape == (100, 1 << 20)
    assert 100_000 < found.entries[0].stored_bytes < found.bytes < 110_000


def test_doubtful_members_are_noted(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    array = (tmp_path / "x.npy").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("../x.npy", array)
        file.writestr("short.npy", array[:-8])
        file.writestr("bzip.npy", array, zipfile.ZIP_BZIP2)
        file.writestr("notes.txt", "hello")
        for _ in range(2):
            with np.testing.suppress_warnings() as quiet:
                quiet.filter(UserWarning)
                file.writestr("twice.npy", array)
    notes = [(entry.path, entry.kind, entry.note) for entry in inspect(tmp_path / "a.npz").entries]
    assert notes == [
        ("../x", "array", "its name leads out of the archive"),
        ("short", "array", "144 bytes where its header promises 152"),
        ("bzip.npy", "member", "compressed by method 12, which is not read"),
        ("notes.txt", "member", ""),
        ("twice", "array", "one of several members of this name"),
        ("twice", "array", "one of several members of this name"),
    ]


def test_an_impossible_size_is_noted(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.zeros(10))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = (1 << 30).to_bytes(4, "little")
    (tmp_path / "a.npz").write_bytes(data)
    (entry,) = inspect(tmp_path / "a.npz").entries
    assert "declares 1,073,741,824 bytes, more than 208 can expand to" in entry.note


def test_zip64_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    np.savez(tmp_path / "a.npz", a=np.zeros(10))
    monkeypatch.undo()
    found = inspect(tmp_path / "a.npz")
    assert found.facts["zip64"]
    assert found.entries == (Entry("a", "array", "float64", (10,), 208),)


def test_a_member_without_a_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("x", "content")
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes().replace(b"x", b"\0"))
    assert inspect(tmp_path / "a.zip").entries == (Entry("", "member", stored_bytes=7),)


def test_an_empty_npz_and_a_plain_zip(tmp_path: Path) -> None:
    np.savez(tmp_path / "empty.npz")
    assert (inspect(tmp_path / "empty.npz").format, inspect(tmp_path / "empty.npz").entries) == ("npz", ())
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as file:
        file.writestr("src/", "")
        file.writestr("src/a.py", "x = 1")
    found = inspect(tmp_path / "code.zip")
    assert found.format == "zip"
    assert [(entry.path, entry.kind) for entry in found.entries] == [("src/", "folder"), ("src/a.py", "member")]


def test_one_array(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 3), dtype="int8"))
    found = inspect(tmp_path / "a.npy")
    assert (found.format, found.entries) == ("npy", (Entry("/", "array", "int8", (2, 3), 134),))


@pytest.mark.parametrize("keep", [5, 60, -1])
def test_truncated_arrays(tmp_path: Path, keep: int) -> None:
    np.save(tmp_path / "a.npy", np.zeros(30))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:keep])
    with pytest.raises(FormatError) as caught:
        inspect(tmp_path / "a.npy")
    assert caught.value.file == str(tmp_path / "a.npy")


@pytest.mark.parametrize("keep", [5, 60, 300, -1])
def test_truncated_archives(tmp_path: Path, keep: int) -> None:
    np.savez(tmp_path / "a.npz", a=np.zeros(30))
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:keep])
    with pytest.raises(FormatError) as caught:
        inspect(tmp_path / "a.npz")
    assert caught.value.file == str(tmp_path / "a.npz")
