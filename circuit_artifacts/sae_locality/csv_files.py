"""CSV tables of the repository, whose columns have changed over time.

Unlike the tables of other mirrors, these are read by what their header says: known columns get their type, others are
kept as text in ``extra``. ``null``, ``NA`` and ``None`` are text where a column is text: they are tokens.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from circuit_artifacts.errors import FormatError, SchemaError
from circuit_artifacts.formats.bounded import open_bounded
from circuit_artifacts.sae_locality.files import RepositoryFile, make_table, note_unknown
from circuit_artifacts.sae_locality.json_files import json_text
from circuit_artifacts.schemas.common import ArtifactModel, arrow_schema

__all__ = ["read_text_columns", "typed", "typed_table"]

_LARGEST = 256 << 20
"""Bytes of one table; the largest that is known, 44,253 pairs, takes 6 MB."""
_PARSING = pa.csv.ParseOptions(newlines_in_values=True)


def read_text_columns(file: RepositoryFile) -> dict[str, pa.ChunkedArray]:
    """Read every column of a table as text; a file without any text, not even a header, has no columns.

    Raises:
        MissingArtifactError: there is no such file.
        FormatError: not CSV, or larger than 256 MiB.
        SchemaError: a column appears twice.
    """
    with open_bounded(file.path, largest=_LARGEST) as stream:
        data = stream.read().removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        return {}
    try:
        header = next(csv.reader(io.StringIO(data.decode("utf-8"), newline="")))
        repeated = {name for name in header if header.count(name) > 1}
        if repeated:
            problem = "a column appears twice"
            raise SchemaError(problem, file=file.path, where="header", found=", ".join(sorted(repeated)))
        conversion = pa.csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False, quoted_strings_can_be_null=False
        )
        table = pa.csv.read_csv(io.BytesIO(data), parse_options=_PARSING, convert_options=conversion)
    except (pa.ArrowInvalid, csv.Error, UnicodeDecodeError) as error:
        problem = "the file is truncated, or not CSV"
        found = str(error).partition("\n")[0]
        raise FormatError(problem, file=file.path, found=found, remedy="Get the file again.") from error
    return {name: table.column(name) for name in table.column_names}


def typed_table(
    file: RepositoryFile,
    row: type[ArtifactModel],
    given: Mapping[str, Any],
    *,
    columns: Mapping[str, pa.ChunkedArray] | None = None,
) -> pa.Table:
    """The rows of a CSV table under a row model.

    Args:
        file: the table.
        row: the model. Columns that are neither given nor in the file are null, if the model allows that.
        given: values of columns that the file does not have, one for all rows or an array.
        columns: text columns, if they have been read and renamed; None reads the file.

    Raises:
        MissingArtifactError: there is no such file.
        FormatError: not CSV.
        SchemaError: a column is missing, or a cell has another type than its column.
    """
    columns = read_text_columns(file) if columns is None else columns
    schema = arrow_schema(row)
    n_rows = len(next(iter(columns.values()))) if columns else 0
    if n_rows == 0:
        return make_table(row, {}, 0, file=file)
    taken = {field.name: field for field in schema if field.name in columns and field.name not in {*given, "extra"}}
    missing = [f.name for f in schema if not f.nullable and f.name not in taken and f.name not in given]
    if missing:
        problem = f"missing column(s): {', '.join(missing)}"
        raise SchemaError(problem, file=file.path, where="header", found=", ".join(columns))
    values = {name: typed(columns[name], field, file=file) for name, field in taken.items()}
    surplus = {name: column for name, column in columns.items() if name not in taken}
    if "extra" in schema.names:
        given = {"extra": _extra(file, surplus), **given}
    return make_table(row, {**values, **given}, n_rows, file=file)


def typed(column: pa.ChunkedArray, field: pa.Field, *, file: RepositoryFile) -> pa.ChunkedArray:
    """A column of text as that of a field; an empty cell or ``nan`` is null where the field is a number.

    Raises:
        SchemaError: a cell has another type, or is empty where that is not allowed.
    """
    if pa.types.is_string(field.type):
        return column
    is_empty = pc.or_(pc.equal(column, ""), pc.equal(pc.utf8_lower(column), "nan"))
    numbers = pc.if_else(is_empty, pa.scalar(None, pa.string()), column)
    if numbers.null_count and not field.nullable:
        problem = "an empty cell in a column that has none"
        place = f"{field.name}, row {pc.index(is_empty, True).as_py()}"
        raise SchemaError(problem, file=file.path, where=place, expected=field.type)
    try:
        # Whole numbers beside empty cells are written with a decimal point by pandas.
        return numbers.cast(pa.float64()).cast(field.type) if _has_points(numbers) else numbers.cast(field.type)
    except pa.ArrowInvalid as error:
        problem = "a cell has another type than its column"
        found = str(error).partition("\n")[0]
        raise SchemaError(problem, file=file.path, where=field.name, found=found, expected=field.type) from error


def _has_points(column: pa.ChunkedArray) -> bool:
    return bool(pc.any(pc.match_substring(column, ".")).as_py())


def _extra(file: RepositoryFile, columns: Mapping[str, pa.ChunkedArray]) -> list[str] | None:
    """Unknown columns of each row as a JSON object."""
    if not columns:
        return None
    note_unknown(file.place.kind, columns)
    cells = zip(*(column.to_pylist() for column in columns.values()), strict=True)
    return [json_text(dict(zip(columns, row, strict=True))) for row in cells]
