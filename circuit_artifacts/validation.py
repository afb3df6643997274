"""Checks a folder against everything its mirror declares; lists every fault instead of stopping at the first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from circuit_artifacts import catalog
from circuit_artifacts.errors import CircuitArtifactsError, SourceError, UnknownNameError
from circuit_artifacts.schemas.declaration import Mirror, import_string

__all__ = ["Finding", "mirror_of", "validate"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing a validator has to say.

    Attributes:
        level: "error" for a violated rule; "note" for a known variant, or a place where card and file differ.
        rule: short name of the rule, the same for all its violations.
        file: name of the file.
        where: place inside it, or empty.
        message: what is wrong, what was found and what was expected, in one sentence.
    """

    level: Literal["error", "note"]
    rule: str
    file: str
    where: str = ""
    message: str

    @classmethod
    def of(cls, error: CircuitArtifactsError, rule: str, file: str) -> Finding:
        """The finding that an error amounts to."""
        return cls(level="error", rule=rule, file=file, where=error.where or "", message=error.problem + error.contrast)


def mirror_of(folder: Path) -> Mirror:
    """The mirror in whose layout a folder is, by the names of its files.

    Raises:
        SourceError: not a folder.
        UnknownNameError: no file has a name that any mirror declares.
    """
    if not folder.is_dir():
        problem = "there is no such folder"
        raise SourceError(problem, file=folder)
    present = {path.name for path in folder.iterdir()}
    for mirror in catalog.mirrors().values():
        if present & mirror.config_by_file.keys():
            return mirror
    problem = "no file here has a name that a mirror declares"
    raise UnknownNameError(problem, file=folder, found=sorted(present)[:5], expected=", ".join(catalog.mirrors()))


def validate(folder: Path, mirror: Mirror | None = None) -> Iterator[Finding]:
    """Everything that is wrong with, or remarkable about, a folder in the published layout.

    Args:
        folder: the folder.
        mirror: whose layout it should follow; None recognises it by its file names.

    Raises:
        SourceError: not a folder.
        UnknownNameError: no file has a declared name.
    """
    mirror = mirror or mirror_of(folder)
    if mirror.validator is None:
        return
    yield from import_string(mirror.validator)(folder, mirror)
