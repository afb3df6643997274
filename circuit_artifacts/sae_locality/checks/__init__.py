"""Checks of an SAE-locality folder that need no model (sae_locality spec 8)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from circuit_artifacts.sae_locality.checks.autocorrelation import check_autocorrelation
from circuit_artifacts.sae_locality.checks.card import check_card
from circuit_artifacts.sae_locality.checks.contents import Contents
from circuit_artifacts.sae_locality.checks.contexts import check_contexts
from circuit_artifacts.sae_locality.checks.depth import check_depth
from circuit_artifacts.sae_locality.checks.events import check_events
from circuit_artifacts.sae_locality.checks.geometry import check_geometry
from circuit_artifacts.sae_locality.checks.readable import check_readable
from circuit_artifacts.sae_locality.checks.runs import check_runs
from circuit_artifacts.sae_locality.checks.sweep import check_sweep
from circuit_artifacts.schemas.declaration import Mirror
from circuit_artifacts.validation import Finding

__all__ = ["check_folder"]


def check_folder(folder: Path, mirror: Mirror | None = None) -> Iterator[Finding]:
    """Everything that is wrong with, or remarkable about, a folder in the SAE-locality layout.

    A file that cannot be read is one finding, and only the checks that need it are left out. A file that is absent is
    no fault: one strand of the repository is as good as all of them.

    Args:
        folder: the folder.
        mirror: any of this layout; all obey the same rules.
    """
    contents = Contents(folder)
    seen: set[Finding] = set()
    for check in (
        check_runs,
        check_depth,
        check_sweep,
        check_events,
        check_contexts,
        check_geometry,
        check_autocorrelation,
        check_readable,
        check_card,
    ):
        for finding in check(contents):
            if finding not in seen:  # several checks may need one file that cannot be read
                seen.add(finding)
                yield finding
