"""CSV and parquet tables, checked against their row model: columns, types and nulls, with the place of each fault.

``null`` and ``NA`` are text where the column is text; only an empty cell is null, and only where the model allows it.
"""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from circuit_artifacts import provenance
from circuit_artifacts.errors import FormatError, MissingArtifactError, SchemaError
from circuit_artifacts.formats.reader import Request, Shape
from circuit_artifacts.schemas.common import arrow_schema

__all__ = ["CsvReader", "ParquetReader", "TableReader", "WholeTableReader", "read_csv", "write_parquet"]

_SHARDS = 8
_ROW_GROUP_ROWS = 16_384


class TableReader(ABC):
    """Reads a table in up to eight shards of consecutive rows."""

    def __init__(self, request: Request) -> None:
        self.request = request

    def schema(self, path: Path | None) -> pa.Schema:
        """Columns of the row model."""
        width = Shape.of(path, self.request.mirror).width
        return arrow_schema(self.request.split.row, width=width)

    def shards(self, path: Path) -> list[int]:
        """Up to eight, never more than there are rows."""
        return list(range(_n_shards(self._n_rows(path))))

    @abstractmethod
    def tables(self, path: Path, shard: int) -> Iterator[pa.Table]:
        """The consecutive rows of one shard."""

    @abstractmethod
    def _n_rows(self, path: Path) -> int: ...


class WholeTableReader(TableReader):
    """Reads a small table at once; a subclass gives it."""

    @abstractmethod
    def read(self, path: Path) -> pa.Table:
        """The whole table, under `schema`."""

    def tables(self, path: Path, shard: int) -> Iterator[pa.Table]:
        """The consecutive rows of one shard."""
        table = self.read(path)
        start, stop = _bounds(len(table), shard)
        yield table.slice(start, stop - start)

    def _n_rows(self, path: Path) -> int:
        return len(self.read(path))


class CsvReader(WholeTableReader):
    """Reads a CSV file whose header is exactly that of its row model."""

    def read(self, path: Path) -> pa.Table:
        """The whole table.

        Raises:
            MissingArtifactError: no such file.
            SchemaError: other columns, a value of another type, an empty cell where none may be.
        """
        schema = self.schema(path)
        headers = [self.request.split.headers.get(name, name) for name in schema.names]
        return read_csv(path, pa.schema([f.with_name(h) for f, h in zip(schema, headers, strict=True)])).rename_columns(
            schema.names
        )


class ParquetReader(TableReader):
    """Reads a parquet file whose columns are exactly those of its row model."""

    def _n_rows(self, path: Path) -> int:
        with _open_parquet(path) as file:
            return int(file.metadata.num_rows)

    def tables(self, path: Path, shard: int) -> Iterator[pa.Table]:
        """The consecutive rows of one shard, a table per row group."""
        schema = self.schema(path)
        with _open_parquet(path) as file:
            start, stop = _bounds(file.metadata.num_rows, shard)
            _check_columns(path, file.schema_arrow.names, schema.names)
            first = 0
            for group in range(file.metadata.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                low, high = max(start - first, 0), min(stop - first, rows)
                if low < high:
                    try:
                        table = file.read_row_group(group)
                    except (OSError, pa.ArrowInvalid) as error:
                        raise _unreadable(path, error) from error
                    yield _conform(path, table.slice(low, high - low), schema, first_row=first + low)
                first += rows


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
    options = pa.csv.ConvertOptions(
        column_types={field.name: field.type for field in schema}, strings_can_be_null=False, null_values=[""]
    )
    try:
        with path.open(newline="", encoding="utf-8-sig") as text:
            _check_columns(path, next(csv.reader(text), []), schema.names)
        table = pa.csv.read_csv(path, convert_options=options)
    except FileNotFoundError as error:
        problem = "there is no such file"
        raise MissingArtifactError(problem, file=path) from error
    except pa.ArrowInvalid as error:
        message = str(error).splitlines()[0]
        if "conversion error" in message:
            problem = "a cell has another type than its column"
            raise SchemaError(problem, file=path, found=message, expected=_types(schema)) from error
        raise _unreadable(path, error) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, error) from error
    return _conform(path, table, schema)


def write_parquet(table: pa.Table, path: Path, record: provenance.Provenance | None = None) -> None:
    """Write a parquet file with zstd, a page index, and the provenance in its metadata."""
    if record is not None:
        metadata = {**(table.schema.metadata or {}), provenance.KEY: record.embedded()}
        table = table.replace_schema_metadata(metadata)
    pq.write_table(table, path, compression="zstd", write_page_index=True, row_group_size=_ROW_GROUP_ROWS)


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError as error:
        problem = "there is no such file"
        raise MissingArtifactError(problem, file=path) from error
    except (OSError, pa.ArrowInvalid) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> FormatError:
    problem = "the file is truncated, or not of its format"
    return FormatError(problem, file=path, found=str(error).splitlines()[0], remedy="Get the file again.")


def _check_columns(path: Path, found: list[str], expected: list[str]) -> None:
    if sorted(found) == sorted(expected):
        return
    missing = [name for name in expected if name not in found]
    surplus = [name for name in found if name not in expected]
    parts = [f"missing {missing}"] * bool(missing) + [f"unexpected {surplus}"] * bool(surplus)
    problem = "the columns are not those of the schema: " + " and ".join(parts or ["a column appears twice"])
    raise SchemaError(problem, file=path, where="header", found=found, expected=expected)


def _conform(path: Path, table: pa.Table, schema: pa.Schema, first_row: int = 0) -> pa.Table:
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
