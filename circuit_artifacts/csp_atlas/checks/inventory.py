"""Which files are there, and whether they belong together."""

from __future__ import annotations

from collections.abc import Iterator

from circuit_artifacts import provenance
from circuit_artifacts.csp_atlas.checks.contents import Contents, note
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.validation import Finding

__all__ = ["check_inventory"]


def check_inventory(contents: Contents) -> Iterator[Finding]:
    """Note absent files and mixed provenance; report records that cannot be understood."""
    configs = contents.mirror.config_by_file.values()
    loadable = [config for config in configs if config.family.loadable]
    absent = [c.file for c in loadable if not contents.path(c).exists() and not c.family.optional]
    if absent:
        message = f"{len(absent)} of {len(loadable)} declared files are not here: {', '.join(absent)}"
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
