"""What a parquet file says about its columns: from its footer where that suffices, else from one bounded reading."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from circuit_artifacts.errors import FormatError

__all__ = ["Footer", "Kind", "Summary", "first_rows", "integer_leaves", "kind_of", "read_footer", "summarise"]

Kind = Literal["integer", "float", "text", "list"]

_BATCH_ROWS, _BATCH_BYTES, _BUFFER_BYTES = 4_096, 16 << 20, 1 << 20
# Above 10 different texts, a fifth of the rows, or 1,000, a text column is no category (hub_and_viewer spec 4.3).
_FEW_TEXTS, _MANY_TEXTS, _ROWS_PER_TEXT = 10, 1_000, 5


@dataclass(frozen=True)
class Footer:
    """The footer of a parquet file.

    Attributes:
        path: the file.
        metadata: sizes, statistics and indexes of its column chunks.
        schema: its columns.
    """

    path: Path
    metadata: pq.FileMetaData
    schema: pa.Schema


@dataclass
class Summary:
    """What the viewer's statistics of one column depend on, over all files of a split.

    Attributes:
        kind: what is counted: the values of numbers, the lengths of texts and lists.
        count: how many values there are, without nulls and NaN.
        minimum: the least value or length; None if there is none.
        maximum: the greatest.
        texts: hashes of the different texts, null included; no more than it takes to know that they are no category.
    """

    kind: Kind
    count: int = 0
    minimum: int | float | None = None
    maximum: int | float | None = None
    texts: set[int] = field(default_factory=set)

    def extend(self, minimum: float | None, maximum: float | None, count: int) -> None:
        """Take in some values by their extremes, which are None if all are null."""
        self.count += count
        self.minimum = min((x for x in (self.minimum, minimum) if x is not None), default=None)
        self.maximum = max((x for x in (self.maximum, maximum) if x is not None), default=None)

    def add(self, values: pa.Array) -> None:
        """Take in some cells of the column."""
        if self.kind == "text" and len(self.texts) <= _MANY_TEXTS:
            self.texts.update(map(hash, pc.unique(values).to_pylist()))
        numbers = _numbers(values, self.kind).drop_null()
        extremes = pc.min_max(numbers).as_py()
        self.extend(extremes["min"], extremes["max"], len(numbers))

    @property
    def neighbouring(self) -> bool:
        """Whether there are just two different values, or lengths, and they differ by one."""
        return self.minimum is not None and self.maximum is not None and self.maximum - self.minimum == 1

    @property
    def magnitude(self) -> int | float:
        """The greatest distance of a value from zero; 0 if there is none."""
        return max((abs(x) for x in (self.minimum, self.maximum) if x is not None), default=0)

    def is_category(self, rows: int) -> bool:
        """Whether the viewer counts the texts themselves instead of their lengths."""
        texts = len(self.texts)
        return self.kind == "text" and (
            texts <= _FEW_TEXTS or (texts <= _MANY_TEXTS and texts * _ROWS_PER_TEXT <= rows)
        )


def read_footer(path: Path) -> Footer:
    """The footer of a file.

    Raises:
        FormatError: it is not parquet, is cut short, or has two columns of one name.
    """
    try:
        with pq.ParquetFile(path) as file:
            footer = Footer(path, file.metadata, file.schema_arrow)
    except (OSError, pa.ArrowException) as error:
        problem = f"this is not a parquet file that can be read: {error}"
        raise FormatError(problem, file=path, remedy="Write it again.") from error
    if repeated := [name for name, count in Counter(footer.schema.names).items() if count > 1]:
        problem = "several columns have one name"
        raise FormatError(problem, file=path, where=repeated[0], remedy="Rename all but one.")
    return footer


def kind_of(type_: pa.DataType) -> Kind | None:
    """What the viewer's statistics count in a column; None for what has no such numbers."""
    if pa.types.is_dictionary(type_):
        return kind_of(type_.value_type)
    if pa.types.is_integer(type_):
        return "integer"
    if pa.types.is_floating(type_):
        return "float"
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return "text"
    return "list" if pa.types.is_list(type_) or pa.types.is_large_list(type_) else None


def integer_leaves(footers: Iterable[Footer]) -> dict[str, Summary]:
    """Extremes of every leaf of integers by its path, from the footers where they have them.

    The path of a column that is not nested is its name.
    """
    summaries: dict[str, Summary] = {}
    for footer in footers:
        for leaf in _leaves(footer):
            if pa.types.is_integer(leaf.type):
                _add_leaf(summaries.setdefault(leaf.path, Summary("integer")), footer, leaf)
    return summaries


def summarise(footers: Iterable[Footer]) -> dict[str, Summary]:
    """The summary of every column of floats, texts or lists, over all files of a split; read once, in slices.

    A file in which a column is of another kind than in the first adds nothing to it.
    """
    summaries: dict[str, Summary] = {}
    for footer in footers:
        kinds = {field.name: kind for field in footer.schema if (kind := kind_of(field.type)) not in {None, "integer"}}
        known = {name: summaries.setdefault(name, Summary(kind)) for name, kind in kinds.items()}
        read = {name: summary for name, summary in known.items() if summary.kind == kinds[name]}
        for batch in _batches(footer, list(read)) if read else ():
            for name, summary in read.items():
                summary.add(batch[name])
    return summaries


def first_rows(footers: Iterable[Footer], count: int) -> Iterator[dict[str, Any]]:
    """The first rows of a split as Python values."""
    batches = (batch for footer in footers for batch in _batches(footer, footer.schema.names, most=count))
    return itertools.islice((row for batch in batches for row in batch.to_pylist()), count)


class _Leaf(NamedTuple):
    """A column as parquet stores it: its path, the type of its values, its position in a row group."""

    path: str
    type: pa.DataType
    position: int


def _leaves(footer: Footer) -> Iterator[_Leaf]:
    types = itertools.chain.from_iterable(map(_leaf_types, footer.schema.types))
    for position, type_ in enumerate(types):
        yield _Leaf(footer.metadata.schema.column(position).path, type_, position)


def _leaf_types(type_: pa.DataType) -> Iterator[pa.DataType]:
    if isinstance(type_, pa.BaseExtensionType):
        yield from _leaf_types(type_.storage_type)
    elif pa.types.is_nested(type_):
        for index in range(type_.num_fields):
            yield from _leaf_types(type_.field(index).type)
    else:
        yield type_.value_type if pa.types.is_dictionary(type_) else type_


def _add_leaf(summary: Summary, footer: Footer, leaf: _Leaf) -> None:
    for group in range(footer.metadata.num_row_groups):
        statistics = footer.metadata.row_group(group).column(leaf.position).statistics
        if statistics is not None and (statistics.has_min_max or statistics.num_values == 0):
            summary.extend(statistics.min, statistics.max, statistics.num_values)
        else:
            for batch in _batches(footer, [leaf.path], row_groups=[group]):
                summary.add(_flattened(batch.column(0)))


def _flattened(values: pa.Array) -> pa.Array:
    """The values of the only leaf of an array."""
    while pa.types.is_nested(values.type):
        values = values.flatten()[0] if pa.types.is_struct(values.type) else values.flatten()
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def _numbers(values: pa.Array, kind: Kind) -> pa.Array:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if kind == "text":
        return pc.utf8_length(values)
    if kind == "list":
        return pc.list_value_length(values)
    if kind == "float":
        values = values.cast(pa.float64())
        return values.filter(pc.invert(pc.is_nan(values)))
    return values


def _batches(
    footer: Footer, columns: Sequence[str], *, row_groups: Sequence[int] | None = None, most: int = _BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """Slices of a file that stay small in memory.

    Raises:
        FormatError: the file is damaged behind its footer.
    """
    groups = [footer.metadata.row_group(index) for index in range(footer.metadata.num_row_groups)]
    row_bytes = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=1)
    rows = max(1, min(most, _BATCH_BYTES // max(1, row_bytes)))
    try:
        with pq.ParquetFile(footer.path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            yield from file.iter_batches(rows, row_groups=row_groups, columns=columns, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        problem = f"this parquet file is damaged: {error}"
        raise FormatError(problem, file=footer.path, remedy="Write it again.") from error
