"""Conversion of a mirror, or of a folder in its layout, to parquet that stock `datasets` and the viewer read.

Tables are streamed shard by shard, so memory does not grow with the input. A finished file is never rewritten: a
conversion that was killed goes on where it stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from circuit_artifacts import provenance
from circuit_artifacts.atomic import atomic_path
from circuit_artifacts.card import write_card
from circuit_artifacts.formats.reader import Reader, Request
from circuit_artifacts.progress import track
from circuit_artifacts.schemas.declaration import Config, Mirror, import_string
from circuit_artifacts.sources import Sources

__all__ = ["Converted", "convert"]

logger = logging.getLogger(__name__)

_ROW_GROUP_ROWS = 16_384


@dataclass(frozen=True, kw_only=True)
class Converted:
    """One parquet file that was written, or found finished."""

    config: str
    split: str
    path: Path
    rows: int


def convert(sources: Sources, out: Path, configs: Iterable[Config] | None = None) -> list[Converted]:
    """Write ``<out>/<config>/<split>-00000-of-00001.parquet`` for every split, and ``<out>/README.md``.

    Splits of one config get one schema, the union of their columns with nulls, because stock `datasets` has one set
    of features per config.

    Args:
        sources: where the files come from.
        out: the folder to write.
        configs: which; None takes every config whose file can be had.

    Raises:
        MissingArtifactError: the file of a config that was asked for could not be had.
        SchemaError: a file is not what its schema declares.
    """
    mirror = sources.mirror
    if configs is None:
        plans = {config: sources.plan(config) for config in mirror.configs.values()}
        configs = [config for config, plan in plans.items() if plan.action != "missing"]
        for config, plan in plans.items():
            if plan.action == "missing":
                logger.warning("%s is left out: %s is nowhere to be had", config.name, config.file)
    chosen = list(configs)
    paths = sources.fetch(*chosen)
    converted: list[Converted] = []
    for config in track(chosen, "converting", total=len(chosen)):
        converted.extend(_convert_config(mirror, config, paths[config.name], out))
    write_card(mirror, converted, out, regenerated=any(map(provenance.read, paths.values())))
    return converted


def _convert_config(mirror: Mirror, config: Config, source: Path, out: Path) -> Iterable[Converted]:
    make = import_string(config.family.reader)
    readers: dict[str, Reader] = {
        split.name: make(Request(mirror=mirror, config=config, split=split)) for split in config.family.splits
    }
    schema = pa.unify_schemas([reader.schema(source) for reader in readers.values()])
    metadata = {"circuit_artifacts.mirror": mirror.name, "circuit_artifacts.config": config.name}
    if record := provenance.read(source):
        metadata[provenance.KEY] = record.embedded()
    for split, reader in readers.items():
        target = out / config.name / f"{split}-00000-of-00001.parquet"
        if not target.exists():
            with atomic_path(target) as temporary:
                _write_split(reader, source, temporary, schema.with_metadata(metadata))
        yield Converted(config=config.name, split=split, path=target, rows=pq.read_metadata(target).num_rows)


def _write_split(reader: Reader, source: Path, target: Path, schema: pa.Schema) -> None:
    with pq.ParquetWriter(
        target, schema, compression="zstd", write_page_index=True, use_content_defined_chunking=True
    ) as writer:
        pending: list[pa.Table] = []
        for shard in reader.shards(source):
            for table in reader.tables(source, shard):
                absent = [field for field in schema if field.name not in table.column_names]
                for field in absent:
                    table = table.append_column(field, pa.nulls(len(table), field.type))  # noqa: PLW2901
                pending.append(table.select(schema.names).cast(schema))
                if sum(map(len, pending)) >= _ROW_GROUP_ROWS:
                    writer.write_table(pa.concat_tables(pending), row_group_size=_ROW_GROUP_ROWS)
                    pending = []
        if pending:
            writer.write_table(pa.concat_tables(pending), row_group_size=_ROW_GROUP_ROWS)
