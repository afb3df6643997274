"""What a step function is called with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuit_artifacts import provenance
from circuit_artifacts.filesets import FileSet, Local
from circuit_artifacts.schemas.declaration import Config, Mirror, Step

__all__ = ["Job"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of a step.

    Attributes:
        inputs: the file or files of every input, by config name; of those the step only `uses`, what there is.
        outputs: final path of every file to make, by config name; for a config of several files, the folder that the
            published layout begins in.
        parameters: the mirror's defaults and what the caller overrode.
    """

    mirror: Mirror
    step: Step
    inputs: Mapping[str, Local]
    outputs: Mapping[str, Path]
    parameters: Mapping[str, Any]

    def input(self, family: str, setting: Mapping[str, Any] | None = None) -> Path:
        """The input of a family that has one file, at a setting."""
        found = self.inputs[self._name(family, setting)]
        assert isinstance(found, Path)
        return found

    @property
    def only_input(self) -> Path:
        """The input of a step that has one, which is one file."""
        (found,) = self.inputs.values()
        assert isinstance(found, Path)
        return found

    def input_files(self, family: str, setting: Mapping[str, Any] | None = None) -> FileSet:
        """The input of a family of several files, at a setting."""
        found = self.inputs[self._name(family, setting)]
        assert isinstance(found, FileSet)
        return found

    def output_configs(self, family: str) -> Iterable[tuple[Config, Path]]:
        """The outputs of a family that are wanted, in grid order."""
        for config in self.mirror.family_by_name[family].configs:
            if config.name in self.outputs:
                yield config, self.outputs[config.name]

    def record(self, inputs: Iterable[Local] | None = None, **facts: Any) -> provenance.Provenance:
        """The provenance of a file of this job.

        Args:
            inputs: what the file is made from; None for all of the job's inputs.
            facts: model, n_layers, width and parameters.
        """
        chosen = self.inputs.values() if inputs is None else inputs
        digests: dict[str, str] = {}
        for item in chosen:
            files = {item.name: item} if isinstance(item, Path) else {name: item.path(name) for name in item.names}
            digests |= {name: provenance.file_digest(path) for name, path in files.items()}
        return provenance.Provenance(
            mirror=self.mirror.name,
            step=self.step.name,
            inputs=dict(sorted(digests.items())),
            versions=provenance.package_versions(),
            **facts,
        )

    def _name(self, family: str, setting: Mapping[str, Any] | None) -> str:
        return Config(family=self.mirror.family_by_name[family], setting=setting or {}).name
