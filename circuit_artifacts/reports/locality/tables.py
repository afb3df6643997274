"""What a figure takes from a table: the columns it needs of the rows it shows, as pandas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from circuit_artifacts.errors import SchemaError

__all__ = ["Floats", "Frame", "columns", "distinct", "has_nulls", "matrix", "only", "rows_of"]

Floats: TypeAlias = npt.NDArray[np.float64]
Frame: TypeAlias = pa.Table | pd.DataFrame
"""Rows of one model of `schemas.sae_locality`."""


def rows_of(table: Frame, **where: int | str) -> Frame:
    """The rows in which columns have the given values."""
    for name, value in where.items():
        table = table.filter(pc.field(name) == value) if isinstance(table, pa.Table) else table[table[name] == value]
    return table


def columns(table: Frame, names: Sequence[str], **where: int | str) -> pd.DataFrame:
    """Some columns of the rows in which other columns have the given values; nothing else is touched.

    Raises:
        SchemaError: a column is missing.
    """
    needed = list(dict.fromkeys((*names, *where)))
    if missing := [name for name in needed if name not in _names(table)]:
        problem = "the table lacks columns that the figure needs"
        raise SchemaError(problem, where=", ".join(missing), found=", ".join(_names(table)))
    chosen = rows_of(table.select(needed) if isinstance(table, pa.Table) else table[needed], **where)
    frame: pd.DataFrame = chosen.to_pandas() if isinstance(chosen, pa.Table) else chosen.reset_index(drop=True)
    return frame[list(names)]


def distinct(table: Frame, name: str) -> list[Any]:
    """The values of a column, each once, ascending, without nulls; none if there is no such column."""
    if name not in _names(table):
        return []
    if isinstance(table, pa.Table):
        return sorted(table[name].unique().drop_null().to_pylist())
    return sorted(table[name].dropna().unique().tolist())


def has_nulls(table: Frame, name: str) -> bool:
    """Whether a column lacks the value of some row."""
    missing = table[name].null_count if isinstance(table, pa.Table) else table[name].isna().sum()
    return bool(missing > 0)


def only(name: str, *tables: Frame) -> Any:
    """The one value of a column in all tables; None where none has one.

    Raises:
        SchemaError: several values: rows that do not belong in one figure.
    """
    values = sorted({value for table in tables for value in distinct(table, name)})
    if len(values) > 1:
        problem = f"the rows are of more than one {name}"
        found = ", ".join(map(str, values[:4])) + (", ..." if len(values) > 4 else "")
        raise SchemaError(problem, where=name, found=found, remedy=f"Select the rows of one {name}.")
    return values[0] if values else None


def matrix(vectors: Iterable[npt.NDArray[np.floating]], length: int) -> Floats:
    """Influence vectors of one length as float64 (n, T).

    Raises:
        SchemaError: a vector of another length.
    """
    rows = list(vectors)
    if others := {len(row) for row in rows} - {length}:
        problem = "an influence vector does not have one value per token of its window"
        raise SchemaError(problem, where="influence", found=", ".join(map(str, sorted(others))), expected=length)
    return np.array(rows, dtype=np.float64).reshape(len(rows), length)


def _names(table: Frame) -> list[str]:
    names: list[str] = list(table.column_names if isinstance(table, pa.Table) else table.columns)
    return names
