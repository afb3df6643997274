"""What published figures are called, relative to the folder they are in (locality spec 1.1, 4.6, 4.12)."""

from __future__ import annotations

import re
from typing import Final

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.reports.locality.depth import Shape

__all__ = [
    "ENTROPY_VERSUS_CONTEXT",
    "SWEEP",
    "batch_name",
    "continuum_name",
    "depth_grid_name",
    "depth_name",
    "overview_name",
    "profile_contrast_name",
]

ENTROPY_VERSUS_CONTEXT: Final = "h_pos_vs_ctxlen.png"
"""In ``figures/`` of an events run."""
SWEEP: Final = "entropy_vs_context_len.png"
"""In the plot folder of one layer of a sweep."""

_PART = re.compile(r"\w[\w.-]*")


def depth_name(preset: str, dataset: str) -> str:
    """In ``figures/`` of the repository.

    Raises:
        SchemaError: a name that is no plain part of a file name.
    """
    return f"entropy_vs_depth__{_part('preset', preset)}__{_part('dataset', dataset)}.png"


def depth_grid_name(shape: Shape, dataset: str) -> str:
    """In ``figures/`` of the repository. The published boxes are of wikitext and do not say so; others do (ours).

    Raises:
        SchemaError: a name that is no plain part of a file name.
    """
    suffix = f"__{_part('dataset', dataset)}"
    if shape == "violin":
        return f"entropy_vs_depth_crossmodel_grid_violin{suffix}.png"
    return f"entropy_vs_depth_crossmodel_grid_boxplot{suffix if dataset != 'wikitext' else ''}.png"


def batch_name(batch_idx: int) -> str:
    """In ``entropy_plots_<site>_layer<L>/`` of a depth run."""
    return f"batch_{batch_idx:03d}.png"


def continuum_name(ctx: int) -> str:
    """In ``figures/`` of an events run, as are the next two."""
    return f"feature_continuum_ctx{ctx:03d}.png"


def profile_contrast_name(ctx: int) -> str:
    """See `continuum_name`."""
    return f"feature_profile_contrast_ctx{ctx:03d}.png"


def overview_name(ctx: int) -> str:
    """See `continuum_name`."""
    return f"h_pos_overview_ctx{ctx:03d}.png"


def _part(what: str, text: str) -> str:
    if not _PART.fullmatch(text) or "__" in text:
        problem = f"the {what} cannot be part of a file name"
        raise SchemaError(problem, where=what, found=repr(text), expected="letters, digits, '.', '-' and single '_'")
    return text
