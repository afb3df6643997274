"""The files of a folder, and which of them are published ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from circuit_artifacts import provenance
from circuit_artifacts.causal_dimensionality.paths import RepositoryFile
from circuit_artifacts.filesets import list_files
from circuit_artifacts.schemas.declaration import Mirror

__all__ = ["Contents"]


@dataclass(frozen=True)
class Contents:
    """A folder in the layout of the repository.

    Attributes:
        folder: the folder.
        mirror: whose layout it is in.
    """

    folder: Path
    mirror: Mirror

    @cached_property
    def files(self) -> list[RepositoryFile]:
        """Every file, by name."""
        files = (RepositoryFile(self.folder / name, name) for name in list_files(self.folder))
        return [file for file in files if file.place.kind != "record"]

    def of_kind(self, *kinds: str) -> list[RepositoryFile]:
        """Files of some kinds, as `paths.classify` names them."""
        return [file for file in self.files if file.place.kind in kinds]

    def is_published(self, file: RepositoryFile) -> bool:
        """Whether it is meant to be the published file: not one that was made here."""
        return bool(self.mirror.repositories) and not provenance.sidecar(file.path).exists()
