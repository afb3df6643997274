"""Any HDF5 file as a table under the schema that it suggests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from circuit_artifacts.formats.hdf5.layouts import Options, Plan, plan_files, schema_of, shards_of
from circuit_artifacts.formats.inferred import InferredTable
from circuit_artifacts.formats.reader import Request

__all__ = ["HDF5Table"]


class HDF5Table(InferredTable):
    """HDF5, in the layout that fits the file, with its attributes as JSON."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._plans: dict[Path, list[Plan]] = {}

    def shards(self, path: Path) -> list[int]:
        """Ranges of rows."""
        return list(range(len(shards_of(self._planned(path)))))

    def tables(self, path: Path, shard: int) -> Iterator[pa.Table]:
        """The rows of one shard."""
        plans = self._planned(path)
        number, start, stop = shards_of(plans)[shard]
        yield from plans[number].tables(start, stop, self.schema(path))

    def _infer(self, path: Path) -> pa.Schema:
        return schema_of(self._planned(path))

    def _planned(self, path: Path) -> Sequence[Plan]:
        if path not in self._plans:
            self._plans[path] = plan_files([path], Options(attrs="json"))
        return self._plans[path]
