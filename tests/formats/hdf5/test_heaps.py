"""Heaps of variable-length values whose chain of objects has no end: the HDF5 library would never come back."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5py import h5f, h5p

from circuit_artifacts.errors import FormatError
from circuit_artifacts.formats.hdf5 import open_dataset, open_hdf5, read_strings
from circuit_artifacts.formats.hdf5.attributes import attributes_json, read_attributes
from circuit_artifacts.formats.hdf5.heaps import is_endless
from circuit_artifacts.formats.hdf5.tree import walk
from circuit_artifacts.formats.hdf5.values import cell_field, read_cells
from circuit_artifacts.remote import RemoteFile

TEXT = h5py.string_dtype()
WORDS = ["one", "two", "three"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.h5"


class _Local(RemoteFile):
    """Read as a remote file is, without a server."""

    def open(self, mode: Any = "rb", **_: Any) -> Any:
        return Path(self.url).open(mode)


def make_endless(path: Path) -> int:
    """Let the first object of the first heap be free space of no size; gives the position of the heap."""
    content = bytearray(path.read_bytes())
    start = content.index(b"GCOL\x01")
    content[start + 16 : start + 18] = bytes(2)
    content[start + 24 : start + 32] = bytes(8)
    path.write_bytes(content)
    return start


def heap_of(*objects: tuple[int, int], n_bytes: int = 4096) -> bytes:
    """A heap of objects (number, size), as large as it says."""
    content = b"GCOL\x01\0\0\0" + n_bytes.to_bytes(8, "little")
    for number, size in objects:
        step = -(-size // 8) * 8 + 16 if number else size
        content += struct.pack("<H6xQ", number, size % 2**64).ljust(min(max(step, 16), n_bytes), b"\1")
    return content[:n_bytes].ljust(n_bytes, b"\1")


@pytest.mark.parametrize(
    ("objects", "endless"),
    {
        "full": ([(1, 4064)], False),
        "free space": ([(1, 3), (2, 100), (0, 4096 - 16 - 24 - 120)], False),
        "less left than a header": ([(1, 4056)], False),
        "free space of no size": ([(1, 3), (0, 0)], True),
        "first": ([(0, 0)], True),
        "at the end": ([(1, 4048 - 16), (0, 0)], True),
        "beyond the end": ([(1, 4064), (0, 0)], False),
        "overflow to no step": ([(1, -16)], True),
        "overflow after rounding": ([(1, -23)], True),
        "backwards, which the library notices": ([(1, -32)], False),
        "larger than the heap": ([(1, 5000), (0, 0)], False),
        "object of no size": ([(1, 0), (2, 4048)], False),
    }.values(),
)
def test_chains(objects: list[tuple[int, int]], endless: bool) -> None:
    content = heap_of(*objects)
    for before in (b"", b"other data"):
        assert is_endless(io.BytesIO(before + content + bytes(100)), len(before), 8) is endless


def test_long_heap_is_followed_in_pieces() -> None:
    # Objects of 24 bytes, so that pieces of 64 KiB end inside one.
    objects = [(number % 1000 + 1, 5) for number in range(10_000)]
    n_bytes = 16 + 24 * 10_000 + 16
    assert is_endless(io.BytesIO(heap_of(*objects, (0, 0), n_bytes=n_bytes)), 0, 8)
    assert not is_endless(io.BytesIO(heap_of(*objects, (0, 16), n_bytes=n_bytes)), 0, 8)
    assert not is_endless(io.BytesIO(heap_of(*objects, n_bytes=n_bytes)[: n_bytes // 2]), 0, 8)


def test_only_the_bytes_of_a_length_count() -> None:
    content = heap_of((0, 1 << 32))
    assert not is_endless(io.BytesIO(content), 0, 8)
    assert is_endless(io.BytesIO(content), 0, 4)


def write_values(file: h5py.File, kind: str) -> None:
    match kind:
        case "texts":
            file.create_dataset("x", data=WORDS, dtype=TEXT)
        case "lists":
            file.create_dataset("x", data=np.array([np.arange(3), np.arange(5)], object), dtype=h5py.vlen_dtype("i4"))
        case "regions":
            target = file.create_dataset("target", data=np.arange(9))
            file.create_dataset("x", data=[target.regionref[2:4]], dtype=h5py.regionref_dtype)
        case "chunks":
            file.create_dataset("x", data=WORDS, dtype=TEXT, chunks=(2,), compression="gzip")


@pytest.mark.parametrize("kind", ["texts", "lists", "regions", "chunks"])
@pytest.mark.parametrize("remote", [False, True])
def test_values_are_refused(path: Path, kind: str, remote: bool) -> None:
    with h5py.File(path, "w") as file:
        write_values(file, kind)
        file["y"] = np.arange(3)
    start = make_endless(path)
    location = _Local(url=str(path), size=path.stat().st_size, identity="1") if remote else path
    with open_hdf5(location) as file:
        with pytest.raises(FormatError, match=f"a heap without an end at byte {start}") as caught:
            read_cells(file["x"], cell_field("x", file["x"], per_row=True), slice(None))
        assert (caught.value.file, caught.value.where) == (str(path), "/x")
        assert file["y"][...].tolist() == [0, 1, 2]  # the file is still usable


def test_declared_strings_are_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("names", data=WORDS, dtype=TEXT)
    make_endless(path)
    with open_hdf5(path) as file, pytest.raises(FormatError, match="/names: damaged values of variable length"):
        read_strings(open_dataset(file, "names"))


def test_attributes_are_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("group").attrs.create("note", WORDS, dtype=TEXT)
    make_endless(path)
    for read in (read_attributes, attributes_json):
        with open_hdf5(path) as file, pytest.raises(FormatError, match="/group@note: damaged values"):
            read(file["group"])


def test_virtual_dataset_is_refused(path: Path) -> None:
    layout = h5py.VirtualLayout((5,), "i8")
    layout[:] = h5py.VirtualSource("other.h5", "x", (5,))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("group/x", layout)
    make_endless(path)
    with open_hdf5(path) as file, pytest.raises(FormatError, match="/group: damaged values"):
        walk(file)


def test_files_with_short_lengths(path: Path) -> None:
    plist = h5p.create(h5p.FILE_CREATE)
    plist.set_sizes(8, 4)
    with h5py.File(h5f.create(str(path).encode(), h5f.ACC_TRUNC, plist)) as file:
        write_values(file, "texts")
    content = bytearray(path.read_bytes())
    first = content.index(b"GCOL\x01") + 16
    content[first + 12 : first + 16] = b"\xff" * 4  # means nothing with lengths of 4 bytes
    path.write_bytes(content)
    with open_hdf5(path) as file:
        assert read_strings(file["x"]) == WORDS
    content[first : first + 2], content[first + 8 : first + 12] = bytes(2), bytes(4)
    path.write_bytes(content)
    with open_hdf5(path) as file, pytest.raises(FormatError, match="a heap without an end"):
        read_strings(file["x"])


def test_heap_that_nothing_leads_to_is_no_damage(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=["a" * 5000], dtype=TEXT)
        file.create_dataset("y", data=["b" * 5000], dtype=TEXT)
    make_endless(path)
    with open_hdf5(path) as file:
        assert walk(file).nodes
        assert read_strings(file["y"]) == ["b" * 5000]


@pytest.mark.parametrize("objects", [[(1, 3), (0, 4096 - 16 - 24)], [(1, 3), (0, 0)]])
def test_what_only_looks_like_a_heap_is_data(path: Path, objects: list[tuple[int, int]]) -> None:
    """A file inside a file."""
    inner = np.frombuffer(bytes(512) + heap_of(*objects), np.uint8)
    with h5py.File(path, "w") as file:
        file["x"] = inner
    with open_hdf5(path) as file:
        assert (file["x"][...] == inner).all()


def test_many_texts_in_many_heaps(path: Path) -> None:
    texts = [f"text {number} " * (number % 40) for number in range(5000)]
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=[*texts, "a" * 300_000], dtype=TEXT)
    with open_hdf5(path) as file:
        assert read_strings(file["x"]) == [*texts, "a" * 300_000]
