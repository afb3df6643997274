"""`datasets.Features` of any Arrow schema, as the stock loaders give them.

Integers with labels become `ClassLabel`; numbers in two to five dimensions become `Array2D` to `Array5D`; the rest is
what `datasets` makes of it.
"""

from __future__ import annotations

import json
from typing import Any

import datasets
import pyarrow as pa

__all__ = ["features_of"]

_ARRAYS = {2: datasets.Array2D, 3: datasets.Array3D, 4: datasets.Array4D, 5: datasets.Array5D}


def features_of(schema: pa.Schema) -> datasets.Features:
    """The features of tables with this schema.

    The tables have to be brought to ``features.arrow_schema``: labels are int64 there, and arrays an extension type.
    """
    return datasets.Features({field.name: _feature(field) for field in schema})


def _feature(field: pa.Field) -> Any:
    labels = (field.metadata or {}).get(b"labels")
    if labels is not None:
        return _labelled(field.type, datasets.ClassLabel(names=json.loads(labels)))
    if pa.types.is_struct(field.type):
        return {child.name: _feature(child) for child in field.type}
    shape, item = [], field.type
    while pa.types.is_fixed_size_list(item):
        shape.append(item.list_size)
        item = item.value_type
    is_number = pa.types.is_integer(item) or pa.types.is_floating(item) or pa.types.is_boolean(item)
    if len(shape) in _ARRAYS and is_number and all(shape):
        plain = datasets.Features.from_arrow_schema(pa.schema([pa.field("item", item)]))["item"]
        return _ARRAYS[len(shape)](shape=tuple(shape), dtype=plain.dtype)
    return datasets.Features.from_arrow_schema(pa.schema([field.remove_metadata()]))[field.name]


def _labelled(type_: pa.DataType, label: datasets.ClassLabel) -> Any:
    if pa.types.is_fixed_size_list(type_):
        return datasets.List(_labelled(type_.value_type, label), length=type_.list_size)
    return datasets.List(_labelled(type_.value_type, label)) if pa.types.is_list(type_) else label
