"""CSP-Atlas for people who come from the paper's code: its loaders, and arrays."""

from __future__ import annotations

from circuit_artifacts.csp_atlas.readers import (
    LabelledMasks,
    load_concept_inventory,
    load_modularity_scores,
    load_pair_masks,
    load_prompts,
    load_summary,
    load_target_checker,
    load_token_independence,
    load_universal_masks,
    load_universal_masks_as_arrays,
    masks_array,
)

__all__ = [
    "LabelledMasks",
    "load_concept_inventory",
    "load_modularity_scores",
    "load_pair_masks",
    "load_prompts",
    "load_summary",
    "load_target_checker",
    "load_token_independence",
    "load_universal_masks",
    "load_universal_masks_as_arrays",
    "masks_array",
]
