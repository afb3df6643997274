"""Chunks as they are stored: whether they give as many bytes as the HDF5 library takes from them.

HDF5 (2.0 at least) does not ask. Where a chunk gives fewer bytes, as it does if damage has changed its recorded size or
which filters it went through, the other values are whatever is next in memory, or the process ends.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import h5py
from h5py import h5d, h5z

from circuit_artifacts.errors import FormatError

__all__ = ["refuse_short_chunks"]

_CHECKSUM_BYTES = 4  # of filter Fletcher32, behind the data


def refuse_short_chunks(dataset: h5py.Dataset, rows: slice | None = None) -> None:
    """Compare what filtered chunks give with what is taken from them, before it is.

    Nothing is decompressed: of a compressed chunk only the checksum behind it is expected.

    Args:
        dataset: of any storage.
        rows: which of the first axis are going to be read, ascending; None reads all.

    Raises:
        FormatError: a chunk is too short. It does not say where.
    """
    plist = dataset.id.get_create_plist()
    if plist.get_layout() != h5d.CHUNKED or not plist.get_nfilters():
        return
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    chunk, item_bytes = plist.get_chunk(), dataset.id.get_type().get_size()
    for corner, filter_mask, stored in _stored_chunks(dataset, chunk, rows):
        applied = [code for i, code in enumerate(filters) if not filter_mask >> i & 1]
        size, is_compressed = _given_bytes(stored, applied)
        needed = 0 if is_compressed else _used_elements(corner, chunk, dataset.shape) * item_bytes
        if size < needed:
            problem, found = "a chunk is shorter than declared", f"{size} bytes for {list(corner)}"
            remedy = "Download or make the file again"
            raise FormatError(problem, found=found, expected=f"at least {needed}", remedy=remedy)


def _stored_chunks(
    dataset: h5py.Dataset, chunk: tuple[int, ...], rows: slice | None
) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """Of each chunk that has to be read, the first index, which filters were left out, and the bytes in the file."""
    if not dataset.id.chunk_iter(lambda _: True):  # no chunk at all, of which the library would make up a size
        return
    start, stop, _ = (rows or slice(None)).indices(dataset.shape[0])
    starts = [start - start % chunk[0], *(0 for _ in chunk[1:])]
    stops = [stop, *dataset.shape[1:]]
    for corner in itertools.product(*map(range, starts, stops, chunk)):
        # Asking for a chunk's record would search the whole dataset, and not as reading does.
        try:
            filter_mask, content = dataset.id.read_direct_chunk(corner)
        except (OSError, RuntimeError, ValueError):
            continue  # never written, or nothing that the library would read
        yield corner, filter_mask, len(content)


def _given_bytes(stored: int, applied: list[int]) -> tuple[int, bool]:
    """How many bytes are left when filters are undone, the last one first, up to one that compresses."""
    for code in reversed(applied):
        if code == h5z.FILTER_FLETCHER32:
            stored -= _CHECKSUM_BYTES
        elif code != h5z.FILTER_SHUFFLE:
            return stored, True
    return stored, False


def _used_elements(corner: tuple[int, ...], chunk: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """How far into a chunk there are values. Beyond the edge of the dataset are none, and some writers end there."""
    last = 0
    for at, step, size in zip(corner, chunk, shape, strict=True):
        last = last * step + min(step, size - at) - 1
    return last + 1
