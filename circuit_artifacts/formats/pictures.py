"""Pictures, as cells of an image column: passed on as they are, not decoded."""

from __future__ import annotations

from typing import Any

from circuit_artifacts.errors import FormatError
from circuit_artifacts.formats.bounded import open_bounded
from circuit_artifacts.remote import Location

__all__ = ["read_picture"]

_LARGEST = 64 << 20  # bytes of one picture
_PNG = b"\x89PNG\r\n\x1a\n"


def read_picture(file: Location) -> dict[str, Any]:
    """A PNG file as a cell of an image column.

    Raises:
        MissingArtifactError: there is no such file.
        FormatError: not a PNG file, or larger than 64 MiB.
    """
    with open_bounded(file, largest=_LARGEST) as stream:
        data = stream.read()
    if not data.startswith(_PNG):
        problem = "not a PNG picture"
        raise FormatError(problem, file=file, found=data[:8], remedy="Get the file again.")
    return {"bytes": data, "path": file.name}
