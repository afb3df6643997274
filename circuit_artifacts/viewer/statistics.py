"""The viewer's statistics: one column it cannot count takes them from the whole split (hub_and_viewer spec 4.3)."""

from __future__ import annotations

from collections.abc import Iterator
from math import isinf
from pathlib import Path

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.viewer.repository import Split
from circuit_artifacts.viewer.rule import Rule
from circuit_artifacts.viewer.scan import integer_leaves, read_footer

__all__ = ["RULES", "neighbouring_values"]

_MAX_EXACT_INTEGER = 2**53
_FAIL = "the statistics of the whole split fail"
_NEIGHBOURS = {
    "integer": ("the least and the greatest value", "Store the column as bool, ClassLabel or float64."),
    "list": ("the least and the greatest length of a list", "Store null for empty lists, or lists of one length."),
    "text": ("the least and the greatest length of a text", "Wrap each text in a list, or pad it."),
}


def neighbouring_values(*paths: Path) -> list[str]:
    """The integer columns whose least and greatest values differ by one, such as labels 0 and 1.

    The footers are read, and data only where they have no statistics.

    Args:
        paths: one parquet file, or all files of a split.

    Raises:
        FormatError: a file is not parquet, or damaged.
    """
    footers = [read_footer(path) for path in paths]
    columns = {name for footer in footers for name in footer.schema.names}
    return [path for path, values in integer_leaves(footers).items() if values.neighbouring and path in columns]


def _neighbours(split: Split) -> Iterator[SchemaError]:
    for name, values in split.counted.items():
        if values.kind != "float" and values.neighbouring and not values.is_category(split.rows):
            what, remedy = _NEIGHBOURS[values.kind]
            problem, found = f"{what} differ by just one", f"{values.minimum} and {values.maximum}"
            yield SchemaError(problem, file=split.place, where=name, found=found, remedy=remedy)


def _infinite(split: Split) -> Iterator[SchemaError]:
    for name, values in split.counted.items():
        if values.kind == "float" and isinf(values.magnitude):
            problem, found = "a float is infinite", f"{values.minimum} to {values.maximum}"
            remedy = "Store null or NaN instead."
            yield SchemaError(problem, file=split.place, where=name, found=found, expected="finite", remedy=remedy)


def _inexact(split: Split) -> Iterator[SchemaError]:
    for name, values in split.counted.items():
        if values.kind == "integer" and values.magnitude > _MAX_EXACT_INTEGER:
            problem, found = "an integer is not exact as a float", f"{values.minimum} to {values.maximum}"
            remedy = "Store the column as text or float64."
            yield SchemaError(problem, file=split.place, where=name, found=found, expected="<= 2**53", remedy=remedy)


def _single(split: Split) -> Iterator[SchemaError]:
    for name, values in split.counted.items():
        if values.count == 1 and not values.is_category(split.rows):
            problem, remedy = "a column has a single value that is not null", "Store the column as text, or more rows."
            yield SchemaError(problem, file=split.place, where=name, found=1, expected="0, or >= 2", remedy=remedy)


RULES: tuple[Rule[Split], ...] = (
    Rule("error", "neighbouring values", _FAIL, _neighbours),
    Rule("error", "infinite", _FAIL, _infinite),
    Rule("error", "inexact integer", _FAIL, _inexact),
    Rule("error", "single value", _FAIL, _single),
)
