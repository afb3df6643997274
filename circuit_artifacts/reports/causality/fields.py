"""Numbers of a result, declared or not: whatever a file holds, they can be drawn, or are None."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.schemas.causal_result_parts import ResultProvenance, SaeReference

__all__ = ["Floats", "checked_widths", "extra", "extra_numbers", "heading", "number", "numbers", "positive"]

Floats: TypeAlias = npt.NDArray[np.float64]

_GREATEST_WIDTH: Final = 1 << 40
_GREATEST: Final = 1e100  # axes overflow before numbers do


def number(value: object) -> float | None:
    """A number as float; None for everything else, and if its size is above 1e100 or it is not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:  # JSON's integers have no end
        return None
    return found if abs(found) <= _GREATEST else None


def numbers(values: Iterable[object]) -> Floats:
    """Float64 (n,); NaN for what `number` does not take."""
    return np.array([np.nan if (found := number(value)) is None else found for value in values], np.float64)


def positive(values: Floats) -> Floats:
    """The same with NaN for what a logarithmic axis cannot show."""
    return np.where(values > 0, values, np.nan)


def extra(model: BaseModel, name: str) -> object:
    """A field that the model need not declare; None if it is not there."""
    found: object = getattr(model, name, None)
    return found


def extra_numbers(model: BaseModel, name: str) -> dict[str, float]:
    """Numbers of such a field that maps names to them; empty if it does not."""
    found = extra(model, name)
    items = found.items() if isinstance(found, Mapping) else ()
    return {str(key): value for key, item in items if (value := number(item)) is not None}


def checked_widths(widths: Sequence[int], *, where: str) -> Floats:
    """Widths of autoencoders as float64 (n,).

    Raises:
        SchemaError: there are none, or one is no width.
    """
    problem = "the figure needs widths of autoencoders"
    if not widths:
        raise SchemaError(problem, where=where, found="none", expected="at least one")
    if wrong := [width for width in widths if not 0 < width <= _GREATEST_WIDTH]:
        raise SchemaError(problem, where=where, found=str(wrong[0])[:20], expected=f"1 to {_GREATEST_WIDTH:.4g}")
    return np.array(widths, np.float64)


def heading(
    subject: str, provenance: ResultProvenance, *, sae: SaeReference | None = None, layer: int | None = None
) -> str:
    """A title: what is shown, and what is known of where it was measured."""
    if sae is not None:
        layer = sae.layer if layer is None else layer
    known = [provenance.model, f"layer {layer}" if layer is not None else None]
    if sae is not None:
        known += [sae.hook if sae.hook != "other" else None, f"{sae.source} {sae.sae_id or ''}".strip()]
    place = ", ".join(part for part in known if part)
    return f"{subject}: {place}" if place else subject
