"""What every format reader offers: shards of a file, each a stream of Arrow tables under a declared schema."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import pyarrow as pa

from circuit_artifacts import provenance
from circuit_artifacts.errors import UnknownNameError
from circuit_artifacts.filesets import Local
from circuit_artifacts.remote import RemoteFile
from circuit_artifacts.schemas.declaration import Config, Mirror, Split, import_string

__all__ = ["MaskFormat", "Reader", "Request", "Shape", "make_readers", "read_table"]

MaskFormat = Literal["indices", "dense"]
Shard = int


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to read: one split of one config. Picklable, so that workers can be handed it.

    Attributes:
        mask_format: "indices" gives masks as sorted lists of active dimensions, "dense" as boolean vectors.

    Raises:
        UnknownNameError: no such mask format.
    """

    mirror: Mirror
    config: Config
    split: Split
    mask_format: MaskFormat = "indices"

    def __post_init__(self) -> None:
        if self.mask_format not in get_args(MaskFormat):
            problem = f"there is no mask_format {self.mask_format!r}"
            raise UnknownNameError(problem, expected=", ".join(get_args(MaskFormat)))


@dataclass(frozen=True)
class Shape:
    """Layers and width of the model behind a file."""

    n_layers: int
    width: int

    @classmethod
    def of(cls, path: Local | RemoteFile | None, mirror: Mirror) -> Shape:
        """What the file's provenance says, else what the mirror publishes."""
        return cls.recorded(provenance.read(path) if path is not None else None, mirror)

    @classmethod
    def recorded(cls, record: provenance.Provenance | None, mirror: Mirror) -> Shape:
        """What a provenance record says, else what the mirror publishes."""
        if record is None:
            return cls(mirror.n_layers, mirror.width)
        return cls(record.n_layers or mirror.n_layers, record.width or mirror.width)


class Reader(Protocol):
    """Reads one split of one kind of file."""

    def __init__(self, request: Request) -> None: ...

    def schema(self, path: Local | None) -> pa.Schema:
        """Schema of the tables; with None, that of the published files."""

    def shards(self, path: Local) -> list[Shard]:
        """Numbers of the parts that can be read independently, in row order."""

    def tables(self, path: Local, shard: Shard) -> Iterator[pa.Table]:
        """The rows of one shard, in deterministic tables.

        Raises:
            FormatError: the bytes are not what the format promises.
            SchemaError: the content is not what the schema declares.
        """


def make_readers(mirror: Mirror, config: Config, mask_format: MaskFormat = "indices") -> dict[str, Reader]:
    """The reader of every split of a config, in declaration order.

    Raises:
        UnknownNameError: no such mask format.
    """
    make = import_string(config.family.reader)
    return {
        split.name: make(Request(mirror=mirror, config=config, split=split, mask_format=mask_format))
        for split in config.family.splits
    }


def read_table(mirror: Mirror, config: Config, path: Local, split: str | None = None) -> pa.Table:
    """All rows of one split of a file, checked against its schema; the first split if none is named.

    Raises:
        FormatError: the bytes are not what the format promises.
        SchemaError: the content is not what the schema declares.
    """
    reader = make_readers(mirror, config)[split or config.family.splits[0].name]
    tables = [table for shard in reader.shards(path) for table in reader.tables(path, shard)]
    return pa.concat_tables(tables) if tables else reader.schema(path).empty_table()
