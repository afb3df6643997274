"""`datasets.Features` of any Arrow schema, as the stock loaders give them.

A field that says which feature it is, such as an image, becomes that. Integers with labels become `ClassLabel`; numbers
in two to five dimensions become `Array2D` to `Array5D`; the rest is what `datasets` makes of it.
"""

from __future__ import annotations

import json
from typing import Any

import datasets
import pyarrow as pa

from circuit_artifacts.schemas.common import FEATURE_KEY

__all__ = ["features_of"]

_ARRAYS = {2: datasets.Array2D, 3: datasets.Array3D, 4: datasets.Array4D, 5: datasets.Array5D}


def features_of(schema: pa.Schema) -> datasets.Features:
    """The features of tables with this schema.

    The tables have to be brought to ``features.arrow_schema``: labels are int64 there, and arrays an extension type.
    """
    return datasets.Features({field.name: _feature(field) for field in schema})


def _feature(field: pa.Field, labels: bytes | None = None) -> Any:
    """The feature of one field; the labels of a list are those of its elements."""
    if (encoded := (field.metadata or {}).get(FEATURE_KEY)) is not None:
        return getattr(datasets, encoded.decode())()
    labels = (field.metadata or {}).get(b"labels", labels)
    kind = field.type
    if pa.types.is_struct(kind):
        return {child.name: _feature(child) for child in kind}
    if pa.types.is_fixed_size_list(kind):
        array = _array(kind) if labels is None else None
        return array or datasets.List(_feature(kind.value_field, labels), length=kind.list_size)
    if pa.types.is_list(kind):
        return datasets.List(_feature(kind.value_field, labels))
    if labels is not None:
        return datasets.ClassLabel(names=json.loads(labels))
    return datasets.Features.from_arrow_schema(pa.schema([field]))[field.name]


def _array(kind: pa.DataType) -> Any:
    """Numbers in two to five dimensions; None for anything else."""
    shape = []
    item = kind
    while pa.types.is_fixed_size_list(item):
        shape.append(item.list_size)
        item = item.value_type
    is_number = pa.types.is_integer(item) or pa.types.is_floating(item) or pa.types.is_boolean(item)
    if len(shape) not in _ARRAYS or not is_number or not all(shape):
        return None
    return _ARRAYS[len(shape)](shape=tuple(shape), dtype=_feature(pa.field("item", item)).dtype)
