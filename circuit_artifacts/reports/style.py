"""Colours that the colour-blind can tell apart, and the parts that several figures have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

__all__ = [
    "BLUE",
    "GREY",
    "INK",
    "ORANGE",
    "PALE",
    "PALETTE",
    "RED",
    "faint_lines",
    "maximum_entropy",
    "size_axis",
    "span",
]

INK: Final = "#222222"
GREY: Final = "#8C8C8C"
PALE: Final = "#CFCFCF"
RED: Final = "#D62728"
BLUE: Final = "#0072B2"
ORANGE: Final = "#E69F00"
PALETTE: Final = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9")
"""Five of the eight colours of Okabe and Ito; their red is left out, since a red line has a meaning of its own."""

_MOST_TICKS = 8


def maximum_entropy(axes: Axes, context_len: int | None, *, vertical: bool = False) -> Line2D | None:
    """A dotted line at log2 of the context length, where the axis of the entropy then ends; from 0 bits on."""
    limits = axes.set_xlim if vertical else axes.set_ylim
    if context_len is None:
        limits(0, None)
        return None
    most = float(np.log2(context_len))
    limits(0, most * 1.04 or 1)
    line = axes.axvline if vertical else axes.axhline
    return line(most, color=INK, linestyle=":", linewidth=1, label=f"log₂ {context_len}, the maximum")


def size_axis(axes: Axes, sizes: Sequence[int], label: str) -> None:
    """A logarithmic x axis of sizes: ticks at each of them, or at powers of two if there are many."""
    first, last = min(sizes), max(sizes)
    powers = [2**power for power in range(first.bit_length() - 1, last.bit_length()) if first <= 2**power <= last]
    ticks = list(sizes) if len(sizes) <= _MOST_TICKS else powers
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, labels=[str(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(first / 1.15, last * 1.15)
    axes.set_xlabel(label)


def faint_lines(
    axes: Axes,
    x: npt.NDArray[np.floating] | npt.NDArray[np.integer],
    rows: npt.NDArray[np.floating],
    *,
    color: str,
    alpha: float,
) -> LineCollection:
    """Many thin lines over the same x, as one artist.

    Args:
        axes: where to draw.
        x: (T,).
        rows: (n, T), each a line.
        color: of all.
        alpha: opacity of each.
    """
    points = np.stack(np.broadcast_arrays(x.astype(np.float64), rows), axis=-1)
    lines = LineCollection(list(points), colors=color, linewidths=0.7, alpha=alpha)
    axes.add_collection(lines)
    axes.autoscale_view()
    return lines


def span(numbers: Iterable[int]) -> str:
    """Numbers as a range for a title: ``1,234`` or ``23 to 1,159``."""
    found = list(numbers) or [0]
    least, most = min(found), max(found)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
