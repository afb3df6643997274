"""Rules on parquet files (hub_and_viewer spec 4.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features

from circuit_artifacts.errors import FormatError, SchemaError
from circuit_artifacts.viewer.repository import MALFORMED, Split
from circuit_artifacts.viewer.rule import Rule
from circuit_artifacts.viewer.types import storage_type, takes

__all__ = ["CONFIG_RULES", "DATASET_RULES", "READABLE", "RULES"]

_MAX_FILES = 10_000
_MAX_GROUP_BYTES = 100_000_000
_CHUNKING_KEY = b"use_content_defined_chunking"


def _readable(split: Split) -> Iterator[FormatError]:
    yield from split.faults


def _count(split: Split) -> Iterator[SchemaError]:
    if (count := len(split.files)) > _MAX_FILES:
        problem, expected = "a split has too many files", f"<= {_MAX_FILES:,}"
        yield SchemaError(problem, file=split.place, found=f"{count:,}", expected=expected, remedy="Merge files.")


def _rows(split: Split) -> Iterator[SchemaError]:
    if not split.rows:
        problem = "a split has no rows"
        yield SchemaError(problem, file=split.place, found=0, expected=">= 1", remedy="Leave the split out.")


def _types(split: Split) -> Iterator[SchemaError]:
    for name, footer in split.footers.items():
        for field in footer.schema:
            if not _has_feature(field):
                problem, remedy = "`datasets` has no such type", "Store lists of structs, binary, or a plain type."
                yield SchemaError(problem, file=name, where=field.name, found=field.type, remedy=remedy)


def _has_feature(field: pa.Field) -> bool:
    if _holds_fixed_binary(field.type):  # it has a name in `datasets`, but the viewer's version fails on it
        return False
    try:
        Features.from_arrow_schema(pa.schema([field]))
    except MALFORMED:
        return False
    return True


def _holds_fixed_binary(type_: pa.DataType) -> bool:
    inner = [type_.field(index).type for index in range(type_.num_fields)]
    return pa.types.is_fixed_size_binary(type_) or any(map(_holds_fixed_binary, inner))


def _groups(split: Split) -> Iterator[SchemaError]:
    for name, footer in split.footers.items():
        for index in range(footer.metadata.num_row_groups):
            size = compressed_bytes(footer.metadata.row_group(index))
            if size > _MAX_GROUP_BYTES:
                problem, found = "a row group is large", f"{size / 1e6:,.0f} MB compressed"
                expected, remedy = f"<= {_MAX_GROUP_BYTES / 1e6:,.0f} MB", "Write it with fewer rows per row group."
                yield SchemaError(
                    problem, file=name, where=f"row group {index}", found=found, expected=expected, remedy=remedy
                )


def compressed_bytes(group: pq.RowGroupMetaData) -> int:
    """The bytes of a row group in its file."""
    return sum(group.column(index).total_compressed_size for index in range(group.num_columns))


def _page_index(split: Split) -> Iterator[SchemaError]:
    for name, footer in split.footers.items():
        groups = [footer.metadata.row_group(index) for index in range(footer.metadata.num_row_groups)]
        chunks = (group.column(index) for group in groups if group.num_rows for index in range(group.num_columns))
        without = list(dict.fromkeys(chunk.path_in_schema for chunk in chunks if not chunk.has_offset_index))
        if without:
            problem, remedy = "columns have no page index", "Write it with `write_page_index=True`."
            found = f"{len(without)} of {footer.metadata.num_columns} columns"
            yield SchemaError(problem, file=name, where=without[0], found=found, remedy=remedy)


def _same_columns(splits: Sequence[Split]) -> Iterator[SchemaError]:
    """All files of a config have the columns of the first, with types that can be cast to its types."""
    files = [(name, footer.schema) for split in splits for name, footer in split.footers.items()]
    first, wanted = next(iter(files), ("", pa.schema([])))
    for name, schema in files[1:]:
        if set(schema.names) != set(wanted.names):
            differing = sorted(set(schema.names) ^ set(wanted.names))
            problem, remedy = f"the columns are not those of {first}", "Write all files of a config under one schema."
            yield SchemaError(problem, file=name, found=f"only in one of them: {', '.join(differing)}", remedy=remedy)
            continue
        for field in wanted:
            found = schema.field(field.name).type
            if not takes(storage_type(field.type), storage_type(found)):
                problem, remedy = f"the type is not that of {first}", "Write all files of a config under one schema."
                yield SchemaError(problem, file=name, where=field.name, found=found, expected=field.type, remedy=remedy)


def _chunking(splits: Sequence[Split]) -> Iterator[SchemaError]:
    footers = {name: footer for split in splits for name, footer in split.footers.items()}
    without = [name for name, footer in footers.items() if _CHUNKING_KEY not in (footer.metadata.metadata or {})]
    if without:
        problem = f"{len(without):,} of {len(footers):,} files do not say that they have content-defined chunks"
        remedy = f"Write them so, and add the footer key `{_CHUNKING_KEY.decode()}`."
        yield SchemaError(problem, file=without[0], remedy=remedy)


READABLE: Rule[Split] = Rule("error", "readable", "the viewer cannot read it either", _readable)
RULES: tuple[Rule[Split], ...] = (
    Rule("error", "file count", "the viewer splits the folder, and links to it break", _count),
    Rule("error", "empty split", "preview and statistics fail", _rows),
    Rule("error", "column type", "the config fails", _types),
    Rule("error", "row group", "pages take long, and fail where one needs more than 300 MB of it", _groups),
    Rule("error", "page index", "every page of the viewer then costs a whole row group", _page_index),
)
CONFIG_RULES: tuple[Rule[Sequence[Split]], ...] = (
    Rule(
        "error", "same columns", "`datasets` and the viewer read all files under the schema of the first", _same_columns
    ),
)
DATASET_RULES: tuple[Rule[Sequence[Split]], ...] = (
    Rule("note", "optimized-parquet badge", "the viewer gives the badge for this key", _chunking),
)
