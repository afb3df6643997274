"""Checks of a causal-dimensionality folder that need no model (causal-dimensionality spec 1.4, 3 and 4)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from circuit_artifacts.causal_dimensionality.checks.contents import Contents
from circuit_artifacts.causal_dimensionality.checks.dictionaries import check_dictionaries
from circuit_artifacts.causal_dimensionality.checks.layout import check_layout
from circuit_artifacts.causal_dimensionality.checks.results import check_results
from circuit_artifacts.causal_dimensionality.reader import READERS
from circuit_artifacts.findings import attempt
from circuit_artifacts.schemas.causal_agreement import AgreementItem
from circuit_artifacts.schemas.causal_dimensionality import Figure, Log
from circuit_artifacts.schemas.causal_dimensionality_mirror import MIRROR
from circuit_artifacts.schemas.common import ArtifactModel
from circuit_artifacts.schemas.declaration import Mirror
from circuit_artifacts.validation import Finding

__all__ = ["check_folder"]


def check_folder(folder: Path, mirror: Mirror = MIRROR) -> Iterator[Finding]:
    """Everything that is wrong with, or remarkable about, a folder in the causal-dimensionality layout.

    A file that cannot be read is one finding. A file that is absent is no fault.

    Args:
        folder: the folder.
        mirror: whose; only of the published one is held against what was published.
    """
    contents = Contents(folder, mirror)
    yield from check_layout(contents)
    yield from check_dictionaries(contents)
    yield from check_results(contents)
    yield from _check_readable(contents)


def _check_readable(contents: Contents) -> Iterator[Finding]:
    """Read what no other check has read."""
    findings: list[Finding] = []
    rows: dict[str, type[ArtifactModel]] = {"figure": Figure, "log": Log, "agreement": AgreementItem}
    for kind, row in rows.items():
        for file in contents.of_kind(kind):
            attempt(READERS[row], file, findings=findings)
    yield from findings
