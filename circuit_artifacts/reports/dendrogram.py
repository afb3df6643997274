"""The atomicity dendrogram, figure 1 of the CSP-Atlas paper (csp_atlas spec 7.3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.cluster import hierarchy

from circuit_artifacts.errors import SchemaError

__all__ = ["draw_dendrogram"]

_SIZE_INCHES = (14.0, 5.0)
_FONT = "serif"
_LABEL_POINTS, _TITLE_POINTS, _TICK_POINTS, _LEAF_POINTS = 9, 10, 8, 8
_LINE_POINTS = 1.4
_DOTS_PER_INCH = 300


def draw_dendrogram(linkage: npt.NDArray[np.float64], labels: Sequence[str], path: Path, *, title: str) -> None:
    """Draw a clustering in the style of the published figure.

    Links below 0.7 of the greatest height are coloured by cluster, as is SciPy's default. Nothing of matplotlib's
    global state is read for the style or changed, and equal input gives equal bytes.

    Args:
        linkage: float64 (n - 1, 4), SciPy's linkage matrix.
        labels: one label per leaf.
        path: where to write; the suffix (``.png`` or ``.pdf``) gives the format.
        title: above the plot.

    Raises:
        SchemaError: not one label per leaf.
    """
    if len(labels) != len(linkage) + 1:
        problem = "a dendrogram needs one label per leaf"
        raise SchemaError(problem, where="labels", found=len(labels), expected=len(linkage) + 1)
    figure = Figure(figsize=_SIZE_INCHES, layout="tight")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    hierarchy.dendrogram(
        linkage, labels=np.asarray(labels, dtype=np.str_), leaf_rotation=90, leaf_font_size=_LEAF_POINTS, ax=axes
    )
    for links in axes.collections:
        links.set_linewidth(_LINE_POINTS)
    axes.set_title(title, fontsize=_TITLE_POINTS, fontfamily=_FONT)
    axes.set_ylabel("Ward distance (1 - Jaccard)", fontsize=_LABEL_POINTS, fontfamily=_FONT)
    axes.tick_params(axis="y", labelsize=_TICK_POINTS, labelfontfamily=_FONT)
    axes.tick_params(axis="x", labelfontfamily=_FONT)
    axes.grid(visible=False)
    undated = {"CreationDate": None} if path.suffix.lower() == ".pdf" else None
    figure.savefig(path, dpi=_DOTS_PER_INCH, bbox_inches="tight", metadata=undated)
