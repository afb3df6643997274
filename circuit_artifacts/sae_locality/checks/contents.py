"""What the checks share: the files of a folder, findings, and reading that turns errors into findings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from circuit_artifacts import provenance
from circuit_artifacts.filesets import list_files
from circuit_artifacts.findings import attempt, error, note, unreadable
from circuit_artifacts.sae_locality.files import RepositoryFile
from circuit_artifacts.validation import limited

__all__ = ["Contents", "attempt", "error", "limited", "note", "unreadable"]


@dataclass(frozen=True)
class Contents:
    """A folder in the layout of the repository."""

    folder: Path

    @cached_property
    def files(self) -> list[RepositoryFile]:
        """Every file, by name."""
        names = (name for name in list_files(self.folder) if not name.endswith(provenance.SUFFIX))
        return [RepositoryFile(self.folder / name, name) for name in names]

    def of_kind(self, *kinds: str, strand: str | None = None) -> list[RepositoryFile]:
        """Files of some kinds, as `paths.classify` names them."""
        return [file for file in self.files if file.place.kind in kinds and strand in {None, file.place.strand}]

    @cached_property
    def runs(self) -> dict[str, list[RepositoryFile]]:
        """Files by their run."""
        found: dict[str, list[RepositoryFile]] = {}
        for file in self.files:
            found.setdefault(file.place.run, []).append(file)
        return found

    def beside(self, file: RepositoryFile) -> list[RepositoryFile]:
        """All files of the same run."""
        return self.runs[file.place.run]
