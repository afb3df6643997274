"""Checks a folder against everything its mirror declares; lists every fault instead of stopping at the first."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from circuit_artifacts import catalog, provenance
from circuit_artifacts.errors import (
    CircuitArtifactsError,
    FormatError,
    SchemaError,
    SourceError,
    UnknownNameError,
)
from circuit_artifacts.filesets import list_files
from circuit_artifacts.formats.reader import make_readers
from circuit_artifacts.schemas.declaration import Config, Mirror, import_string

__all__ = ["Finding", "limited", "mirror_of", "validate"]

_LISTED = 20  # findings of one rule in one place; the others are counted


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


def limited(findings: Iterable[Finding], total: int | None = None) -> Iterator[Finding]:
    """The first findings of one rule in one file, then one that says how many there are beside them.

    Args:
        findings: alike in rule and file.
        total: how many there are; None counts them.
    """
    stream = iter(findings)
    last = None
    for last in islice(stream, _LISTED):
        yield last
    more = sum(1 for _ in stream) if total is None else max(total - _LISTED, 0)
    if more and last is not None:
        yield Finding(level=last.level, rule=last.rule, file=last.file, message=f"and {more:,} more like these")


def mirror_of(folder: Path) -> Mirror:
    """The mirror in whose layout a folder is: by the provenance of its files, else by their names.

    Raises:
        SourceError: not a folder.
        UnknownNameError: no file has a name that any mirror declares.
    """
    if not folder.is_dir():
        problem = "there is no such folder"
        raise SourceError(problem, file=folder)
    names = list_files(folder)
    for mirror in catalog.mirrors().values():
        declared = sorted({name for config in mirror.config_by_file.values() for name in _telling(config, names)})
        if declared:  # mirrors regenerated from another model share their file names with the published one
            return next((maker for file in declared if (maker := _maker(folder / file))), mirror)
    problem = "no file here has a name that a mirror declares"
    raise UnknownNameError(problem, file=folder, found=list(names[:5]), expected=", ".join(catalog.mirrors()))


def _telling(config: Config, names: tuple[str, ...]) -> list[str]:
    """Files of a config that no other mirror would have."""
    pattern = config.family.telling
    if pattern is None or config.family.is_inventory:
        return []
    files = (config.file,) if config.family.select is None else config.select(names, {})
    return [name for name in files if name in names and re.fullmatch(pattern, name)]


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
    check = _check_readable if mirror.validator is None else import_string(mirror.validator)
    yield from check(folder, mirror)


def _maker(path: Path) -> Mirror | None:
    """The mirror that a file was made for; None for published data."""
    with suppress(SchemaError):  # the validator reports it
        record = provenance.read(path)
        return None if record is None else catalog.mirrors().get(record.mirror)
    return None


def _check_readable(folder: Path, mirror: Mirror) -> Iterator[Finding]:
    """What holds for any mirror: every row of every file can be read under its schema."""
    for family in mirror.families:
        for config in family.configs:
            path = folder / config.file
            for reader in make_readers(mirror, config).values() if path.exists() else ():
                try:
                    for shard in reader.shards(path):
                        deque(reader.tables(path, shard), maxlen=0)
                except CircuitArtifactsError as error:
                    yield Finding.of(error, "readable" if isinstance(error, FormatError) else "schema", config.file)
