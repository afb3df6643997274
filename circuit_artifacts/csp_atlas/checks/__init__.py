"""Checks of a CSP-Atlas folder that need no model, cheap to expensive (csp_atlas spec 11)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from circuit_artifacts.csp_atlas.checks.activations import check_activations
from circuit_artifacts.csp_atlas.checks.analyses import check_analyses
from circuit_artifacts.csp_atlas.checks.card import check_card
from circuit_artifacts.csp_atlas.checks.contents import Contents
from circuit_artifacts.csp_atlas.checks.grid import check_grid
from circuit_artifacts.csp_atlas.checks.inventory import check_inventory
from circuit_artifacts.csp_atlas.checks.masks import check_mask_files
from circuit_artifacts.csp_atlas.checks.prompts import check_prompts
from circuit_artifacts.csp_atlas.checks.tables import check_tables
from circuit_artifacts.schemas.declaration import Mirror
from circuit_artifacts.validation import Finding

__all__ = ["check_folder"]


def check_folder(folder: Path, mirror: Mirror) -> Iterator[Finding]:
    """Everything that is wrong with, or remarkable about, a folder in the CSP-Atlas layout.

    A file that cannot be read is one finding, and only the checks that need it are left out. A file that is absent is
    no fault: part of the atlas is as good as all of it.

    Args:
        folder: the folder.
        mirror: "csp-atlas", or a mirror of the same layout.
    """
    contents = Contents(folder, mirror)
    for check in (
        check_inventory,
        check_tables,
        check_prompts,
        check_mask_files,
        check_grid,
        check_activations,
        check_analyses,
        check_card,
    ):
        yield from check(contents)
