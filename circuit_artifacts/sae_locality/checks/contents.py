"""What the checks share: the files of a folder, findings, and reading that turns errors into findings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from circuit_artifacts import provenance
from circuit_artifacts.errors import CircuitArtifactsError, FormatError, SourceError
from circuit_artifacts.filesets import list_files
from circuit_artifacts.sae_locality.files import RepositoryFile
from circuit_artifacts.validation import Finding, limited

__all__ = ["Contents", "attempt", "error", "limited", "note", "unreadable"]

Value = TypeVar("Value")


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


def error(rule: str, file: RepositoryFile, where: str, message: str) -> Finding:
    """A violated rule."""
    return Finding(level="error", rule=rule, file=file.name, where=where, message=message)


def note(rule: str, file: RepositoryFile, where: str, message: str) -> Finding:
    """Something remarkable."""
    return Finding(level="note", rule=rule, file=file.name, where=where, message=message)


def unreadable(fault: CircuitArtifactsError, file: RepositoryFile) -> Finding:
    """The finding for a file that cannot be read, or does not hold what it should."""
    return Finding.of(fault, "readable" if isinstance(fault, FormatError | SourceError) else "schema", file.name)


def attempt(read: Callable[..., Value], file: RepositoryFile, *arguments: Any, findings: list[Finding]) -> Value | None:
    """What a reader gives for a file; None, and one more finding, if it fails."""
    try:
        return read(file, *arguments)
    except CircuitArtifactsError as fault:
        findings.append(unreadable(fault, file))
        return None
