"""The chunks of thousands of alike datasets, found without asking the HDF5 library about each one.

A mask file holds ten thousand datasets of one type, one shape and one chunk each; opening and checking each with the
library costs six times what inflating its chunk costs. But such datasets also have object headers that are equal byte
for byte, except for the address of the chunk. So the library checks one of them thoroughly, and every other whose
header in the file is the same text, address aside, is thereby proven to have the same type, shape, filters and storage.

Nothing here decides what a dataset holds: whatever is not proven, for any reason, is left to the library.
Byte layouts: HDF5 file format specification 3.0, sections III.A.1 (version 1 B-trees), IV.A.1 (object headers) and
IV.A.2.i (data layout message). Sizes of offsets and lengths are 8 throughout.
"""

from __future__ import annotations

import mmap
import os
import sys
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import h5py
import numpy as np
from h5py import h5d, h5z
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from circuit_artifacts.formats.hdf5.streams import stream_of

__all__ = ["map_file", "read_alike"]

_LAYOUT, _CONTINUATION, _MODIFICATION_TIME = 0x08, 0x10, 0x12  # header messages
_CHUNKED, _SINGLE_CHUNK = 2, 1  # layout class; chunk index type
_HAS_TIMES, _HAS_PHASES, _HAS_ORDER = 0x20, 0x10, 0x04  # flags of a version 2 object header
_TREE_NODE_BYTES = 56  # up to the address of the first chunk, for datasets of rank 1


class _Header(NamedTuple):
    """What of an object header is the same in all alike datasets, and where its chunk is written."""

    length: int  # bytes that are compared
    varying: list[slice]  # bytes that may differ
    pointer: int  # position of the chunk record, or of the address of the B-tree that holds it
    in_tree: bool


class _Chunks(NamedTuple):
    """One row per dataset; ``proven`` says for which the other columns mean something."""

    proven: NDArray[np.bool_]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    filter_mask: NDArray[np.int64]


def map_file(file: h5py.File) -> NDArray[np.uint8] | None:
    """Map the bytes of an open file into memory.

    Returns:
        uint8 (n_bytes,), read only; None where the bytes on disk are not known to be the whole truth or to be laid out
        as this module expects, and every dataset has to be read by the library.
    """
    stream = stream_of(file)
    # A user block shifts all addresses, for which versions of the library have different conventions.
    if (
        stream is None
        or os.name != "posix"
        or file.userblock_size
        or sys.byteorder != "little"
        or file.id.get_create_plist().get_sizes() != (8, 8)
    ):
        return None
    try:
        content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None
    return np.frombuffer(content, np.uint8)


def read_alike(
    content: NDArray[np.uint8], template: h5d.DatasetID, addresses: NDArray[np.int64], row_bytes: int
) -> Iterator[tuple[int, bytes]]:
    """Read the datasets that are stored exactly as a template that the caller has checked.

    Args:
        content: the file, from :func:`map_file`.
        template: an open dataset of rank 1. Only one little chunk, deflated and nothing else, is handled.
        addresses: int64 (n,), the object header addresses; that of the template first.
        row_bytes: size of the data of one dataset.

    Yields:
        Position in ``addresses``, and the bytes of that dataset, ``row_bytes`` long. Datasets that differ from the
        template in anything are left out.
    """
    header = _parse_header(content, int(addresses[0])) if _is_one_deflated_chunk(template) else None
    if header is None:
        return
    chunks = _locate(content, header, addresses)
    reference = template.get_chunk_info(0)
    # The library must agree with this module about the template, or this module has misread the format.
    first = (bool(chunks.proven[0]), int(chunks.offset[0]), int(chunks.size[0]), int(chunks.filter_mask[0]))
    if first != (True, reference.byte_offset, reference.size, reference.filter_mask):
        return
    # A deflated chunk longer than this is either damaged or made to fill the memory.
    fits = (chunks.size <= 2 * row_bytes + 64) & (chunks.offset + chunks.size <= len(content))
    rows = np.flatnonzero(chunks.proven & fits & (chunks.filter_mask == 0))
    stored = content.data
    columns = (rows.tolist(), chunks.offset[rows].tolist(), chunks.size[rows].tolist())
    for row, offset, size in zip(*columns, strict=True):
        try:
            data = zlib.decompress(stored[offset : offset + size], bufsize=row_bytes)
        except zlib.error:
            continue
        if len(data) == row_bytes:
            yield row, data


def _is_one_deflated_chunk(dataset: h5d.DatasetID) -> bool:
    """Whether the whole dataset is one chunk, that exists, with deflate as the only filter."""
    plist = dataset.get_create_plist()
    return bool(
        plist.get_layout() == h5d.CHUNKED
        and plist.get_chunk() == dataset.shape
        and dataset.rank == 1
        and plist.get_nfilters() == 1
        and plist.get_filter(0)[0] == h5z.FILTER_DEFLATE
        and dataset.get_num_chunks() == 1
    )


def _parse_header(content: NDArray[np.uint8], address: int) -> _Header | None:
    """Walk the messages of one object header; None for any form but those that h5py gives to small datasets."""
    raw = content[address : address + 4096].tobytes()
    varying: list[slice] = []
    if raw[:4] == b"OHDR" and raw[4] == 2:
        flags = raw[5]
        position = 6
        if flags & _HAS_TIMES:
            varying.append(slice(position, position + 16))
            position += 16
        position += 4 if flags & _HAS_PHASES else 0
        width = 1 << (flags & 3)
        prefix, kind_bytes, size_bytes = 4 + (2 if flags & _HAS_ORDER else 0), 1, 2
        length = int.from_bytes(raw[position : position + width], "little")
        position += width
    elif raw[:1] == b"\x01":
        prefix, kind_bytes, size_bytes = 8, 2, 2
        length = int.from_bytes(raw[8:12], "little")
        position = 16
    else:
        return None
    end = position + length
    found: tuple[int, bool] | None = None
    while position + prefix <= end <= len(raw):
        kind = int.from_bytes(raw[position : position + kind_bytes], "little")
        size = int.from_bytes(raw[position + kind_bytes : position + kind_bytes + size_bytes], "little")
        body = position + prefix
        position = body + size
        if kind == _CONTINUATION:
            return None
        if kind == _MODIFICATION_TIME:
            varying.append(slice(body, position))
        if kind == _LAYOUT:
            found = _find_pointer(raw[body:position], body)
            if found is None:
                return None
            varying.append(slice(found[0], found[0] + (8 if found[1] else 20)))
    return None if found is None else _Header(end, varying, *found)


def _find_pointer(layout: bytes, start: int) -> tuple[int, bool] | None:
    """Give the position, in the object header, of the chunk record, and whether it is the address of a B-tree."""
    if layout[:2] == bytes((3, _CHUNKED)):
        return start + 3, True
    if (
        layout[:1] in {b"\x04", b"\x05"} and layout[1] == _CHUNKED and layout[2] == 2
    ):  # flag 2: the record of a single, filtered chunk
        index = 5 + layout[3] * layout[4]  # after the chunk's dimensions
        return (start + index + 1, False) if layout[index] == _SINGLE_CHUNK else None
    return None


def _locate(content: NDArray[np.uint8], header: _Header, addresses: NDArray[np.int64]) -> _Chunks:
    """Compare all headers with the first, and read the chunk record of those that are equal."""
    texts, proven = _gather(content, addresses, header.length)
    fixed = np.ones(header.length, bool)
    for part in header.varying:
        fixed[part] = False
    proven &= (texts[:, fixed] == texts[0, fixed]).all(axis=1)
    if not header.in_tree:
        record = texts[:, header.pointer : header.pointer + 20]
        return _chunks(proven, offset=record[:, 12:20], size=record[:, 0:8], filter_mask=record[:, 8:12])
    nodes, inside = _gather(content, _integers(texts[:, header.pointer : header.pointer + 8]), _TREE_NODE_BYTES)
    # A chunk tree (type 1) that is a leaf (level 0) with one entry, no siblings, and the chunk at the origin.
    start = np.frombuffer(b"TREE\x01\x00\x01\x00" + b"\xff" * 16, np.uint8)
    proven &= inside & (nodes[:, :24] == start).all(axis=1) & (nodes[:, 32:48] == 0).all(axis=1)
    return _chunks(proven, offset=nodes[:, 48:56], size=nodes[:, 24:28], filter_mask=nodes[:, 28:32])


def _gather(
    content: NDArray[np.uint8], addresses: NDArray[np.int64], length: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Copy ``length`` bytes from each address, uint8 (n, length), and say which lie inside the file, bool (n,)."""
    inside = (addresses >= 0) & (addresses <= len(content) - length)
    if len(content) < length:
        return np.zeros((len(addresses), length), np.uint8), inside
    return sliding_window_view(content, length)[np.where(inside, addresses, 0)], inside


def _integers(field: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Decode little-endian integers, uint8 (n, 4 or 8), as int64 (n,); what exceeds int64 becomes negative."""
    dtype = np.dtype(np.uint32 if field.shape[1] == 4 else np.int64)
    return np.frombuffer(field.tobytes(), dtype).astype(np.int64)


def _chunks(
    proven: NDArray[np.bool_], *, offset: NDArray[np.uint8], size: NDArray[np.uint8], filter_mask: NDArray[np.uint8]
) -> _Chunks:
    columns = _integers(offset), _integers(size), _integers(filter_mask)
    return _Chunks(proven & (columns[0] > 0) & (columns[1] > 0), *columns)
