"""The repository's tables as shards of a config."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from circuit_artifacts.causal_dimensionality import dictionaries
from circuit_artifacts.causal_dimensionality.agreement import read_agreement
from circuit_artifacts.causal_dimensionality.other_files import figure, log
from circuit_artifacts.causal_dimensionality.paths import RepositoryFile
from circuit_artifacts.causal_dimensionality.results import result
from circuit_artifacts.causal_dimensionality.selection import files_of
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.filesets import FileSet, files_of_shard, shards_of
from circuit_artifacts.formats.reader import Request
from circuit_artifacts.schemas import causal_dimensionality as rows
from circuit_artifacts.schemas.causal_agreement import AgreementItem
from circuit_artifacts.schemas.common import ArtifactModel, arrow_schema

__all__ = ["READERS", "AgreementReader", "FeatureReader", "FileReader"]

_SHARDS_OF_DICTIONARY = 8


def _sentences(file: RepositoryFile) -> pa.Table:
    return read_agreement(file.path)


READERS: Mapping[type[ArtifactModel], Callable[[RepositoryFile], pa.Table]] = MappingProxyType(
    {
        rows.SaeInventory: dictionaries.inventory,
        rows.Result: result,
        rows.Figure: figure,
        rows.Log: log,
        AgreementItem: _sentences,
    }
)
"""The rows of one file, by row model; those of `SaeFeature` are read in parts."""


class FileReader:
    """Reads rows of which every file has one, or a few."""

    reads_in_place = True  # a shard's files are downloaded when the shard is read
    split_says: str | None = None
    """What of a file's path the split is named by, if the config's files are not all in one split."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self._row = request.split.row

    def schema(self, path: FileSet | None) -> pa.Schema:
        """Columns of the row model."""
        del path
        return arrow_schema(self._row)

    def shards(self, path: FileSet) -> list[int]:
        """One shard per file, or per handful of small ones."""
        return shards_of(self._files(path))

    def tables(self, path: FileSet, shard: int) -> Iterator[pa.Table]:
        """The rows of one shard, a table per file.

        Raises:
            SourceError: a file could not be downloaded.
            FormatError: a file is damaged.
            SchemaError: a file is not what its path promises.
        """
        for name in files_of_shard(self._files(path), shard):
            yield READERS[self._row](RepositoryFile(path.path(name), name))

    def _files(self, path: FileSet) -> list[str]:
        wanted: dict[str, Any] = dict(self.request.config.setting)
        if self.split_says is not None:
            wanted[self.split_says] = self.request.split.name
        return files_of(self._row, path.names, **wanted)


class AgreementReader(FileReader):
    """Reads sentences; training and test are files of their own."""

    split_says = "split"


class FeatureReader(FileReader):
    """Reads the features of one dictionary, in eight shards of consecutive ones."""

    split_says = "site"

    def schema(self, path: FileSet | None) -> pa.Schema:
        """Columns; the vectors are as wide as those in the file, which on the Hub is the published one."""
        width = self.request.mirror.width
        if path is not None and isinstance(path.place, Path):  # if not of this site, then of the same model
            width = self._open(path, [*self._files(path), *path.names][0]).d_in
        return arrow_schema(self._row, width=width)

    def shards(self, path: FileSet) -> list[int]:
        """Eight, so that workers can share one dictionary; no file is opened for it."""
        return list(range(_SHARDS_OF_DICTIONARY if self._files(path) else 0))

    def tables(self, path: FileSet, shard: int) -> Iterator[pa.Table]:
        """The consecutive features of one shard.

        Raises:
            SourceError: the file could not be downloaded.
            FormatError: it is damaged.
            SchemaError: it holds no dictionary such as the published ones.
        """
        found = self._open(path, self._files(path)[0])
        width = self.request.mirror.width
        if found.d_in != width and not isinstance(path.place, Path):  # the columns were declared before it was here
            problem = "the dictionary is of a model of another width than the published one"
            raise SchemaError(problem, file=found.file.path, found=found.d_in, expected=width)
        start, stop = (found.d_sae * part // _SHARDS_OF_DICTIONARY for part in (shard, shard + 1))
        yield from dictionaries.features(found, start, stop)

    def _open(self, path: FileSet, name: str) -> dictionaries.Dictionary:
        return dictionaries.open_dictionary(RepositoryFile(path.path(name), name))
