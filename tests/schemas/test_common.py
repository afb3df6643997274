"""Row models and the Arrow schemas that follow from them."""

from __future__ import annotations

from typing import Annotated, Any

import datasets
import pyarrow as pa
import pytest
from pydantic import Field, ValidationError

from circuit_artifacts import catalog
from circuit_artifacts.schemas.common import (
    ActiveDimensions,
    ArtifactModel,
    DenseMask,
    Int32,
    Vector,
    arrow_schema,
)


class Row(ArtifactModel):
    text: str
    maybe: str | None
    number: int
    small: Int32
    maybe_small: Int32 | None
    real: float
    flag: bool
    active: ActiveDimensions
    mask: DenseMask
    vector: Annotated[list[float], Vector(pa.float32())]
    renamed: int = Field(alias="p=0.0")


def test_every_kind_of_field() -> None:
    assert arrow_schema(Row, width=5) == pa.schema(
        [
            pa.field("text", pa.string(), nullable=False),
            pa.field("maybe", pa.string()),
            pa.field("number", pa.int64(), nullable=False),
            pa.field("small", pa.int32(), nullable=False),
            pa.field("maybe_small", pa.int32()),
            pa.field("real", pa.float64(), nullable=False),
            pa.field("flag", pa.bool_(), nullable=False),
            pa.field("active", pa.list_(pa.uint16()), nullable=False),
            pa.field("mask", pa.list_(pa.bool_(), 5), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), 5), nullable=False),
            pa.field("p=0.0", pa.int64(), nullable=False),
        ]
    )


def test_without_a_width_vectors_have_any_length() -> None:
    assert arrow_schema(Row).field("vector").type == pa.list_(pa.float32())


@pytest.mark.parametrize("annotation", [bytes, list[int], dict[str, int], int | str | None])
def test_fields_without_an_arrow_type_are_named(annotation: Any) -> None:
    # Holds down: a union of two types that silently becomes its first.
    model = type("Odd", (ArtifactModel,), {"__annotations__": {"field": annotation}})
    with pytest.raises(TypeError, match=r"Odd\.field"):
        arrow_schema(model)


def test_models_are_frozen_and_refuse_unknown_names() -> None:
    class Small(ArtifactModel):
        number: int

    with pytest.raises(ValidationError, match="surplus"):
        Small.model_validate({"number": 1, "surplus": 2})
    with pytest.raises(ValidationError, match="frozen"):
        Small(number=1).number = 2


def test_the_columns_of_every_split_survive_the_trip_to_features() -> None:
    for mirror in catalog.mirrors().values():
        for family in mirror.families:
            for split in family.splits:
                schema = arrow_schema(split.row, width=mirror.width)
                back = datasets.Features.from_arrow_schema(schema).arrow_schema
                assert back.names == schema.names
                assert [field.type for field in back] == [field.type for field in schema], family.name
