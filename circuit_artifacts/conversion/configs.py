"""One config: its file in, a folder of parquet out, whole or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from circuit_artifacts import provenance
from circuit_artifacts.conversion.columns import as_floats, conform, label_columns, labelled, searchable, union
from circuit_artifacts.conversion.folders import atomic_folder, remove_abandoned
from circuit_artifacts.conversion.parts import ARROW_BYTES_KEY, part_name, read_parts, write_parts
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.filesets import Local
from circuit_artifacts.formats.reader import Reader, make_readers
from circuit_artifacts.schemas.declaration import Config, Mirror
from circuit_artifacts.viewer.scan import integer_leaves, read_footer
from circuit_artifacts.viewer.statistics import neighbouring_values

__all__ = ["Converted", "Task", "convert_config", "find_converted"]

_SOURCE_KEY = "circuit_artifacts.source"
_FLOATS_KEY = "circuit_artifacts.stored_as_float64"
_EXACT = 2**53  # integers below it are exact in float64


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to convert: picklable, so that it can be done in another process.

    Attributes:
        source: the config's file or files.
        out: the folder that holds a folder per config.
    """

    mirror: Mirror
    config: Config
    source: Local
    out: Path


@dataclass(frozen=True, kw_only=True)
class Converted:
    """One parquet file that was written, or found finished.

    Attributes:
        config: its config.
        split: its split.
        path: where it is.
        rows: number of rows.
        schema: its columns.
        footer: what its footer says, by key.
    """

    config: str
    split: str
    path: Path
    rows: int
    schema: pa.Schema
    footer: Mapping[str, str]

    @cached_property
    def regenerated(self) -> bool:
        """Whether it says that its source was regenerated."""
        return provenance.KEY in self.footer

    @cached_property
    def source(self) -> str:
        """``sha256:<hex>`` of the file that it was converted from."""
        return self.footer.get(_SOURCE_KEY, "")

    @cached_property
    def floats(self) -> list[str]:
        """Columns that are integers in the source and float64 here."""
        return list(json.loads(self.footer.get(_FLOATS_KEY, "[]")))

    @cached_property
    def arrow_bytes(self) -> int:
        """Bytes of its rows in memory."""
        return int(self.footer.get(ARROW_BYTES_KEY, "0"))


def convert_config(task: Task) -> list[Converted]:
    """Convert one config, unless that was done before; splits without rows are left out.

    Raises:
        SchemaError: the file is not what its schema declares, or the folder holds something else.
        FormatError: the file is damaged.
    """
    folder = task.out / task.config.name
    digest = provenance.file_digest(task.source)
    remove_abandoned(folder)
    if not any(folder.glob("*")):
        with atomic_folder(folder) as temporary:
            _write(task, digest, temporary)
    found = list(find_converted(task.config, task.out))
    for file in found:
        if file.source != digest:
            problem = "this was converted from another file"
            remedy = "Convert into an empty folder, or remove this one."
            raise SchemaError(problem, file=file.path, found=file.source or "nothing", expected=digest, remedy=remedy)
    return found


def find_converted(config: Config, out: Path) -> Iterator[Converted]:
    """The finished files of a config.

    Raises:
        SchemaError: the folder holds something else, or a file is missing.
    """
    folder = out / config.name
    names = sorted(path.name for path in folder.glob("*"))
    expected: list[str] = []
    for split in config.family.splits:
        total = sum(re.fullmatch(rf"{re.escape(split.name)}-\d+-of-\d+\.parquet", name) is not None for name in names)
        parts = [part_name(split.name, number, total) for number in range(total)]
        expected.extend(parts)
        yield from (_describe(config.name, split.name, folder / part) for part in parts if part in names)
    if names != sorted(expected):
        problem = "this folder does not hold one whole conversion"
        remedy = "Convert into an empty folder, or remove this one."
        raise SchemaError(problem, file=folder, found=names, expected=expected, remedy=remedy)


def _write(task: Task, digest: str, folder: Path) -> None:
    readers = make_readers(task.mirror, task.config)
    metadata = {
        "circuit_artifacts.mirror": task.mirror.name,
        "circuit_artifacts.config": task.config.name,
        _SOURCE_KEY: digest,
    }
    if record := provenance.read(task.source):
        metadata[provenance.KEY] = record.embedded()
    # One set of columns for all splits, because stock `datasets` has one set of features per config.
    columns = searchable(union([reader.schema(task.source) for reader in readers.values()]))
    schema = labelled(columns.with_metadata(metadata))
    name = task.config.name
    parts = {
        split: write_parts(conform(_tables(reader, task.source), schema, name), schema, folder, split)
        for split, reader in readers.items()
    }
    neighbouring = {column for files in parts.values() for column in _neighbouring(files)}
    floats = sorted(neighbouring - set(label_columns(schema)))
    if floats:
        schema = labelled(as_floats(schema, floats))  # what it says of its features too
        schema = schema.with_metadata({**schema.metadata, _FLOATS_KEY: json.dumps(floats)})
        for split, files in parts.items():
            _rewrite(files, schema, folder, split, name)


def _tables(reader: Reader, source: Local) -> Iterator[pa.Table]:
    for shard in reader.shards(source):
        yield from reader.tables(source, shard)


def _neighbouring(parts: Sequence[Path]) -> list[str]:
    """Integer columns of a split that the viewer cannot count, as far as float64 holds their values exactly."""
    extremes = integer_leaves(map(read_footer, parts))
    return [name for name in neighbouring_values(*parts) if abs(extremes[name].maximum or 0) < _EXACT]


def _rewrite(parts: Sequence[Path], schema: pa.Schema, folder: Path, split: str, constant: str) -> None:
    """Write the files of a split again under another schema."""
    before = [part.rename(part.with_suffix(".before")) for part in parts]
    write_parts(conform(read_parts(before), schema, constant), schema, folder, split)
    for part in before:
        part.unlink()


def _describe(config: str, split: str, path: Path) -> Converted:
    found = read_footer(path)
    footer = {key.decode(): value.decode() for key, value in (found.metadata.metadata or {}).items()}
    return Converted(
        config=config, split=split, path=path, rows=found.metadata.num_rows, schema=found.schema, footer=footer
    )
