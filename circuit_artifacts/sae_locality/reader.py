"""The repository's tables as shards of a config: one or several files each."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from circuit_artifacts.filesets import FileSet, files_of_shard, shards_of
from circuit_artifacts.formats.reader import Request, Shape
from circuit_artifacts.sae_locality.files import RepositoryFile
from circuit_artifacts.sae_locality.json_files import read_json
from circuit_artifacts.sae_locality.paths import classify
from circuit_artifacts.sae_locality.runs import inventory
from circuit_artifacts.sae_locality.tables import TABLE_OF_ROW, TABLES, plan
from circuit_artifacts.schemas.common import arrow_schema, has_vectors

__all__ = ["TableReader"]


class TableReader:
    """Reads one split of one config of SAE locality."""

    reads_in_place = True  # a shard's files are downloaded when the shard is read

    def __init__(self, request: Request) -> None:
        self.request = request
        self._row = request.split.row

    def schema(self, path: FileSet | None) -> pa.Schema:
        """Columns; of vectors, the width is that of the first file."""
        if path is not None and has_vectors(self._row) and self.shards(path):
            return next(self.tables(path, 0)).schema
        return arrow_schema(self._row, width=Shape.of(path, self.request.mirror).width)

    def shards(self, path: FileSet) -> list[int]:
        """One shard per file, or per handful of small ones."""
        if self.request.config.family.is_inventory:
            return [0]
        return shards_of(self._files(path))

    def tables(self, path: FileSet, shard: int) -> Iterator[pa.Table]:
        """The rows of one shard, a table per file.

        Raises:
            SourceError: a file could not be downloaded.
            FormatError: a file is damaged.
            SchemaError: a file is not what its path promises.
        """
        if self.request.config.family.is_inventory:
            yield inventory(path.listing, lambda name: read_json(path.path(name)))
            return
        table = TABLES[TABLE_OF_ROW[self._row]]
        for name, beside in files_of_shard(self._files(path), shard):
            others = [RepositoryFile(path.path(other), other) for other in beside]
            yield table.read(RepositoryFile(path.path(name), name), others)

    def _files(self, path: FileSet) -> list[tuple[str, list[str]]]:
        """Files with rows, each with those beside it; the runs were chosen when the files were."""
        legacy = any(classify(name).legacy for name in path.names)
        return plan(TABLE_OF_ROW[self._row], path.names, run="all", legacy=legacy, **self.request.config.setting)
