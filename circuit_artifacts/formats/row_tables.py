"""Columns that a reader has gathered, as a table under a row model's schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.schemas.common import ArtifactModel, arrow_schema

__all__ = ["NamedFile", "make_table"]


class NamedFile(Protocol):
    """A file on this machine, and its name in the repository that it is from."""

    @property
    def path(self) -> Path:
        """Where it is on this machine."""

    @property
    def name(self) -> str:
        """Its path in the repository, with forward slashes."""


def make_table(
    row: type[ArtifactModel],
    columns: Mapping[str, Any],
    n_rows: int,
    *,
    file: NamedFile | None = None,
    width: int | None = None,
) -> pa.Table:
    """A table under a row model's schema.

    Args:
        row: the model.
        columns: lists and arrays of ``n_rows`` values, or one value for all rows; a column that is absent is null.
        n_rows: number of rows.
        file: where the rows are from, for messages.
        width: of the model's vectors.

    Raises:
        SchemaError: a column has values of another type, or nulls where the model has none.
    """
    schema = arrow_schema(row, width=width)
    arrays = []
    for field in schema:
        try:
            array = _column(columns.get(field.name), field.type, n_rows)
        except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
            problem = "a value has another type than its column"
            found = str(error).partition("\n")[0]
            raise _misfit(problem, file, field, found) from error
        if len(array) != n_rows or (array.null_count and not field.nullable):
            problem = "there is not one value per row"
            raise _misfit(problem, file, field, f"{len(array) - array.null_count} for {n_rows} rows")
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=schema)


def _column(value: Any, kind: pa.DataType, n_rows: int) -> pa.Array | pa.ChunkedArray:
    if isinstance(value, pa.Array | pa.ChunkedArray):
        return value.cast(kind)
    if isinstance(value, list | np.ndarray):
        return pa.array(value, kind)
    return pa.repeat(pa.scalar(value, kind), n_rows)


def _misfit(problem: str, file: NamedFile | None, field: pa.Field, found: str) -> SchemaError:
    path = None if file is None else file.path
    return SchemaError(problem, file=path, where=field.name, found=found, expected=field.type)
