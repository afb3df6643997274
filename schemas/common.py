"""The base of every schema, and the one mapping from row models to Arrow.

A row model is the single source of column types: the Arrow schema is derived from it here, and `datasets.Features`
are derived from the Arrow schema. `pydantic_to_pyarrow` was considered; it has neither sized integers nor fixed-size
lists, which these tables need.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

__all__ = [
    "ActiveDimensions",
    "ArtifactModel",
    "DenseMask",
    "Image",
    "Int32",
    "Vector",
    "arrow_schema",
    "has_vectors",
]

FEATURE_KEY = b"feature"
"""Metadata of a field: the feature of `datasets` that it is, where its Arrow type does not tell."""

_ENCODED = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_ARROW_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
}


class ArtifactModel(BaseModel):
    """Frozen, and strict about names: a misspelled key in a metadata file must fail, not vanish."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Vector:
    """Marks a list field as one vector of the model's width: a fixed-size list once the width is known."""

    value_type: pa.DataType


@dataclass(frozen=True)
class Encoded:
    """Marks a field as an encoded feature of `datasets`, such as ``Image``, stored as bytes with a file name."""

    feature: str


Int32 = Annotated[int, pa.int32()]
Image = Annotated[dict[str, Any], Encoded("Image")]
ActiveDimensions = Annotated[list[int], pa.list_(pa.uint16())]
DenseMask = Annotated[list[bool], Vector(pa.bool_())]


def arrow_schema(row: type[BaseModel], *, width: int | None = None) -> pa.Schema:
    """The Arrow schema of a row model.

    Args:
        row: a model whose fields are scalars, optional scalars, or `Annotated` with an Arrow type or a `Vector`.
        width: length of `Vector` columns; None leaves them of variable length.

    Raises:
        TypeError: a field has no Arrow type.
    """
    fields = []
    for name, field in row.model_fields.items():
        annotation, nullable = _without_none(field.annotation)
        marker = next((item for item in field.metadata if isinstance(item, pa.DataType | Vector | Encoded)), None)
        if marker is None and get_origin(annotation) is Annotated:
            annotation, *markers = get_args(annotation)
            marker = next((item for item in markers if isinstance(item, pa.DataType | Vector | Encoded)), None)
        metadata = None
        if isinstance(marker, Encoded):
            arrow_type, metadata = _ENCODED, {FEATURE_KEY: marker.feature.encode()}
        elif isinstance(marker, Vector):
            arrow_type = pa.list_(marker.value_type, -1 if width is None else width)
        elif marker is not None:
            arrow_type = marker
        elif annotation in _ARROW_TYPES:
            arrow_type = _ARROW_TYPES[annotation]
        else:
            msg = f"{row.__name__}.{name}: no Arrow type for {annotation!r}"
            raise TypeError(msg)
        fields.append(pa.field(field.alias or name, arrow_type, nullable=nullable, metadata=metadata))
    return pa.schema(fields)


def has_vectors(row: type[BaseModel]) -> bool:
    """Whether a row holds vectors of the model's width."""
    narrow, wide = (arrow_schema(row, width=width) for width in (1, 2))
    return bool(narrow != wide)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    members = [member for member in get_args(annotation) if member is not type(None)]
    if len(members) > 1:  # no column holds two types: the caller will find no Arrow type for the union
        return annotation, False
    return members[0], True
