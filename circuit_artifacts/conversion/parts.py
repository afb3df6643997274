"""The parquet files of one split: row groups and files of bounded size, the same bytes for the same rows.

How a reader cuts its rows into tables has no part in the result: row groups end where the rows themselves say so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from circuit_artifacts.atomic import atomic_path

__all__ = ["ARROW_BYTES_KEY", "part_name", "read_parts", "write_parts"]

ARROW_BYTES_KEY = "circuit_artifacts.arrow_bytes"
"""Footer key: bytes of the rows in memory."""

# A page of the viewer touches one row group, of which it reads at most 300 MB (hub_and_viewer spec 4.2).
_ROW_GROUP_ROWS = 16_384
_ROW_GROUP_BYTES = 8 << 20  # reader and writer take ten times as much for lists of small integers
_BATCH_ROWS, _BUFFER_BYTES = 1_024, 64 << 10
_PART_BYTES = 500_000_000
_CHUNKING_KEY = "use_content_defined_chunking"  # where the viewer looks for it
_CHUNKING = {"min_chunk_size": 256 << 10, "max_chunk_size": 1 << 20, "norm_level": 0}


def part_name(split: str, number: int, total: int) -> str:
    """The name of one file of a split, as `datasets` names them."""
    return f"{split}-{number:05}-of-{total:05}.parquet"


def write_parts(tables: Iterable[pa.Table], schema: pa.Schema, folder: Path, split: str) -> list[Path]:
    """Write the rows of a split, holding one row group and one table at a time.

    Args:
        tables: the rows, under `schema`.
        schema: with the metadata that the files are to carry.
        folder: where; nobody may look there before this is done.
        split: how the files are named.

    Returns:
        ``<split>-00000-of-0000N.parquet`` ..., about half a gigabyte each; none if there are no rows.
    """
    groups = _row_groups(tables)
    parts: list[Path] = []
    for first in groups:
        parts.append(folder / f"{split}-{len(parts):05}")
        _write_part(parts[-1], chain([first], groups), schema)
    named = [folder / part_name(split, number, len(parts)) for number in range(len(parts))]
    for part, name in zip(parts, named, strict=True):
        with atomic_path(name) as temporary:  # on the disk before the folder gets its name
            part.rename(temporary)
    return named


def read_parts(parts: Iterable[Path]) -> Iterator[pa.Table]:
    """The rows that `write_parts` wrote."""
    for part in parts:
        with pq.ParquetFile(part, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            for batch in file.iter_batches(_BATCH_ROWS, use_threads=False):
                yield pa.Table.from_batches([batch])


def _write_part(path: Path, groups: Iterator[pa.Table], schema: pa.Schema) -> None:
    """Write row groups until the file is large enough; the others stay in the iterator."""
    arrow_bytes = 0
    with (
        pa.OSFile(str(path), "wb") as sink,
        pq.ParquetWriter(
            sink, schema, compression="zstd", write_page_index=True, use_content_defined_chunking=_CHUNKING
        ) as writer,
    ):
        for group in groups:
            writer.write_table(group, row_group_size=len(group))
            arrow_bytes += int(_row_bytes(group).sum())
            if sink.tell() >= _PART_BYTES:
                break
        writer.add_key_value_metadata({_CHUNKING_KEY: json.dumps(_CHUNKING), ARROW_BYTES_KEY: str(arrow_bytes)})


def _row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Cut a stream of tables into row groups, each as large as it may be, each in one piece."""
    pending: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        ends = np.concatenate([[0], np.cumsum(_row_bytes(table))])
        start = 0
        while start < len(table):
            fitting = int(np.searchsorted(ends, ends[start] + _ROW_GROUP_BYTES - size, side="right")) - 1
            stop = min(fitting, start + _ROW_GROUP_ROWS - rows)
            stop = max(stop, start if pending else start + 1)  # a row that is larger than a group is one
            if stop == start:
                group, pending, rows, size = pa.concat_tables(pending).combine_chunks(), [], 0, 0
                yield group
                continue
            pending.append(table.slice(start, stop - start))
            rows, size, start = rows + stop - start, size + int(ends[stop] - ends[start]), stop
    if pending:
        yield pa.concat_tables(pending).combine_chunks()


def _row_bytes(table: pa.Table) -> npt.NDArray[np.int64]:
    """Bytes of each row, int64 (n,): the same for equal rows, whatever buffers hold them."""
    sizes = np.zeros(len(table), np.int64)
    for column in table.columns if len(table) else ():
        sizes += np.concatenate([_cell_bytes(chunk) for chunk in column.chunks])
    return sizes


def _cell_bytes(array: pa.Array) -> npt.NDArray[np.int64]:
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _cell_bytes(array.storage)
    width = _width(kind)
    if width is not None:
        return np.full(len(array), width, np.int64)
    if pa.types.is_struct(kind):
        return np.asarray(np.sum([_cell_bytes(child) for child in array.flatten()], axis=0), np.int64)
    if not hasattr(kind, "value_type"):
        return _lengths(pc.binary_length(array)) + 4
    lengths = _lengths(pc.list_value_length(array))
    item_width = _width(kind.value_type)
    if item_width is not None:
        return lengths * item_width + 4
    ends = np.cumsum(lengths)
    totals = np.concatenate([[0], np.cumsum(_cell_bytes(array.flatten()))])
    return np.asarray(totals[ends] - totals[ends - lengths] + 4, np.int64)


def _lengths(array: pa.Array) -> npt.NDArray[np.int64]:
    return np.asarray(array.fill_null(0), np.int64)


def _width(kind: pa.DataType) -> int | None:
    """Bytes of every cell of a type; None if they differ."""
    if isinstance(kind, pa.BaseExtensionType):
        return _width(kind.storage_type)
    if pa.types.is_fixed_size_list(kind):
        item_width = _width(kind.value_type)
        return None if item_width is None else kind.list_size * item_width
    if pa.types.is_null(kind):
        return 0
    try:
        return -(-int(kind.bit_width) // 8)
    except ValueError:
        return None
