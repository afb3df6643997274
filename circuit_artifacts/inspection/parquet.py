"""Parquet files: the footer, and nothing else."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from circuit_artifacts.errors import FormatError
from circuit_artifacts.formats.bounded import BoundedReader
from circuit_artifacts.inspection.listing import Entry, Listing
from circuit_artifacts.remote import Location

__all__ = ["list_parquet"]

_ARROW_SCHEMA = b"ARROW:schema"  # base64 of what the entries say


def list_parquet(file: Location, stream: BoundedReader) -> Listing:
    """List the columns of a parquet file.

    Raises:
        FormatError: truncated or damaged, or a footer larger than one read may be.
    """
    try:
        footer = pq.read_metadata(stream)
        columns = _Columns(footer)
        entries = _entries(footer, columns.stored)
    except FormatError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        problem = "the parquet file is truncated or damaged"
        raise FormatError(problem, file=file, found=str(error).partition("\n")[0]) from error
    facts: dict[str, Any] = {
        "rows": footer.num_rows,
        "row_groups": footer.num_row_groups,
        "largest_row_group_rows": columns.largest_rows,
        "largest_row_group_bytes": columns.largest_bytes,
        "compression": dict(columns.compression),
        "page_index": f"{columns.indexed} of {footer.num_row_groups * footer.num_columns} column chunks",
        "created_by": footer.created_by,
        "format_version": footer.format_version,
        "metadata": _texts(footer.metadata),
    }
    return Listing("parquet", entries, facts)


class _Columns:
    """The column chunks of all row groups, added up."""

    def __init__(self, footer: pq.FileMetaData) -> None:
        self.stored = [0] * footer.num_columns
        self.compression: Counter[str] = Counter()
        self.indexed = self.largest_rows = self.largest_bytes = 0
        for group_index in range(footer.num_row_groups):
            group = footer.row_group(group_index)
            chunks = [group.column(index) for index in range(group.num_columns)]
            sizes = [chunk.total_compressed_size for chunk in chunks]
            self.stored = [total + size for total, size in zip(self.stored, sizes, strict=True)]
            self.compression.update(chunk.compression for chunk in chunks)
            self.indexed += sum(chunk.has_offset_index and chunk.has_column_index for chunk in chunks)
            self.largest_rows = max(self.largest_rows, group.num_rows)
            self.largest_bytes = max(self.largest_bytes, sum(sizes))


def _entries(footer: pq.FileMetaData, stored: list[int]) -> list[Entry]:
    """One entry per Arrow column, with the sizes of the parquet columns that it is stored as."""
    sizes = iter(stored)
    return [
        Entry(
            path=field.name,
            kind="column",
            dtype=str(field.type),
            shape=(footer.num_rows,),
            stored_bytes=sum(itertools.islice(sizes, _leaves(field.type))),
            attributes=_texts(field.metadata),
            note="" if field.nullable else "not nullable",
        )
        for field in footer.schema.to_arrow_schema()
    ]


def _leaves(type_: pa.DataType) -> int:
    """How many parquet columns an Arrow type takes: one for each value inside it that has no parts."""
    storage = type_.storage_type if isinstance(type_, pa.BaseExtensionType) else type_
    parts = [storage.field(index).type for index in range(storage.num_fields)]
    return sum(map(_leaves, parts)) or 1


def _texts(metadata: dict[bytes, bytes] | None) -> dict[str, str]:
    return {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in (metadata or {}).items()
        if key != _ARROW_SCHEMA
    }
