"""Conversion of a mirror, or of a folder in its layout, to parquet that stock `datasets` and the viewer read.

Tables are streamed shard by shard, so memory does not grow with the input. A finished file is never rewritten: a
conversion that was killed goes on where it stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from circuit_artifacts import provenance
from circuit_artifacts.atomic import atomic_path
from circuit_artifacts.card import write_card
from circuit_artifacts.errors import MissingArtifactError, SchemaError
from circuit_artifacts.formats.reader import Reader, make_readers
from circuit_artifacts.progress import track
from circuit_artifacts.schemas.declaration import Config, Mirror
from circuit_artifacts.sources import Sources

__all__ = ["Converted", "convert"]

logger = logging.getLogger(__name__)

# A page of a viewer touches one row group, of which it reads at most 300 MB (hub_and_viewer spec 4.2).
_ROW_GROUP_ROWS = 16_384
_ROW_GROUP_BYTES = 32 << 20
_SOURCE_KEY = "circuit_artifacts.source"


@dataclass(frozen=True, kw_only=True)
class Converted:
    """One parquet file that was written, or found finished.

    Attributes:
        config: its config.
        split: its split.
        path: where it is.
        rows: number of rows.
        schema: its columns.
        regenerated: whether it says that its source was regenerated.
    """

    config: str
    split: str
    path: Path
    rows: int
    schema: pa.Schema
    regenerated: bool


def convert(sources: Sources, out: Path, configs: Iterable[Config] | None = None) -> list[Converted]:
    """Write ``<out>/<config>/<split>-00000-of-00001.parquet`` for every split, and ``<out>/README.md``.

    Splits of one config get one schema, the union of their columns with nulls, because stock `datasets` has one set
    of features per config. The card describes all that is in the folder, from earlier calls too.

    Args:
        sources: where the files come from.
        out: the folder to write.
        configs: which; None takes every config whose file can be had, and logs which cannot.

    Returns:
        The files of these configs.

    Raises:
        MissingArtifactError: the file of a config that was asked for could not be had.
        SchemaError: a file is not what its schema declares, or the folder holds the conversion of another file.
    """
    mirror = sources.mirror
    paths = _obtainable(sources) if configs is None else sources.fetch(*configs)
    converted: list[Converted] = []
    for name, path in track(paths.items(), "converting", total=len(paths)):
        converted.extend(_convert_config(mirror, mirror.configs[name], path, out))
    if converted:
        write_card(mirror, list(_finished(mirror, out)), out)
    return converted


def _obtainable(sources: Sources) -> dict[str, Path]:
    """The files of all configs that can be had, in declaration order; those of one step are derived together."""
    together: dict[str, list[Config]] = {}
    for config in sources.mirror.configs.values():
        plan = sources.plan(config)
        origin = f"step {plan.step.name}" if plan.action == "derive" and plan.step is not None else config.name
        together.setdefault(origin, []).append(config)
    paths: dict[str, Path] = {}
    for configs in together.values():
        try:
            paths.update(sources.fetch(*configs))
        except MissingArtifactError as error:
            logger.warning("left out: %s. %s", ", ".join(config.name for config in configs), error.problem)
    return {name: paths[name] for name in sources.mirror.configs if name in paths}


def _convert_config(mirror: Mirror, config: Config, source: Path, out: Path) -> Iterator[Converted]:
    readers = make_readers(mirror, config)
    digest = provenance.file_digest(source)
    metadata = {
        "circuit_artifacts.mirror": mirror.name,
        "circuit_artifacts.config": config.name,
        _SOURCE_KEY: digest,
    }
    if record := provenance.read(source):
        metadata[provenance.KEY] = record.embedded()
    schema = _union([reader.schema(source) for reader in readers.values()]).with_metadata(metadata)
    for split, reader in readers.items():
        target = _target(out, config.name, split)
        if target.exists():
            _require_source(target, digest)
        else:
            _remove_leftovers(target)
            with atomic_path(target) as temporary:
                _write_split(reader, source, temporary, schema)
        yield _describe(config.name, split, target)


def _union(schemas: list[pa.Schema]) -> pa.Schema:
    """All columns: first those that only some have, which become nullable, then those that all have."""
    fields = list(pa.unify_schemas(schemas))
    shared = [field for field in fields if all(field.name in schema.names for schema in schemas)]
    return pa.schema([field.with_nullable(nullable=True) for field in fields if field not in shared] + shared)


def _write_split(reader: Reader, source: Path, target: Path, schema: pa.Schema) -> None:
    with pq.ParquetWriter(
        target, schema, compression="zstd", write_page_index=True, use_content_defined_chunking=True
    ) as writer:
        pending: list[pa.Table] = []
        tables = (table for shard in reader.shards(source) for table in reader.tables(source, shard))
        for part in (_widened(part, schema) for table in tables for part in _bounded(table)):
            if pending and not _fits([*pending, part]):
                writer.write_table(pa.concat_tables(pending))
                pending = []
            pending.append(part)
        if pending:
            writer.write_table(pa.concat_tables(pending))


def _fits(tables: list[pa.Table]) -> bool:
    """Whether some tables together make no more than one row group."""
    return sum(map(len, tables)) <= _ROW_GROUP_ROWS and sum(table.nbytes for table in tables) <= _ROW_GROUP_BYTES


def _bounded(table: pa.Table) -> Iterator[pa.Table]:
    """Slices of a table that are no larger than a row group may be."""
    row_bytes = max(1, -(-table.nbytes // max(1, len(table))))
    step = max(1, min(_ROW_GROUP_ROWS, _ROW_GROUP_BYTES // row_bytes))
    for start in range(0, len(table), step):
        yield table.slice(start, step)


def _widened(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        table[field.name] if field.name in table.column_names else pa.nulls(len(table), field.type) for field in schema
    ]
    return pa.table(columns, names=schema.names).cast(schema)


def _target(out: Path, config: str, split: str) -> Path:
    return out / config / f"{split}-00000-of-00001.parquet"


def _describe(config: str, split: str, path: Path) -> Converted:
    metadata, schema = pq.read_metadata(path), pq.read_schema(path)
    regenerated = provenance.KEY.encode() in (schema.metadata or {})
    return Converted(
        config=config, split=split, path=path, rows=metadata.num_rows, schema=schema, regenerated=regenerated
    )


def _finished(mirror: Mirror, out: Path) -> Iterator[Converted]:
    """Files of every config whose splits are all there."""
    for config in mirror.configs.values():
        targets = {split.name: _target(out, config.name, split.name) for split in config.family.splits}
        if all(target.exists() for target in targets.values()):
            yield from (_describe(config.name, split, target) for split, target in targets.items())


def _require_source(target: Path, digest: str) -> None:
    found = (pq.read_schema(target).metadata or {}).get(_SOURCE_KEY.encode(), b"nothing").decode()
    if found != digest:
        problem = "this was converted from another file"
        remedy = "Convert into an empty folder, or remove this file."
        raise SchemaError(problem, file=target, found=found, expected=digest, remedy=remedy)


def _remove_leftovers(target: Path) -> None:
    """Delete what a killed conversion could not."""
    for leftover in target.parent.glob(f".{target.name}.*.part"):
        leftover.unlink(missing_ok=True)
