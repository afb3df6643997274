"""The layouts `rows`, `stack` and `records`: arrays side by side, as one table or as one per sibling group.

All three are parts of one kind: a group whose datasets become columns. `rows` has one part, the whole file; `stack` has
one per sibling group, one below the other; `records` likewise, each part a single row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import h5py
import pyarrow as pa

from circuit_artifacts.errors import SchemaError, located
from circuit_artifacts.formats.hdf5.grouping import Group
from circuit_artifacts.formats.hdf5.objects import open_dataset, open_group, open_hdf5
from circuit_artifacts.formats.hdf5.values import cell_field, read_cells
from circuit_artifacts.formats.union import Columns, Keys, build, unite
from circuit_artifacts.remote import Location

__all__ = [
    "TABLE_BYTES",
    "Column",
    "Constant",
    "Part",
    "PartsPlan",
    "Span",
    "opener",
    "packed",
    "part_of",
    "spans_of",
]

TABLE_BYTES = 16 << 20
_LARGEST_CHUNK_BYTES = 256 << 20  # larger chunks are inflated again for each slice, rather than held whole
_LEAST_BYTES_OF_DATASET = 4096
_MOST_SPANS = 1 << 20  # a file of a few kilobytes may declare any number of rows
_ELEMENT_OF_ANY_LENGTH = 256  # bytes, a guess


class Column(NamedTuple):
    """A dataset as a column of one part; ``whole`` if it is one cell, the same in all rows."""

    keys: Keys
    path: str
    field: pa.Field
    whole: bool


class Constant(NamedTuple):
    """A column whose value is not from a dataset: a group's name, an attribute."""

    keys: Keys
    field: pa.Field
    value: Any


class Span(NamedTuple):
    """Rows ``start:stop`` of one part, and about how many bytes they are."""

    part: int
    start: int
    stop: int
    n_bytes: int


@dataclass(frozen=True)
class Part:
    """One group with all that is needed to read it."""

    columns: tuple[Column, ...]
    constants: tuple[Constant, ...]

    @property
    def fields(self) -> Columns:
        """The columns by their keys."""
        constants = {constant.keys: constant.field for constant in self.constants}
        return constants | {column.keys: column.field for column in self.columns}


@dataclass(frozen=True)
class PartsPlan:
    """How one file becomes rows; picklable, so that workers open only the file and only what they read.

    Attributes:
        file: where it is.
        parts: its groups.
        spans: all rows, in order, in pieces that are read at once.
    """

    file: Location
    parts: tuple[Part, ...]
    spans: tuple[Span, ...]

    @property
    def columns(self) -> Columns:
        """Each column with a type that holds the values of every part."""
        return unite((self.file, part.fields) for part in self.parts)

    def __len__(self) -> int:
        return len(self.spans)

    def tables(self, start: int, stop: int, schema: pa.Schema) -> Iterator[pa.Table]:
        """The rows of spans ``start:stop``, in tables of about 16 MiB.

        Raises:
            FormatError: damaged data, or a filter that is not installed.
            SchemaError: a value that does not fit the schema.
        """
        with located(self.file), open_hdf5(self.file) as file:
            dataset = opener(file)
            for spans in packed(self.spans[start:stop]):
                tables = [self._read(span, dataset, schema) for span in spans]
                yield pa.concat_tables(tables).combine_chunks() if len(tables) > 1 else tables[0]

    def _read(self, span: Span, dataset: Callable[[str], h5py.Dataset], schema: pa.Schema) -> pa.Table:
        part, n_rows = self.parts[span.part], span.stop - span.start
        arrays = {c.keys: _repeated(pa.array([c.value], c.field.type), n_rows) for c in part.constants}
        for column in part.columns:
            rows = None if column.whole else slice(span.start, span.stop)
            cells = read_cells(dataset(column.path), column.field, rows)
            array = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
            arrays[column.keys] = _repeated(array, n_rows) if column.whole else array
        return build(arrays, schema, n_rows)


def part_of(group: Group, constants: Sequence[Constant], file: h5py.File, known: dict[Any, pa.Field]) -> Part:
    """Find the types of a group's columns.

    Args:
        group: what the tree tells.
        constants: columns besides the datasets; must not share their names.
        file: open.
        known: fields found so far, by what they follow from; filled further.
    """
    dataset = opener(file)
    columns = []
    for leaf in group.leaves:
        keys = group.keys(leaf)
        per_row = not group.whole and bool(leaf.shape)
        key = (keys, leaf.dtype, leaf.shape[1:] if per_row and leaf.shape else leaf.shape, per_row)
        # The type of strings depends on whether they are all text.
        if key not in known or "string" in leaf.dtype:
            known[key] = cell_field(keys[-1], dataset(leaf.path), per_row=per_row)
        columns.append(Column(keys, leaf.path, known[key], not per_row))
    if len({column.keys for column in columns}) < len(columns):
        problem = "two names are the same once written as text"
        raise SchemaError(problem, file=file.filename, where=group.path)
    return Part(tuple(columns), tuple(constants))


def spans_of(number: int, group: Group, file: h5py.File, n_pieces: int) -> list[Span]:
    """Cut one part into pieces of at most `TABLE_BYTES` that do not cut chunks, where chunks are not too large.

    Raises:
        SchemaError: the number of rows is absurd.
    """
    dataset = opener(file)
    if group.whole or not group.n_rows:
        size = sum(leaf.storage_bytes for leaf in group.leaves)
        return [Span(number, 0, group.n_rows, size)] if group.n_rows else []
    row_bytes, chunk_rows = 1, 1
    for leaf in group.leaves:
        if leaf.shape:
            opened = dataset(leaf.path)
            item = _ELEMENT_OF_ANY_LENGTH if opened.dtype.hasobject else opened.dtype.itemsize
            row_bytes += item * (opened.size // max(group.n_rows, 1))
            chunk_rows = max(chunk_rows, opened.chunks[0] if opened.chunks else 1)
    # Opening a dataset costs as much as reading some kilobytes of it.
    least = _LEAST_BYTES_OF_DATASET * len(group.leaves) // row_bytes
    step = max(1, min(TABLE_BYTES // row_bytes, max(least, -(-group.n_rows // n_pieces))))
    if chunk_rows <= step:
        step -= step % chunk_rows
    elif chunk_rows * row_bytes <= _LARGEST_CHUNK_BYTES:
        step = chunk_rows
    if group.n_rows > step * _MOST_SPANS:
        problem = "more rows are declared than can be read"
        expected = f"at most {_MOST_SPANS:,} pieces of {step:,} rows"
        raise SchemaError(problem, file=file.filename, where=group.path, found=f"{group.n_rows:,}", expected=expected)
    starts = range(0, group.n_rows, step)
    return [Span(number, start, min(start + step, group.n_rows), step * row_bytes) for start in starts]


def packed(spans: Iterable[Any]) -> Iterator[list[Any]]:
    """Group neighbours, each with ``n_bytes``, up to `TABLE_BYTES`; never an empty group."""
    batch: list[Any] = []
    size = 0
    for span in spans:
        if batch and size + span.n_bytes > TABLE_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(span)
        size += span.n_bytes
    if batch:
        yield batch


def opener(file: h5py.File) -> Callable[[str], h5py.Dataset]:
    """A function that opens datasets by path, link by link; neighbours in a group are opened at less cost."""
    last: dict[str, h5py.Group] = {}

    def open_one(path: str) -> h5py.Dataset:
        parent, _, name = path.rpartition("/")
        if parent not in last:
            last.clear()
            last[parent] = open_group(file, parent or "/")
        return open_dataset(last[parent], name)

    return open_one


def _repeated(array: pa.Array, n_rows: int) -> pa.Array:
    return array if n_rows == 1 else array.take(pa.array([0] * n_rows, pa.int64()))
