"""Which files are there, and whether they belong together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from circuit_artifacts import provenance
from circuit_artifacts.csp_atlas.checks.contents import Contents, note
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.validation import Finding

__all__ = ["check_inventory"]


def check_inventory(contents: Contents) -> Iterator[Finding]:
    """Note absent files and mixed provenance; report records that cannot be understood."""
    declared = [config for config in contents.mirror.config_by_file.values() if config.family.loadable]
    absent = [config for config in declared if not contents.path(config).exists() and not config.family.optional]
    if absent:
        names: list[str] = []
        for family, members in groupby(absent, key=lambda config: config.family):
            files = [config.file for config in members]
            whole_grid = len(files) == len(family.configs) > 1
            names.extend([f"{family.file} ({len(files)})"] if whole_grid else files)
        message = f"{len(absent)} of {len(declared)} declared files are not here: {', '.join(names)}"
        yield note("absent-files", contents.folder.name, "", message)
    unrecorded = []
    for config in contents.configs:
        try:
            if provenance.read(contents.path(config)) is None:
                unrecorded.append(config.file)
        except SchemaError as fault:
            yield Finding.of(fault, "provenance", config.file)
    if unrecorded and not contents.published:
        message = f"regenerated files lie beside files without provenance: {', '.join(unrecorded)}"
        yield note("mixed-provenance", contents.folder.name, "", message)
