"""JSON of the repository: bounded, with bare ``NaN`` read as null, and written back as text for a column."""

from __future__ import annotations

import json
import math
from typing import Any

from circuit_artifacts.errors import FormatError, SchemaError
from circuit_artifacts.formats.bounded import open_bounded
from circuit_artifacts.remote import Location
from circuit_artifacts.sae_locality.privacy import stripped

__all__ = ["json_text", "read_json", "read_object"]

_LARGEST = 256 << 20
"""Bytes of one JSON file. The largest known kind, the contexts of 16,384 features, stays below."""


def read_json(file: Location, *, largest: int = _LARGEST) -> Any:
    """Parse a JSON file; ``NaN`` and infinities, which JSON has no words for, become None.

    Raises:
        MissingArtifactError: there is no such file.
        FormatError: not JSON, or larger than ``largest`` bytes.
    """
    with open_bounded(file, largest=largest) as stream:
        data = stream.read()
    try:
        return json.loads(data, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        problem = "not JSON"
        raise FormatError(problem, file=file, found=error, remedy="Get the file again.") from error


def read_object(file: Location) -> dict[str, Any]:
    """Parse a JSON file that holds an object.

    Raises:
        MissingArtifactError: there is no such file.
        FormatError: not JSON.
        SchemaError: JSON of another kind.
    """
    value = read_json(file)
    if not isinstance(value, dict):
        problem = "the file does not hold a JSON object"
        raise SchemaError(problem, file=file, found=type(value).__name__, expected="an object")
    return value


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
