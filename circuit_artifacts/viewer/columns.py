"""Rules on columns: what the preview, the search and Croissant can take (hub_and_viewer spec 4.3)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import datasets
from datasets import Array2D, Array3D, Array4D, Array5D, ClassLabel, List, Value

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.viewer.preview import MAX_BYTES, MAX_ROWS, json_bytes, types_size
from circuit_artifacts.viewer.repository import Split
from circuit_artifacts.viewer.rule import Rule
from circuit_artifacts.viewer.types import leaf_features

__all__ = ["RULES"]

_MAX_COLUMNS, _MAX_NAME_LENGTH, _MAX_RESPONSE_BYTES = 1_000, 500, 10_000_000
_MIN_PREVIEW_ROWS = 10
_MAX_STORED_INTEGER = 2**63 - 1
_SEARCHED_TYPES = {"string", "large_string"}
_SEARCHED_FEATURES = tuple(
    getattr(datasets, name)
    for name in ("Json", "Translation", "TranslationVariableLanguages")
    if hasattr(datasets, name)  # Json came after datasets 4.0
)
_COUNTED_FEATURES = (ClassLabel, datasets.Audio, datasets.Image)
_CROISSANT_SKIPS = ("decimal", "duration", "null", "string_view")


def _count(split: Split) -> Iterator[SchemaError]:
    if (count := len(split.schema)) > _MAX_COLUMNS:
        problem, expected = "there are too many columns", f"<= {_MAX_COLUMNS:,}"
        remedy = "Put the numbers of a row into one list."
        yield SchemaError(problem, file=split.place, found=f"{count:,}", expected=expected, remedy=remedy)


def _names(split: Split) -> Iterator[SchemaError]:
    for name in split.schema.names:
        if len(name) > _MAX_NAME_LENGTH:
            problem, found = "the name of a column is too long", f"{len(name):,} characters"
            expected, where = f"<= {_MAX_NAME_LENGTH}", f"{name[:40]}..."
            yield SchemaError(
                problem, file=split.place, where=where, found=found, expected=expected, remedy="Shorten it."
            )


def _response(split: Split) -> Iterator[SchemaError]:
    if (size := json_bytes(split.features.to_dict())) > _MAX_RESPONSE_BYTES:
        problem, expected = "the types of the columns fill too much JSON", f"<= {_MAX_RESPONSE_BYTES / 1e6:.0f} MB"
        remedy = "Declare fewer labels."
        yield SchemaError(problem, file=split.place, found=f"{size / 1e6:,.1f} MB", expected=expected, remedy=remedy)


def _preview_cells(split: Split) -> Iterator[SchemaError]:
    least = min(_MIN_PREVIEW_ROWS, split.rows)
    if (shown := _preview_rows(split)) < least:
        problem, expected = "the first rows are too long", f"{least} rows in {MAX_BYTES // 1_000} kB of JSON"
        remedy = "Store lists of active indices instead of dense vectors, or fewer columns."
        yield SchemaError(problem, file=split.place, found=f"{shown} rows", expected=expected, remedy=remedy)


def _preview_length(split: Split) -> Iterator[SchemaError]:
    most = min(MAX_ROWS, split.rows)
    if _MIN_PREVIEW_ROWS <= (shown := _preview_rows(split)) < most:
        problem, expected = "the first rows are long", f"{most} rows in {MAX_BYTES // 1_000} kB of JSON"
        remedy = "Nothing needs to be done; about 2 kB per row would fit."
        yield SchemaError(problem, file=split.place, found=f"{shown} rows", expected=expected, remedy=remedy)


def _preview_rows(split: Split) -> int:
    """How many of the first rows fit into an answer, beside the types of the columns."""
    ends = itertools.accumulate(split.content.row_sizes, initial=types_size(split.features))
    return sum(end < MAX_BYTES for end in itertools.islice(ends, 1, None))


def _large_integers(split: Split) -> Iterator[SchemaError]:
    for path, values in split.content.integers.items():
        if values.maximum is not None and values.maximum > _MAX_STORED_INTEGER:
            problem, remedy = "an integer is too large", "Store the column as text or float64."
            found, expected = values.maximum, "< 2**63"
            yield SchemaError(problem, file=split.place, where=path, found=found, expected=expected, remedy=remedy)


def _fixed_lists(split: Split) -> Iterator[SchemaError]:
    for name, feature in split.features.items():
        lengths = split.counted.get(name)
        if not isinstance(feature, List) or feature.length < 0 or lengths is None or not lengths.count:
            continue
        if (lengths.minimum, lengths.maximum) != (feature.length, feature.length):
            problem, remedy = "lists are not as long as declared", "Declare a list without a length."
            found, expected = f"lengths {lengths.minimum} to {lengths.maximum}", feature.length
            yield SchemaError(problem, file=split.place, where=name, found=found, expected=expected, remedy=remedy)


def _searched(split: Split) -> Iterator[SchemaError]:
    leaves = [leaf for feature in split.features.values() for leaf in leaf_features(feature)]
    is_text = (
        getattr(leaf, "dtype", None) in _SEARCHED_TYPES or isinstance(leaf, _SEARCHED_FEATURES) for leaf in leaves
    )
    if leaves and not any(is_text):
        problem, remedy = "no column holds text", "Add a column of text, such as the name of the config."
        yield SchemaError(problem, file=split.place, expected="at least one", remedy=remedy)


def _statistics(split: Split) -> Iterator[SchemaError]:
    if split.features and not split.counted and not any(map(_is_counted, split.features.values())):
        problem = "no column has a type the statistics know"
        expected, remedy = "numbers, bool, string, a label, a timestamp or a list", "Add such a column."
        yield SchemaError(problem, file=split.place, expected=expected, remedy=remedy)


def _is_counted(feature: Any) -> bool:
    plain = isinstance(feature, Value) and (feature.dtype == "bool" or feature.dtype.startswith("timestamp"))
    return plain or isinstance(feature, _COUNTED_FEATURES)


def _croissant(split: Split) -> Iterator[SchemaError]:
    for name, feature in split.features.items():
        arrays = isinstance(feature, (Array2D, Array3D, Array4D, Array5D))
        if arrays or str(getattr(feature, "dtype", "")).startswith(_CROISSANT_SKIPS):
            problem, remedy = "Croissant has no such type", "Nothing needs to be done; a list or a plain type has one."
            yield SchemaError(problem, file=split.place, where=name, found=feature, remedy=remedy)


RULES: tuple[Rule[Split], ...] = (
    Rule("error", "column count", "the preview fails", _count),
    Rule("error", "column name", "the column cannot be shown", _names),
    Rule("error", "response size", "the viewer keeps no answer as long as that", _response),
    Rule("error", "preview cells", "the preview cuts their cells to 100 bytes", _preview_cells),
    Rule("note", "preview rows", f"the preview shows no more of up to {MAX_ROWS}", _preview_length),
    Rule("error", "large integer", "the viewer cannot keep it: preview and statistics fail", _large_integers),
    Rule("error", "fixed lists", "preview and rows fail", _fixed_lists),
    Rule("error", "search", "the search of the split is refused", _searched),
    Rule("error", "statistics", "the split has no statistics", _statistics),
    Rule("note", "croissant", "the Croissant file leaves the column out", _croissant),
)
