"""Chunks that give fewer bytes than declared: the HDF5 library would add other memory to the values, or crash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5py import h5d

from circuit_artifacts.errors import FormatError
from circuit_artifacts.formats.hdf5 import open_dataset, open_group, open_hdf5, read_strings, read_vectors
from circuit_artifacts.formats.hdf5.stored import refuse_short_chunks
from circuit_artifacts.formats.hdf5.values import cell_field, flat_field, read_cells, read_flat

N = 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.h5"


def write_chunk(path: Path, content: bytes, filter_mask: int = 0, **storage: Any) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("g/x", (N,), "i4", chunks=(N,), **storage)
        data.id.write_direct_chunk((0,), content, filter_mask)


@pytest.mark.parametrize(
    ("storage", "content", "filter_mask", "size", "needed"),
    {
        "no room for the checksum": ({"fletcher32": True}, b"ab", 0, -2, 4000),
        "checksum of nothing": ({"fletcher32": True}, bytes(4), 0, 0, 4000),
        "right checksum of too little": ({"fletcher32": True}, bytes(12), 0, 8, 4000),
        "without the checksum": ({"fletcher32": True}, bytes(8), 1, 8, 4000),
        "shuffled": ({"shuffle": True}, b"ab", 0, 2, 4000),
        "not deflated": ({"compression": "gzip"}, b"ab", 1, 2, 4000),
        "deflated, no room for the checksum": ({"compression": "gzip", "fletcher32": True}, b"ab", 0, -2, 0),
        "lzf, no room for the checksum": ({"compression": "lzf", "fletcher32": True}, b"ab", 0, -2, 0),
    }.values(),
)
def test_short_chunks_are_refused(
    path: Path, storage: dict[str, Any], content: bytes, filter_mask: int, size: int, needed: int
) -> None:
    write_chunk(path, content, filter_mask, **storage)
    readers: list[Callable[[h5py.Dataset], object]] = [
        lambda x: read_flat(x, flat_field("x", x)),
        lambda x: read_cells(x, cell_field("x", x, per_row=True), slice(10, 20)),
        lambda x: read_vectors(x.parent, ["x"], dtype=np.int32),
    ]
    for read in readers:
        with open_hdf5(path) as file, pytest.raises(FormatError, match="a chunk is shorter than declared") as caught:
            read(file["g/x"])
        assert (caught.value.file, caught.value.where) == (str(path), "/g/x")
        assert (caught.value.found, caught.value.expected) == (f"{size} bytes for [0]", f"at least {needed}")


def test_strings_are_checked(path: Path) -> None:
    with h5py.File(path, "w") as file:
        names = file.create_dataset("names", (N,), "S8", chunks=(N,), fletcher32=True)
        names.id.write_direct_chunk((0,), b"ab")
    with open_hdf5(path) as file, pytest.raises(FormatError, match="/names: a chunk is shorter"):
        read_strings(open_dataset(file, "names"))


def test_damaged_record_of_the_filters(path: Path) -> None:
    """A bit says that a chunk was not compressed: its bytes would be taken for values, and then those behind them."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", data=np.arange(N), chunks=(N,), compression="gzip")
        size = data.id.get_chunk_info(0).size
    content = bytearray(path.read_bytes())
    record = content.index(size.to_bytes(4, "little") + bytes(4 + 8))  # size, filters left out, index
    content[record + 4] = 1
    path.write_bytes(content)
    with open_hdf5(path) as file, pytest.raises(FormatError, match=rf"/x: a chunk is shorter .*{size} bytes for \[0\]"):
        read_flat(file["x"], flat_field("x", file["x"]))


def test_only_the_rows_that_are_read_are_checked(path: Path) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", (30, 4), "i4", chunks=(10, 2), fletcher32=True)
        data[...] = 1
        data.id.write_direct_chunk((20, 2), b"ab")
    with open_hdf5(path) as file:
        refuse_short_chunks(file["x"], slice(0, 20))
        for rows in (None, slice(19, 21), slice(25, 30)):
            with pytest.raises(FormatError, match=r"-2 bytes for \[20, 2\]"):
                refuse_short_chunks(file["x"], rows)


@pytest.mark.parametrize(
    "storage",
    [
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"compression": "lzf", "shuffle": True},
        {"scaleoffset": 0},
        {"fletcher32": True},
        {"shuffle": True},
        {},
    ],
)
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_whole_chunks_are_read(path: Path, storage: dict[str, Any], libver: str) -> None:
    values = np.random.default_rng(0).integers(0, 100, (25, 7), np.int32)
    with h5py.File(path, "w", libver=libver) as file:
        file.create_dataset("x", data=values, chunks=(10, 4), **storage)
        file.create_dataset("sparse", (25, 7), "i4", chunks=(10, 4), fillvalue=5, **storage)[12, 3] = 9
        file.create_dataset("unwritten", (25, 7), "i4", chunks=(10, 4), fillvalue=6, **storage)
        file.create_dataset("none", (0, 7), "i4", chunks=(10, 4), maxshape=(None, 7), **storage)
    sparse = np.full((25, 7), 5)
    sparse[12, 3] = 9
    unwritten = np.full((25, 7), 6)
    with open_hdf5(path) as file:
        for name, expected in (("x", values), ("sparse", sparse), ("unwritten", unwritten), ("none", values[:0])):
            field = cell_field(name, file[name], per_row=True)
            for rows in (slice(0, 25), slice(9, 11), slice(24, 25)):
                found = read_cells(file[name], field, rows).to_pylist()
                assert found == expected[rows].tolist()


def test_chunk_that_ends_at_the_edge_is_whole_enough(path: Path) -> None:
    values = np.arange(35).reshape(5, 7)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", (5, 7), "i8", chunks=(4, 7), shuffle=True)
        data[:4] = values[:4]
        data.id.write_direct_chunk((4, 0), values[4:].tobytes(), 1)
    for rows in (slice(0, 5), slice(4, 5)):
        with open_hdf5(path) as file:
            found = read_cells(file["x"], cell_field("x", file["x"], per_row=True), rows)
            assert found.to_pylist() == values[rows].tolist()


def test_damaged_stream_is_left_to_the_library(path: Path) -> None:
    write_chunk(path, b"\xff" * 10, compression="gzip")
    with open_hdf5(path) as file:
        refuse_short_chunks(file["g/x"])
        with pytest.raises(FormatError, match="/g/x: the HDF5 library cannot read this"):
            read_vectors(open_group(file, "g"), ["x"], dtype=np.int32)


def test_other_storage_is_no_matter(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["contiguous"], file["scalar"], file["null"] = np.arange(5), 3, h5py.Empty("i4")
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5d.COMPACT)
        file.create_dataset("compact", data=np.arange(5), dcpl=plist)
    with open_hdf5(path) as file:
        for name in file:
            refuse_short_chunks(file[name])
