"""What is in a file: names, shapes, types, attributes and sizes, without loading data or running anything in it.

:func:`inspect` recognises HDF5, parquet, npz, npy, torch files and other pickles, safetensors, CSV, JSON and JSON lines
by their content. One module per format lists it; none needs more than the package's base dependencies.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from circuit_artifacts import provenance
from circuit_artifacts.formats.bounded import open_bounded
from circuit_artifacts.inspection import view
from circuit_artifacts.inspection.listing import Entry, Inspection
from circuit_artifacts.inspection.recognition import recognise, surprise
from circuit_artifacts.remote import Location, locate

__all__ = ["Entry", "Inspection", "inspect", "view"]

_LARGEST_READ = 128 << 20  # bytes at once; the largest header that is allowed, that of safetensors, is smaller


def inspect(reference: str | Path) -> Inspection:
    """List what is in a file.

    Args:
        reference: a path, ``hf://datasets/<repository>/<file>``, or an http(s) URL; read in place.

    Raises:
        MissingArtifactError: there is no such file.
        SourceError: it cannot be reached or opened.
        FormatError: empty, truncated or damaged, or of a format that is not listed.
    """
    file = locate(str(reference))
    with open_bounded(file, largest=_LARGEST_READ) as stream:
        listing = recognise(file, stream)(file, stream)
        size = stream.seek(0, 2)
    metadata = listing.facts.get("metadata")
    embedded = metadata.pop(provenance.KEY, None) if isinstance(metadata, dict) else None
    found = {"name": surprise(file, listing.format), "provenance": _provenance(file, embedded)}
    facts = {name: value for name, value in found.items() if value} | listing.facts
    return Inspection(file=str(file), format=listing.format, bytes=size, facts=facts, entries=tuple(listing.entries))


def _provenance(file: Location, embedded: Any) -> dict[str, Any] | str | None:
    """The record of how a file was made, beside it or inside; None for a file that was not made here."""
    text = embedded
    if isinstance(file, Path) and provenance.sidecar(file).is_file():
        text = provenance.sidecar(file).read_bytes()
    if text is None:
        return None
    try:
        return provenance.Provenance.model_validate_json(text).model_dump(mode="json")
    except (ValidationError, TypeError):
        return "a record that cannot be understood"
