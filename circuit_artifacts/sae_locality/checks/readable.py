"""Tables without rules of their own: every row can be read under its schema."""

from __future__ import annotations

from collections.abc import Iterator

from circuit_artifacts.sae_locality.checks.contents import Contents, attempt
from circuit_artifacts.sae_locality.tables import TABLES
from circuit_artifacts.validation import Finding

__all__ = ["check_readable"]

_CHECKED_BY_OTHERS = frozenset({"depth", "sweep", "events", "top_contexts", "geometry_features", "geometry_pairs"})


def check_readable(contents: Contents) -> Iterator[Finding]:
    """Read what no other check has read."""
    findings: list[Finding] = []
    for name, table in TABLES.items():
        kinds = set(table.kinds) - _CHECKED_BY_OTHERS
        strand = name if "manifest" in kinds else None
        for file in contents.of_kind(*kinds, strand=strand):
            beside = [other for other in contents.beside(file) if other.place.kind in table.beside]
            attempt(table.read, file, beside, findings=findings)
    yield from findings
