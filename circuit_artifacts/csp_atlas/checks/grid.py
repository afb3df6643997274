"""Mask files against each other: the same keys at every setting, and masks that shrink as a threshold grows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, pairwise

import numpy as np

from circuit_artifacts.csp_atlas.checks.contents import Contents, MaskFile, error, limited
from circuit_artifacts.validation import Finding

__all__ = ["check_grid"]

_GROUPS = {"masks": ("pair_masks", "universal_masks"), "checker_masks": ("token_checker_masks",)}


def check_grid(contents: Contents) -> Iterator[Finding]:
    """Compare the settings that are here (csp_atlas spec 11.4)."""
    for family, groups in _GROUPS.items():
        files = {
            (mask_file.config.setting["eps"], mask_file.config.setting["cons"]): mask_file
            for mask_file in contents.masks.values()
            if mask_file.config.family.name == family
        }
        for group in groups:
            present = {setting: mask_file for setting, mask_file in files.items() if group in mask_file.groups}
            yield from _check_keys(list(present.values()), group)
            for looser, stricter in _neighbours(sorted(present)):
                yield from _check_subset(present[looser], present[stricter], group)


def _neighbours(settings: list[tuple[float, float]]) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """Pairs of settings that differ in one threshold only, and have none between them."""
    for axis in (0, 1):

        def other(setting: tuple[float, float], axis: int = axis) -> float:
            return setting[1 - axis]

        for _, line in groupby(sorted(settings, key=lambda setting: (other(setting), setting)), key=other):
            members = list(line)
            yield from pairwise(members)


def _check_keys(files: list[MaskFile], group: str) -> Iterator[Finding]:
    for mask_file in files[1:]:
        differing = sorted(set(files[0].groups[group].keys) ^ set(mask_file.groups[group].keys))
        if differing:
            message = f"{len(differing)} keys are in only one of this file and {files[0].config.file}: {differing[:3]}"
            yield error("same-keys", mask_file.config.file, f"/{group}", message)


def _check_subset(looser: MaskFile, stricter: MaskFile, group: str) -> Iterator[Finding]:
    keys, loose_bits, strict_bits = looser.groups[group].common(stricter.groups[group])
    surplus = np.argwhere((strict_bits & ~loose_bits).any(axis=-1)).tolist()
    yield from limited(
        [
            error(
                "subset",
                stricter.config.file,
                f"/{group}/layer_{layer}/{keys[row]}",
                f"the mask is not a subset of that in {looser.config.file}, although its thresholds are stricter",
            )
            for row, layer in surplus
        ]
    )
