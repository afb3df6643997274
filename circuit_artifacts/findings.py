"""How checks of a folder make findings, and turn errors of readers into them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from circuit_artifacts.errors import CircuitArtifactsError, FormatError, SourceError
from circuit_artifacts.formats.row_tables import NamedFile
from circuit_artifacts.validation import Finding

__all__ = ["attempt", "error", "note", "unreadable"]

Value = TypeVar("Value")


def error(rule: str, file: NamedFile, where: str, message: str) -> Finding:
    """A violated rule."""
    return Finding(level="error", rule=rule, file=file.name, where=where, message=message)


def note(rule: str, file: NamedFile, where: str, message: str) -> Finding:
    """Something remarkable."""
    return Finding(level="note", rule=rule, file=file.name, where=where, message=message)


def unreadable(fault: CircuitArtifactsError, file: NamedFile) -> Finding:
    """The finding for a file that cannot be read, or does not hold what it should."""
    return Finding.of(fault, "readable" if isinstance(fault, FormatError | SourceError) else "schema", file.name)


def attempt(read: Callable[..., Value], file: NamedFile, *arguments: Any, findings: list[Finding]) -> Value | None:
    """What a reader gives for a file; None, and one more finding, if it fails."""
    try:
        return read(file, *arguments)
    except CircuitArtifactsError as fault:
        findings.append(unreadable(fault, file))
        return None
