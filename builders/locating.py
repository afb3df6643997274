"""What builders need done with files, kept out of the modules that `datasets` patches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

import circuit_artifacts
from circuit_artifacts import catalog
from circuit_artifacts.formats.reader import MaskFormat, Reader, make_readers
from circuit_artifacts.sources import Sources

__all__ = ["cache_key", "locate", "readers", "tables"]


def readers(mirror_name: str, config_name: str, mask_format: MaskFormat) -> dict[str, Reader]:
    """The reader of every split of a config."""
    return make_readers(catalog.mirror(mirror_name), catalog.config(mirror_name, config_name), mask_format)


def locate(mirror_name: str, options: Any) -> Path:
    """The file of a config, downloaded or derived if need be.

    Args:
        mirror_name: the mirror.
        options: an `ArtifactConfig`.

    Raises:
        MissingArtifactError: the file could not be had.
    """
    config = catalog.config(mirror_name, options.name)
    return _sources(mirror_name, vars(options)).fetch(config)[config.name]


def cache_key(mirror_name: str, default_config: str | None, arguments: Mapping[str, Any]) -> str:
    """A hash of the code's version and of what the config's file is now; no file is read or fetched."""
    parts = [circuit_artifacts.__version__, mirror_name]
    name = arguments.get("config_name") or default_config
    config = catalog.mirror(mirror_name).configs.get(str(name))
    if config is not None:  # an unknown name is reported by `datasets`, with the list of names
        parts.append(_sources(mirror_name, arguments).plan(config).fingerprint)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def tables(reader: Reader, file: str, shard: int) -> Iterator[pa.Table]:
    """The tables of one shard, with every column nullable, as `datasets` has them.

    It would otherwise cast each row by itself when streaming, which takes longer than all the rest.
    """
    for table in reader.tables(Path(file), shard):
        yield table.cast(pa.schema([field.with_nullable(nullable=True) for field in table.schema]))


def _sources(mirror_name: str, options: Mapping[str, Any]) -> Sources:
    root = options.get("data_root") or options.get("data_dir")
    return Sources(
        mirror=catalog.mirror(mirror_name),
        data_root=Path(root) if root else None,
        revision=options.get("revision"),
        regenerate=options.get("regenerate"),
    )
