"""Tables of files that nobody has declared: their columns are those of the file, their types those of its values.

Types that `datasets` does not have become the nearest that it has. Text of CSV and JSON stays text: dates are not
guessed, ``null`` and ``NA`` are words, and whole numbers that no integer column can hold stay text in CSV and are
refused in JSON, which has no text for them.
"""

from __future__ import annotations

import csv
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import pyarrow.parquet as pq

from circuit_artifacts.errors import FormatError, SchemaError
from circuit_artifacts.formats.reader import Request
from circuit_artifacts.formats.tabular import stream_csv

__all__ = ["CsvTable", "InferredTable", "JsonLines", "ParquetTable"]

_TABLE_BYTES = 16 << 20
_BLOCK_BYTES = 8 << 20
_BUFFER_BYTES = 1 << 20
_TRUTH = pa.array(["true", "false", "True", "False", "TRUE", "FALSE"])
_LONG_NUMBER = r"^[+-]?\d{19,}$"
_LONG_JSON_NUMBER = re.compile(rb"[:\[,]\s*(-?\d{19,4000})\s*[,}\]]")


class InferredTable(ABC):
    """Reads a file whose schema is found by looking at it, once."""

    def __init__(self, request: Request) -> None:
        del request  # says nothing about the columns
        self._schemas: dict[Path, pa.Schema] = {}

    def schema(self, path: Path) -> pa.Schema:
        """The columns of the file.

        Raises:
            FormatError: not of its format.
            SchemaError: a column with values that do not go together, or of a type that `datasets` does not have.
        """
        if path not in self._schemas:
            self._schemas[path] = self._infer(path)
        return self._schemas[path]

    def shards(self, path: Path) -> list[int]:
        """One: these files pass as a stream."""
        del path
        return [0]

    @abstractmethod
    def tables(self, path: Path, shard: int) -> Iterator[pa.Table]:
        """The rows, under `schema`, in tables of bounded size."""

    @abstractmethod
    def _infer(self, path: Path) -> pa.Schema: ...


class CsvTable(InferredTable):
    """CSV: integers, floats, booleans where all cells of a column are, else text."""

    def tables(self, path: Path, shard: int) -> Iterator[pa.Table]:
        """The rows, in file order."""
        del shard
        names = self.schema(path).names
        for table in stream_csv(path, self._in_file(path)):
            yield table.rename_columns(names)

    def _infer(self, path: Path) -> pa.Schema:
        header = _header(path)
        possible = {name: [pa.int64(), pa.float64(), pa.bool_()] for name in header}
        filled = dict.fromkeys(header, False)
        for table in stream_csv(path, pa.schema([(name, pa.string()) for name in header])):
            for name in header:
                cells = table[name].filter(pc.not_equal(table[name], ""))
                possible[name] = [kind for kind in possible[name] if _are(cells, kind)]
                filled[name] |= len(cells) > 0
        types = [possible[name][0] if possible[name] and filled[name] else pa.string() for name in header]
        return pa.schema(
            [(name or f"column_{i}", kind) for i, (name, kind) in enumerate(zip(header, types, strict=True))]
        )

    def _in_file(self, path: Path) -> pa.Schema:
        return pa.schema(zip(_header(path), self.schema(path).types, strict=True))


class JsonLines(InferredTable):
    """JSON, one object per line."""

    def tables(self, path: Path, shard: int) -> Iterator[pa.Table]:
        """The rows, in file order."""
        del shard
        schema = self.schema(path)
        for block in _blocks(path):
            yield _read_json(path, block, schema).select(schema.names)

    def _infer(self, path: Path) -> pa.Schema:
        for block in _blocks(path):
            _refuse_huge_numbers(path, block)
        schemas = (_without_times(_read_json(path, block).schema) for block in _blocks(path))
        try:
            united = reduce(lambda a, b: pa.unify_schemas([a, b], promote_options="permissive"), schemas, pa.schema([]))
        except pa.ArrowTypeError as error:
            problem = "values of one column do not go together"
            raise SchemaError(problem, file=path, found=error) from error
        if not united.names:
            problem = "there is no row"
            raise SchemaError(problem, file=path)
        return united


class ParquetTable(InferredTable):
    """Parquet."""

    def tables(self, path: Path, shard: int) -> Iterator[pa.Table]:
        """The rows, in file order."""
        del shard
        schema = self.schema(path)
        with _open_parquet(path) as file:
            groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
            row_bytes = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
            try:
                for batch in file.iter_batches(max(1, _TABLE_BYTES // max(row_bytes, 1024))):
                    yield pa.Table.from_batches([batch]).cast(schema)
            except (OSError, pa.ArrowException) as error:
                raise _unreadable(path, error) from error

    def _infer(self, path: Path) -> pa.Schema:
        with _open_parquet(path) as file:
            found = file.schema_arrow
        return pa.schema([field.with_type(_plain(field.type)).remove_metadata() for field in found])


def _header(path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as text:
            header = next(csv.reader(text), [])
    except (ValueError, csv.Error) as error:
        raise _unreadable(path, error) from error
    if not header or len(set(header)) < len(header):
        problem = "the first line does not name each column once"
        raise SchemaError(problem, file=path, where="header", found=header)
    return header


def _are(cells: pa.ChunkedArray, kind: pa.DataType) -> bool:
    """Whether all texts are of a type, losing nothing."""
    if kind == pa.bool_():
        return bool(pc.all(pc.is_in(cells, _TRUTH), min_count=0).as_py())
    if kind == pa.float64() and pc.any(pc.match_substring_regex(cells, _LONG_NUMBER)).as_py():
        return False
    try:
        cells.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _blocks(path: Path) -> Iterator[bytes]:
    """Whole lines, a few megabytes at a time."""
    with path.open("rb") as stream:
        while lines := stream.readlines(_BLOCK_BYTES):
            if block := b"".join(lines).strip():
                yield block


def _read_json(path: Path, block: bytes, schema: pa.Schema | None = None) -> pa.Table:
    try:
        return pa.json.read_json(
            pa.BufferReader(block),
            read_options=pa.json.ReadOptions(block_size=len(block) + 1),
            parse_options=pa.json.ParseOptions(explicit_schema=schema),
        )
    except pa.ArrowException as error:
        raise _unreadable(path, error) from error


def _refuse_huge_numbers(path: Path, block: bytes) -> None:
    """Refuse whole numbers that only a float could hold, which is how Arrow would read them.

    Raises:
        SchemaError: there is one.
    """
    for match in _LONG_JSON_NUMBER.finditer(block):
        if not -(2**63) <= int(match[1]) < 2**63 and _holds_integer(block, match):
            problem, expected = "a whole number does not fit into a column of integers", "64 bits"
            found = match[1].decode()[:40]
            raise SchemaError(problem, file=path, found=found, expected=expected, remedy="Write it as text.")


def _holds_integer(block: bytes, match: re.Match[bytes]) -> bool:
    """Whether what looks like a number is one, and no part of a text: quotes before it in its line come in pairs."""
    line = block[block.rfind(b"\n", 0, match.start()) + 1 : match.start(1)]
    return re.sub(rb"\\.", b"", line).count(b'"') % 2 == 0


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)  # else it keeps what it has read
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> FormatError:
    problem = "the file is not of its format, or cut short"
    return FormatError(problem, file=path, found=str(error).partition("\n")[0], remedy="Get the file again.")


def _without_times(schema: pa.Schema) -> pa.Schema:
    """The schema with text where the JSON reader takes text for times."""
    return pa.schema([field.with_type(_plain(field.type, times=False)) for field in schema])


def _plain(kind: pa.DataType, *, times: bool = True) -> pa.DataType:
    """The nearest type that `datasets` has; without times, text for them."""
    types = pa.types

    def plain(inner: pa.DataType) -> pa.DataType:
        return _plain(inner, times=times)

    makers: list[tuple[Callable[[pa.DataType], bool], Callable[[], pa.DataType]]] = [
        (lambda t: isinstance(t, pa.BaseExtensionType), lambda: plain(kind.storage_type)),
        (types.is_dictionary, lambda: plain(kind.value_type)),
        (types.is_map, lambda: pa.list_(pa.struct({"key": plain(kind.key_type), "value": plain(kind.item_type)}))),
        (types.is_struct, lambda: pa.struct([field.with_type(plain(field.type)) for field in kind])),
        (types.is_fixed_size_list, lambda: pa.list_(plain(kind.value_type), kind.list_size)),
        (types.is_large_list, lambda: pa.large_list(plain(kind.value_type))),
        (types.is_list, lambda: pa.list_(plain(kind.value_type))),
        (types.is_fixed_size_binary, pa.binary),
        (types.is_binary_view, pa.binary),
        (types.is_string_view, pa.string),
        (lambda t: types.is_temporal(t) and not times, pa.string),
    ]
    return next((make() for fits, make in makers if fits(kind)), kind)
