"""What claims can be measured on: files that are on this machine, or can be derived there without a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from circuit_artifacts import provenance
from circuit_artifacts.errors import CircuitArtifactsError
from circuit_artifacts.filesets import FileSet, Local
from circuit_artifacts.formats.reader import make_readers
from circuit_artifacts.plans import Plan
from circuit_artifacts.schemas.declaration import Config, Mirror
from circuit_artifacts.sources import Sources

__all__ = ["Data"]


class Data:
    """Files of some configs. Nothing is downloaded for them, and no model is run.

    Args:
        sources: where they may be.
        names: of configs; others than the mirror's are missing.

    Attributes:
        mirror: whose they are.
        files: by config, as far as they are here.
        missing: by config, why it is not here.
    """

    def __init__(self, sources: Sources, names: Iterable[str]) -> None:
        self.mirror: Mirror = sources.mirror
        self.files: dict[str, Local] = {}
        self.missing: dict[str, str] = {}
        self._frames: dict[tuple[str, str | None, tuple[str, ...] | None], pd.DataFrame] = {}
        to_derive: dict[str, list[Config]] = {}
        for name in names:
            if name not in self.mirror.configs:
                self.missing[name] = f"{self.mirror.name} has no {name}"
                continue
            config = self.mirror.configs[name]
            plan = sources.plan(config)
            if plan.action == "use" and plan.location is not None:
                self.files[name] = plan.location
            elif plan.step is not None and _can_be_derived(plan):
                to_derive.setdefault(plan.step.name, []).append(config)
            else:
                self.missing[name] = self._what_it_takes(name, plan)
        for configs in to_derive.values():
            try:
                self.files |= sources.fetch(*configs)
            except CircuitArtifactsError as error:
                self.missing |= dict.fromkeys((config.name for config in configs), str(error))

    def frame(self, name: str, columns: Sequence[str] | None = None, *, split: str | None = None) -> pd.DataFrame:
        """All rows of one split of a config, the first if none is named; read once.

        Raises:
            FormatError: a file is damaged.
            SchemaError: a file is not what the schema declares.
        """
        key = (name, split, None if columns is None else tuple(columns))
        if key not in self._frames:
            tables = [table if columns is None else table.select(columns) for table in self.tables(name, split=split)]
            self._frames[key] = (
                pa.concat_tables(tables).to_pandas() if tables else pd.DataFrame(columns=list(columns or ()))
            )
        return self._frames[key]

    def tables(self, name: str, *, split: str | None = None) -> Iterator[pa.Table]:
        """The same, file by file where a config has several: for checks that need only the first."""
        config, path = self.mirror.configs[name], self.files[name]
        reader = make_readers(self.mirror, config)[split or config.family.splits[0].name]
        return (table for shard in reader.shards(path) for table in reader.tables(path, shard))

    def path(self, name: str) -> Path:
        """The file of a config that has one."""
        path = self.files[name]
        assert isinstance(path, Path)
        return path

    def file_set(self, name: str) -> FileSet:
        """The files of a config that has several."""
        files = self.files[name]
        assert isinstance(files, FileSet)
        return files

    def regenerated(self, names: Iterable[str]) -> bool:
        """Whether any of these is of a run with another model than the published one.

        Files that were derived from published ones without a model count as published: they are what those say.

        Raises:
            SchemaError: a provenance record cannot be understood.
        """
        records = [provenance.read(self.files[name]) for name in names]
        return any(record is not None and record.model is not None for record in records)

    def _what_it_takes(self, name: str, plan: Plan) -> str:
        file, mirror = plan.config.file, self.mirror
        if plan.action == "download":
            return f"needs {file}: 'circuit-artifacts fetch {mirror.name} {name}' downloads it"
        if mirror.repositories:
            return f"needs {file} of {mirror.repositories[0]}, which is not on this machine"
        return f"needs {file}: 'circuit-artifacts regenerate {mirror.name} {name} --root DIR' makes it"


def _can_be_derived(plan: Plan) -> bool:
    """Whether what is here suffices, and no model has to run."""
    if plan.action == "derive":
        return not plan.runs_model and all(map(_can_be_derived, plan.inputs))
    return plan.action == "use"
