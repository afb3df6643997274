"""A file of the repository with its name there, and what all readers do with it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from typing import Any

from circuit_artifacts.filesets import NamedFile
from circuit_artifacts.formats.row_tables import make_table
from circuit_artifacts.sae_locality.json_files import json_text
from circuit_artifacts.sae_locality.paths import Place, classify

__all__ = [
    "RepositoryFile",
    "companion",
    "extra_of_parts",
    "extra_text",
    "first_of",
    "joined",
    "make_table",
    "note_unknown",
]

logger = logging.getLogger(__name__)


class RepositoryFile(NamedFile):
    """A file of the repository."""

    @cached_property
    def place(self) -> Place:
        """What its name says."""
        return classify(self.name)


def companion(file: RepositoryFile, beside: Sequence[RepositoryFile], kind: str) -> RepositoryFile | None:
    """The file of another kind that goes with this one: of the same run, context length and tier, where both say."""
    here = file.place
    for other in beside:
        there = other.place
        same = there.kind == kind and there.run == here.run and there.tier in {None, here.tier}
        if same and (here.ctx is None or there.ctx in {None, here.ctx}):
            return other
    return None


def first_of(mapping: Mapping[str, Any], names: Iterable[str]) -> Any:
    """The value of the first name that a mapping has; None if it has none of them."""
    return next((mapping[name] for name in names if name in mapping), None)


def extra_text(kind: str, mapping: Mapping[str, Any], known: AbstractSet[str]) -> str | None:
    """What a mapping holds beyond the known keys, as JSON; None if nothing. The first time for a kind, a log line."""
    surplus = {key: value for key, value in mapping.items() if key not in known}
    if not surplus:
        return None
    note_unknown(kind, map(str, surplus))
    return json_text(surplus)


def extra_of_parts(
    kind: str, content: Mapping[str, Any], known: AbstractSet[str], parts: Mapping[str, AbstractSet[str]]
) -> str | None:
    """As :func:`extra_text`, for a mapping and those mappings in it whose keys are known too."""
    inside = {part: {k: v for k, v in content[part].items() if k not in keys} for part, keys in parts.items()}
    surplus = {key: value for key, value in content.items() if key not in known}
    return extra_text(kind, surplus | {part: unknown for part, unknown in inside.items() if unknown}, frozenset())


def joined(of_file: str | None, of_part: str | None) -> str | None:
    """Two JSON objects with different keys, either of which may be absent, as one."""
    if of_file is None or of_part is None:
        return of_file or of_part
    return f"{of_file[:-1]}, {of_part[1:]}"


_noted: set[str] = set()


def note_unknown(kind: str, names: Iterable[str]) -> None:
    """Say once per kind of file that there is more in it than is known."""
    if kind not in _noted:
        _noted.add(kind)
        logger.warning("%s files hold more than is known of them, kept in the column extra: %s", kind, ", ".join(names))
