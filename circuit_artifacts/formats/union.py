"""Columns of many files, or many groups of one, under one schema that loses nothing.

Columns are named by their keys, ``("obs", "image")`` for what is nested as ``obs: {image: ...}``. Types are united
where every value can be kept: integers and floats widen, lists of different fixed lengths get any length, text becomes
bytes beside bytes. A column that is missing somewhere is null there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from circuit_artifacts.errors import SchemaError

__all__ = ["Columns", "Keys", "build", "conform", "nested_schema", "unite"]

Keys = tuple[str, ...]
Columns = Mapping[Keys, pa.Field]


def unite(parts: Iterable[tuple[object, Columns]]) -> dict[Keys, pa.Field]:
    """The columns of all parts, each with a type that holds the values of every part.

    Args:
        parts: origin, such as a file, and columns; the origin is for the message.

    Raises:
        SchemaError: no type holds both values, or the labels of two enums differ; names both origins.
    """
    united: dict[Keys, pa.Field] = {}
    origins: dict[Keys, object] = {}
    for origin, columns in parts:
        for keys, field in columns.items():
            known = united.setdefault(keys, field)
            first = origins.setdefault(keys, origin)
            if known is field or known.equals(field, check_metadata=True):
                continue
            common = _common(known, field)
            if common is None:
                problem = "columns of one name do not go together"
                found, expected = _described(field), f"{_described(known)} as in {first}"
                remedy = 'Load them apart, leave one out with select=, or use layout="leaves"'
                raise SchemaError(
                    problem, file=origin, where="/".join(keys), found=found, expected=expected, remedy=remedy
                )
            united[keys] = common
    return united


def nested_schema(columns: Columns) -> pa.Schema:
    """The schema of tables that :func:`build` makes of these columns: keys become nested structs.

    Raises:
        SchemaError: a column has the name of a group of columns.
    """
    return pa.schema(_nest(columns))


def build(arrays: Mapping[Keys, pa.Array], schema: pa.Schema, n_rows: int) -> pa.Table:
    """Put arrays, all of length ``n_rows``, under a schema; what has no array is null.

    Raises:
        SchemaError: a value that its column's type does not hold, such as an integer above 2**53 for float64.
    """
    groups = {keys[:depth] for keys in arrays for depth in range(1, len(keys))}
    columns = [_build(arrays, groups, (field.name,), field.type, n_rows) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def conform(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    """The same values as another type: wider, with more fields, or as an extension type of that storage."""
    if array.type == wanted:
        return array
    if isinstance(wanted, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(wanted, conform(array, wanted.storage_type))
    if not (pa.types.is_struct(wanted) and pa.types.is_struct(array.type)):
        return array.cast(wanted)
    parts = dict(zip((field.name for field in array.type), array.flatten(), strict=True))
    children = [
        conform(parts[field.name], field.type) if field.name in parts else pa.nulls(len(array), field.type)
        for field in wanted
    ]
    return pa.StructArray.from_arrays(children, fields=list(wanted), mask=array.is_null() if array.null_count else None)


def _common(a: pa.Field, b: pa.Field) -> pa.Field | None:
    """The narrowest field that holds the values of both, or None; labels in the metadata have to be the same."""
    types = pa.types
    if types.is_null(a.type) or types.is_null(b.type):
        return b if types.is_null(a.type) else a
    if a.metadata != b.metadata:
        return None
    common = _common_list(a.type, b.type) or _common_struct(a.type, b.type) or _common_plain(a.type, b.type)
    return None if common is None else a.with_type(common)


def _common_plain(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    types = pa.types
    if types.is_nested(a) or types.is_nested(b):
        return None
    if a.equals(b):
        return a
    if all(types.is_integer(t) or types.is_floating(t) for t in (a, b)):
        wide = pa.from_numpy_dtype(np.promote_types(a.to_pandas_dtype(), b.to_pandas_dtype()))
        # numpy makes float64 of int64 and uint64.
        return None if types.is_integer(a) and types.is_integer(b) and not types.is_integer(wide) else wide
    return pa.binary() if {a, b} == {pa.string(), pa.binary()} else None


def _common_list(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if not (_is_list(a) and _is_list(b)):
        return None
    item = _common(a.value_field, b.value_field)
    if item is None:
        return None
    if pa.types.is_fixed_size_list(a) and pa.types.is_fixed_size_list(b) and a.list_size == b.list_size:
        return pa.list_(item, a.list_size)
    return pa.large_list(item) if pa.types.is_large_list(a) or pa.types.is_large_list(b) else pa.list_(item)


def _common_struct(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if not (pa.types.is_struct(a) and pa.types.is_struct(b)):
        return None
    fields: dict[str, pa.Field | None] = {field.name: field for field in a}
    for field in b:
        known = fields.get(field.name)
        fields[field.name] = field if known is None else _common(known, field)
    return None if None in fields.values() else pa.struct(list(fields.values()))


def _is_list(t: pa.DataType) -> bool:
    return bool(pa.types.is_list(t) or pa.types.is_large_list(t) or pa.types.is_fixed_size_list(t))


def _described(field: pa.Field) -> str:
    labels = (field.metadata or {}).get(b"labels")
    return f"{field.type}" if labels is None else f"{field.type} with labels {labels.decode()}"


def _nest(columns: Columns, prefix: Keys = ()) -> Iterator[pa.Field]:
    depth = len(prefix)
    groups: dict[str, dict[Keys, pa.Field]] = {}
    for keys, field in columns.items():
        groups.setdefault(keys[depth], {})[keys] = field
    for name, inside in groups.items():
        keys = (*prefix, name)
        if keys not in inside:
            yield pa.field(name, pa.struct(list(_nest(inside, keys))))
        elif len(inside) > 1:
            problem = "a dataset in one file has the name of a group in another"
            raise SchemaError(problem, where="/".join(keys), remedy="Load them apart, or leave one out with select=")
        else:
            yield inside[keys].with_name(name)


def _build(
    arrays: Mapping[Keys, pa.Array], groups: set[Keys], keys: Keys, wanted: pa.DataType, n_rows: int
) -> pa.Array:
    if keys in groups:
        children: list[Any] = [_build(arrays, groups, (*keys, f.name), f.type, n_rows) for f in wanted]
        return pa.StructArray.from_arrays(children, fields=list(wanted))
    if keys not in arrays:
        return pa.nulls(n_rows, wanted)
    try:
        return conform(arrays[keys], wanted)
    except pa.ArrowInvalid as error:
        problem = "a value does not fit into the column that all files share"
        raise SchemaError(problem, where="/".join(keys), found=error, expected=wanted) from error
