"""CSV and parquet tables, checked against their row model: columns, types and nulls, with the place of each fault.

``null`` and ``NA`` are text where the column is text; only an empty cell is null, and only where the model allows it.
"""

from __future__ import annotations

import csv
import io
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from circuit_artifacts import provenance
from circuit_artifacts.errors import CircuitArtifactsError, FormatError, MissingArtifactError, SchemaError, SourceError
from circuit_artifacts.formats.reader import Request, Shape
from circuit_artifacts.remote import Location, RemoteFile
from circuit_artifacts.schemas.common import arrow_schema

__all__ = ["CsvReader", "ParquetReader", "TableReader", "WholeTableReader", "read_csv", "stream_csv", "write_parquet"]

_SHARDS = 8
_ROW_GROUP_ROWS = 16_384
_WHOLE_BYTES = 64 << 20  # a CSV file up to this size is read at once
_BLOCK_BYTES = 4 << 20
_BUFFER_BYTES = 128 << 10  # read of a remote column at a time
_PARSING = pa.csv.ParseOptions(newlines_in_values=True)  # for texts of several lines, wherever a block ends


class TableReader(ABC):
    """Reads a table in shards of consecutive rows."""

    reads_in_place: ClassVar[bool] = False

    def __init__(self, request: Request) -> None:
        self.request = request

    def schema(self, path: Location | None) -> pa.Schema:
        """Columns of the row model."""
        width = Shape.of(path, self.request.mirror).width
        return arrow_schema(self.request.split.row, width=width)

    @abstractmethod
    def shards(self, path: Path) -> list[int]:
        """Numbers of the shards, in row order."""

    @abstractmethod
    def tables(self, path: Path, shard: int) -> Iterator[pa.Table]:
        """The consecutive rows of one shard."""


class WholeTableReader(TableReader):
    """Reads a small table at once; a subclass gives it."""

    @abstractmethod
    def read(self, path: Path) -> pa.Table:
        """The whole table, under `schema`."""

    def shards(self, path: Path) -> list[int]:
        """Up to eight, never more than there are rows."""
        return list(range(_n_shards(len(self.read(path)))))

    def tables(self, path: Path, shard: int) -> Iterator[pa.Table]:
        """The consecutive rows of one shard."""
        table = self.read(path)
        start, stop = _bounds(len(table), shard)
        yield table.slice(start, stop - start)


class CsvReader(WholeTableReader):
    """Reads a CSV file whose header is exactly that of its row model.

    A file that is large, or read where it is, is one shard and passes as a stream.
    """

    reads_in_place = True

    def read(self, path: Path) -> pa.Table:
        """The whole table.

        Raises:
            MissingArtifactError: no such file.
            SchemaError: other columns, a value of another type, an empty cell where none may be.
        """
        return read_csv(path, self._schema_in_file(path)).rename_columns(self.schema(path).names)

    def shards(self, path: Location) -> list[int]:
        """Up to eight; one where the file passes as a stream."""
        return [0] if _is_streamed(path) else super().shards(path)  # type: ignore[arg-type]

    def tables(self, path: Location, shard: int) -> Iterator[pa.Table]:
        """The consecutive rows of one shard."""
        if not _is_streamed(path):
            yield from super().tables(path, shard)  # type: ignore[arg-type]
            return
        names = self.schema(path).names
        for table in stream_csv(path, self._schema_in_file(path)):
            yield table.rename_columns(names)

    def _schema_in_file(self, path: Location) -> pa.Schema:
        headers = self.request.split.headers
        return pa.schema([field.with_name(headers.get(field.name, field.name)) for field in self.schema(path)])


class ParquetReader(TableReader):
    """Reads a parquet file whose columns are exactly those of its row model, in tables of bounded size.

    Shards of a file that is read where it is are whole row groups, so that none is requested twice.
    """

    reads_in_place = True

    def shards(self, path: Location) -> list[int]:
        """Up to eight, never more than there are rows, or row groups of a remote file."""
        with _open_parquet(path) as file:
            return list(range(len(_parts(path, file))))

    def tables(self, path: Location, shard: int) -> Iterator[pa.Table]:
        """The consecutive rows of one shard.

        Raises:
            MissingArtifactError: no such file.
            FormatError: truncated, or no parquet file.
            SchemaError: other columns, other types, a null where none may be.
        """
        schema = self.schema(path)
        with _open_parquet(path) as file:
            start, stop = _parts(path, file)[shard]
            _check_columns(path, file.schema_arrow.names, schema.names)
            bounds = _row_group_bounds(file)
            groups = [g for g, (low, high) in enumerate(itertools.pairwise(bounds)) if low < stop and high > start]
            first = bounds[groups[0]] if groups else 0
            for batch in _batches(path, file, groups):
                low, high = max(start - first, 0), min(stop - first, len(batch))
                if low < high:
                    yield _conform(path, batch.slice(low, high - low), schema, first_row=first + low)
                first += len(batch)


def _is_streamed(path: Location) -> bool:
    return isinstance(path, RemoteFile) or (path.is_file() and path.stat().st_size > _WHOLE_BYTES)


def _parts(path: Location, file: pq.ParquetFile) -> list[tuple[int, int]]:
    """First row of every shard of a parquet file, and the row after its last."""
    if isinstance(path, RemoteFile):
        bounds = _row_group_bounds(file)
        chosen = np.unique(np.linspace(0, len(bounds) - 1, _SHARDS + 1).astype(int))
        return list(itertools.pairwise([bounds[index] for index in chosen])) or [(0, 0)]
    n_rows = file.metadata.num_rows
    return [_bounds(n_rows, shard) for shard in range(_n_shards(n_rows))]


def _row_group_bounds(file: pq.ParquetFile) -> list[int]:
    """First row of every row group, and the number of rows."""
    rows = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    return [0, *itertools.accumulate(rows)]


def _batches(path: Location, file: pq.ParquetFile, groups: list[int]) -> Iterator[pa.Table]:
    try:
        for batch in file.iter_batches(_ROW_GROUP_ROWS, row_groups=groups, use_threads=isinstance(path, Path)):
            yield pa.Table.from_batches([batch])
    except (OSError, pa.ArrowInvalid) as error:
        raise _unreadable(path, error) from error


def _n_shards(n_rows: int) -> int:
    return max(1, min(_SHARDS, n_rows))


def _bounds(n_rows: int, shard: int) -> tuple[int, int]:
    """First row of a shard, and the row after its last."""
    bounds = np.linspace(0, n_rows, _n_shards(n_rows) + 1).astype(int)
    return int(bounds[shard]), int(bounds[shard + 1])


def read_csv(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a CSV file with exactly the columns of `schema`, in any order; give them in schema order.

    Raises:
        MissingArtifactError: no such file.
        FormatError: not CSV.
        SchemaError: other columns, a value of another type, an empty cell in a column that is not nullable.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as text:
            _check_columns(path, next(csv.reader(text), []), schema.names)
        table = pa.csv.read_csv(path, parse_options=_PARSING, convert_options=_conversion(schema))
    except (OSError, ValueError, csv.Error) as error:
        raise _no_csv(path, error, schema) from error
    return _conform(path, table, schema)


def stream_csv(path: Location, schema: pa.Schema) -> Iterator[pa.Table]:
    """Read as :func:`read_csv` does, in tables of a few megabytes of text.

    Raises:
        MissingArtifactError: no such file.
        FormatError: not CSV.
        SchemaError: as in `read_csv`, when the place is reached.
    """
    first = 0
    try:
        with _open_sequentially(path) as stream:
            header = stream.readline()
            _check_columns(path, next(csv.reader([header.decode("utf-8-sig")]), []), schema.names)
            for records in _whole_records(stream, _BUFFER_BYTES if isinstance(path, RemoteFile) else _BLOCK_BYTES):
                table = pa.csv.read_csv(
                    io.BytesIO(header + records), parse_options=_PARSING, convert_options=_conversion(schema)
                )
                yield _conform(path, table, schema, first_row=first)
                first += len(table)
    except (OSError, ValueError, csv.Error) as error:
        raise _no_csv(path, error, schema) from error


def _whole_records(stream: BinaryIO, block_bytes: int) -> Iterator[bytes]:
    """The content of a CSV file block by block, cut where a record ends: at a line end outside of quotes.

    Arrow's own streaming reads many blocks ahead, which is most of a remote file.
    """
    pending = b""
    while block := stream.read(block_bytes):
        pending += block
        cut = pending.rfind(b"\n") + 1
        while cut and pending.count(b'"', 0, cut) % 2:
            cut = pending.rfind(b"\n", 0, cut - 1) + 1
        if cut:
            yield pending[:cut]
            pending = pending[cut:]
    if pending:
        yield pending


def _open_sequentially(path: Location) -> BinaryIO:
    return path.open("rb", access="sequential") if isinstance(path, RemoteFile) else path.open("rb")


def _conversion(schema: pa.Schema) -> pa.csv.ConvertOptions:
    types = {field.name: field.type for field in schema}
    return pa.csv.ConvertOptions(column_types=types, strings_can_be_null=False, null_values=[""])


def _no_csv(path: Location, error: Exception, schema: pa.Schema) -> CircuitArtifactsError:
    """What a failure to read a CSV file means."""
    message = str(error).partition("\n")[0]
    if isinstance(error, CircuitArtifactsError):
        return error
    if isinstance(error, pa.ArrowInvalid) and "conversion error" in message:
        problem = "a cell has another type than its column"
        return SchemaError(problem, file=path, found=message, expected=_types(schema))
    return _unreadable(path, error)


def write_parquet(table: pa.Table, path: Path, record: provenance.Provenance | None = None) -> None:
    """Write a parquet file with zstd, a page index, and the provenance in its metadata."""
    if record is not None:
        metadata = {**(table.schema.metadata or {}), provenance.KEY: record.embedded()}
        table = table.replace_schema_metadata(metadata)
    pq.write_table(table, path, compression="zstd", write_page_index=True, row_group_size=_ROW_GROUP_ROWS)


def _open_parquet(path: Location) -> pq.ParquetFile:
    try:
        source = path.open("rb", access="ranges") if isinstance(path, RemoteFile) else path
        # Columns are read a little at a time: a first row does not need them whole, and memory may not hold them.
        return pq.ParquetFile(source, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    except (OSError, pa.ArrowInvalid) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Location, error: Exception) -> CircuitArtifactsError:
    if isinstance(error, FileNotFoundError):
        problem = "there is no such file"
        return MissingArtifactError(problem, file=path)
    found = str(error).partition("\n")[0]
    if isinstance(path, RemoteFile) and isinstance(error, OSError):
        problem = "the file cannot be read where it is"
        return SourceError(problem, file=path, found=found, remedy="Try again, or load it without streaming.")
    problem = "the file is truncated, or not of its format"
    return FormatError(problem, file=path, found=found, remedy="Get the file again.")


def _check_columns(path: Location, found: list[str], expected: list[str]) -> None:
    if sorted(found) == sorted(expected):
        return
    missing = [name for name in expected if name not in found]
    surplus = [name for name in found if name not in expected]
    parts = [f"missing {missing}"] * bool(missing) + [f"unexpected {surplus}"] * bool(surplus)
    problem = "the columns are not those of the schema: " + " and ".join(parts or ["a column appears twice"])
    raise SchemaError(problem, file=path, where="header", found=found, expected=expected)


def _conform(path: Location, table: pa.Table, schema: pa.Schema, first_row: int = 0) -> pa.Table:
    """Cast to the schema without losing anything, and refuse nulls where the model has none."""
    columns = []
    for field in schema:
        column = table.column(field.name)
        if column.null_count and not field.nullable:
            row = first_row + pc.index(column.is_null(), True).as_py()
            problem = f"{column.null_count} null value(s) in a column that has none"
            raise SchemaError(problem, file=path, where=f"{field.name}, row {row}", found="null", expected=field.type)
        try:
            columns.append(column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            problem = "a column has another type"
            raise SchemaError(
                problem, file=path, where=field.name, found=f"{column.type}: {error}", expected=field.type
            ) from error
    return pa.Table.from_arrays(columns, schema=schema)


def _types(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name or '(first column)'} {field.type}" for field in schema)
