"""What `inspect` gives: a file's format, facts about the whole of it, and an entry for everything in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from circuit_artifacts.formats.bounded import BoundedReader
from circuit_artifacts.remote import Location

__all__ = ["Entry", "Inspection", "Lister", "Listing", "shortened"]

_LONGEST_VALUE = 60


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in a file.

    Attributes:
        path: names joined by ``/``; ``/`` is the whole content.
        kind: in the words of the format: dataset, group, array, tensor, column, object, ...
        dtype: as the format's own library writes it; empty if there is none.
        shape: lengths of the axes; None if there are none to speak of.
        stored_bytes: what it takes in the file, compressed as it is; None if unknown.
        attributes: small values attached to it.
        note: what a reader should know, and why something was not read.
    """

    path: str
    kind: str
    dtype: str = ""
    shape: tuple[int, ...] | None = None
    stored_bytes: int | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


class Listing(NamedTuple):
    """What one format's module found; the parts of an :class:`Inspection` that depend on the content."""

    format: str
    entries: list[Entry]
    facts: dict[str, Any]


Lister = Callable[[Location, BoundedReader], Listing]
"""Lists a file that is open as the stream, at its start. Raises FormatError for broken content."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What is in a file.

    Attributes:
        file: path or address.
        format: hdf5, parquet, npz, npy, torch, pickle, safetensors, csv, json, jsonl or zip, recognised by content.
        bytes: size of the file.
        facts: about the whole file, by name; plain JSON values. What the file says about itself is under ``metadata``.
        entries: in the order of the file.
    """

    file: str
    format: str
    bytes: int
    facts: Mapping[str, Any]
    entries: tuple[Entry, ...]


def shortened(value: Any, length: int = _LONGEST_VALUE) -> str:
    """The value in one short line."""
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"  # str() refuses the largest
    text = repr(value[: length + 1]) if isinstance(value, str | bytes) else str(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."
