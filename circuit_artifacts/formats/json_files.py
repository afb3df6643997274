"""JSON files: bounded, and with bare ``NaN`` and infinities, which JSON has no words for, read as null."""

from __future__ import annotations

import json
from typing import Any

from circuit_artifacts.errors import FormatError, SchemaError
from circuit_artifacts.formats.bounded import open_bounded
from circuit_artifacts.remote import Location

__all__ = ["parse_json", "read_json", "read_object"]

_LARGEST = 256 << 20
"""Bytes of one file. The largest known kind, the contexts of 16,384 features, stays below."""


def parse_json(data: bytes, *, file: object) -> Any:
    """The value of a JSON text.

    Args:
        data: the text, in UTF-8.
        file: where it is from, for the message.

    Raises:
        FormatError: not JSON.
    """
    try:
        return json.loads(data, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        problem = "not JSON"
        raise FormatError(problem, file=file, found=error, remedy="Get the file again.") from error


def read_json(file: Location, *, largest: int = _LARGEST) -> Any:
    """Parse a JSON file.

    Raises:
        MissingArtifactError: there is no such file.
        FormatError: not JSON, or larger than ``largest`` bytes.
    """
    with open_bounded(file, largest=largest) as stream:
        return parse_json(stream.read(), file=file)


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
