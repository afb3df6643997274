"""JSON of the repository, and how it is written back as text for a column."""

from __future__ import annotations

import json
import math
from typing import Any

from circuit_artifacts.formats.json_files import read_json, read_object
from circuit_artifacts.sae_locality.privacy import stripped

__all__ = ["json_text", "read_json", "read_object"]


def json_text(value: Any, *, about_machine: bool = True) -> str:
    """One line of JSON; NaN and infinities become null.

    Args:
        value: JSON values, numpy arrays and scalars, and torch tensors, in containers.
        about_machine: it may name the machine that wrote it: take out host names and absolute paths.
    """
    plain = _plain(value)
    return json.dumps(stripped(plain) if about_machine else plain, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # arrays, numpy's scalars, tensors
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)
