"""What builders need done with files, kept out of the modules that `datasets` patches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

import circuit_artifacts
from circuit_artifacts import catalog
from circuit_artifacts.filesets import Local
from circuit_artifacts.formats.reader import MaskFormat, Reader, make_readers
from circuit_artifacts.remote import RemoteFile
from circuit_artifacts.sources import Sources

__all__ = ["cache_key", "locate", "obtain", "readers", "tables"]

Token = str | bool | None


def readers(mirror_name: str, config_name: str, mask_format: MaskFormat) -> dict[str, Reader]:
    """The reader of every split of a config."""
    return make_readers(catalog.mirror(mirror_name), catalog.config(mirror_name, config_name), mask_format)


def obtain(mirror_name: str, options: Any, *, token: Token = None) -> bool:
    """Have the file of a config, downloaded or derived if need be.

    Args:
        mirror_name: the mirror.
        options: an `ArtifactConfig`.
        token: for the Hub.

    Returns:
        Whether it was not there before.

    Raises:
        MissingArtifactError: the file could not be had.
    """
    sources = _sources(mirror_name, {**vars(options), "token": token})
    config = catalog.config(mirror_name, options.name)
    there = sources.plan(config).action == "use"
    sources.fetch(config)
    return not there


def locate(
    mirror_name: str, options: Any, readers: Mapping[str, Reader], *, token: Token = None, streaming: bool = False
) -> Local | RemoteFile:
    """The file or files of a config; for streaming by readers that can, what is on the Hub is read where it is.

    Raises:
        MissingArtifactError: the file could not be had.
    """
    sources = _sources(mirror_name, {**vars(options), "token": token})
    config = catalog.config(mirror_name, options.name)
    in_place = streaming and all(getattr(reader, "reads_in_place", False) for reader in readers.values())
    return sources.locate(config) if in_place else sources.fetch(config)[config.name]


def cache_key(mirror_name: str, default_config: str | None, arguments: Mapping[str, Any]) -> str:
    """A hash of the code's version and of what the config's file is now; no file is read or fetched."""
    parts = [circuit_artifacts.__version__, mirror_name]
    name = arguments.get("config_name") or default_config
    config = catalog.mirror(mirror_name).configs.get(str(name))
    if config is not None:  # an unknown name is reported by `datasets`, with the list of names
        parts.append(_sources(mirror_name, arguments).plan(config).fingerprint)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def tables(reader: Reader, file: Any, shard: int) -> Iterator[pa.Table]:
    """The tables of one shard, with every column nullable, as `datasets` has them.

    It would otherwise cast each row by itself when streaming, which takes longer than all the rest.
    """
    for table in reader.tables(file, shard):
        yield table.cast(pa.schema([field.with_nullable(nullable=True) for field in table.schema]))


def _sources(mirror_name: str, options: Mapping[str, Any]) -> Sources:
    root = options.get("data_root") or options.get("data_dir")
    return Sources(
        mirror=catalog.mirror(mirror_name),
        data_root=Path(root) if root else None,
        revision=options.get("revision"),
        token=options.get("token"),
        regenerate=options.get("regenerate"),
        options={name: options[name] for name in catalog.mirror(mirror_name).options if name in options},
    )
