"""Columns as the Hub's viewer can show, search and count them (hub_and_viewer spec 4.3)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import count

import pyarrow as pa

from circuit_artifacts.schemas.common import FEATURE_KEY

__all__ = ["as_floats", "conform", "label_columns", "labelled", "searchable", "union"]


def union(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """All columns: first those that only some have, which become nullable, then those that all have."""
    fields = list(pa.unify_schemas(list(schemas)))
    shared = [field for field in fields if all(field.name in schema.names for schema in schemas)]
    return pa.schema([field.with_nullable(nullable=True) for field in fields if field not in shared] + shared)


def searchable(schema: pa.Schema) -> pa.Schema:
    """The schema with a column of text, without which the viewer's search refuses a split.

    The column is called ``config`` and is meant to hold the config's name; ``config_name`` if that is taken.
    """
    if any(map(_holds_text, schema.types)):
        return schema
    name = next(name for n in count() if (name := "config" + n * "_name") not in schema.names)
    return schema.append(pa.field(name, pa.string(), nullable=False))


def _holds_text(kind: pa.DataType) -> bool:
    children = (kind.field(index).type for index in range(kind.num_fields))
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or any(map(_holds_text, children))


def label_columns(schema: pa.Schema) -> list[str]:
    """Columns whose integers stand for labels, which their metadata name."""
    return [field.name for field in schema if b"labels" in (field.metadata or {})]


def labelled(schema: pa.Schema) -> pa.Schema:
    """The schema with what tells `datasets` that integers are class labels, and bytes images."""
    names = label_columns(schema) + [field.name for field in schema if FEATURE_KEY in (field.metadata or {})]
    if not names:
        return schema
    from datasets import Features

    from circuit_artifacts.builders.features import features_of

    features = Features.from_arrow_schema(schema.remove_metadata())
    features.update({name: features_of(pa.schema([schema.field(name)]))[name] for name in names})
    known = features.arrow_schema
    # `datasets` believes what is said of a field only if the field could be null.
    fields = [
        known.field(field.name).with_metadata(field.metadata) if field.name in names else field for field in schema
    ]
    return pa.schema(fields, {**(schema.metadata or {}), **known.metadata})


def as_floats(schema: pa.Schema, columns: Collection[str]) -> pa.Schema:
    """The schema with some columns as float64."""
    fields = [field.with_type(pa.float64()) if field.name in columns else field for field in schema]
    return pa.schema(fields, schema.metadata)


def conform(tables: Iterator[pa.Table], schema: pa.Schema, constant: str) -> Iterator[pa.Table]:
    """The tables under a schema; what they lack is null, or `constant` where null is not allowed."""
    for table in tables:
        columns = [
            table[field.name] if field.name in table.column_names else _filled(field, len(table), constant)
            for field in schema
        ]
        yield pa.table(columns, names=schema.names).cast(schema)


def _filled(field: pa.Field, length: int, constant: str) -> pa.Array:
    return pa.nulls(length, field.type) if field.nullable else pa.repeat(pa.scalar(constant, field.type), length)
