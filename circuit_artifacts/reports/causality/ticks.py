"""Labels of logarithmic axes without mathematics, which `canvas` switches off."""

from __future__ import annotations

from typing import Final

from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

__all__ = ["logarithmic_ticks", "written"]

_FEW_DECADES: Final = 2.5
_POWER: Final = 1e6  # from here on, and from its inverse down, numbers are written with an exponent


def written(value: float) -> str:
    """A tick's number: ``20,000``, ``0.001``, ``1e-05``."""
    return f"{value:,.0f}" if 1 <= abs(value) < _POWER and value == round(value) else f"{value:g}"


def logarithmic_ticks(axis: Axis, *, decades: float | None = None) -> None:
    """Write the numbers of a logarithmic axis, or of a symmetrically logarithmic one, whose scale is set already.

    Args:
        axis: of an `Axes`, such as ``axes.yaxis``.
        decades: how many it shows; if few, 2 and 5 times the powers of ten are labelled too.
    """
    if decades is not None and decades < _FEW_DECADES:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: written(value)))
    axis.set_minor_formatter(NullFormatter())
