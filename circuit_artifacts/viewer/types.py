"""Questions about Arrow types and the features of `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import datasets
import pyarrow as pa

__all__ = ["is_text", "leaf_features", "storage_type", "takes"]


def storage_type(type_: pa.DataType) -> pa.DataType:
    """The type under an extension type."""
    return type_.storage_type if isinstance(type_, pa.BaseExtensionType) else type_


def is_text(type_: pa.DataType) -> bool:
    """Whether values are strings."""
    if pa.types.is_dictionary(type_):
        return is_text(type_.value_type)
    return any((pa.types.is_string(type_), pa.types.is_large_string(type_), pa.types.is_string_view(type_)))


def takes(wanted: pa.DataType, found: pa.DataType) -> bool:
    """Whether a column of one type can be cast to another, whatever its values are."""
    if is_text(found) and not is_text(wanted):
        return False
    try:
        pa.array([], found).cast(wanted)
    except pa.ArrowException:
        return False
    return True


def leaf_features(feature: Any) -> Iterator[Any]:
    """The features inside lists and structs, or the feature itself."""
    if isinstance(feature, dict):
        for inner in feature.values():
            yield from leaf_features(inner)
    elif isinstance(feature, list):
        yield from leaf_features(feature[0])
    elif isinstance(feature, (datasets.List, datasets.LargeList)):
        yield from leaf_features(feature.feature)
    else:
        yield feature
