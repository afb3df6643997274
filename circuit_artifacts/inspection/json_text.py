"""JSON and JSON lines: keys and the types of their values, some levels deep."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from circuit_artifacts.errors import FormatError
from circuit_artifacts.formats.bounded import BoundedReader
from circuit_artifacts.inspection.listing import Entry, Listing
from circuit_artifacts.remote import Location

__all__ = ["list_json", "list_json_lines"]

_LARGEST = 16 << 20
"""Bytes of a JSON file that is read; its values can take twenty times that in memory."""
_LONGEST_LINE = 1 << 20
_MOST_ITEMS = 100
_MOST_KEYS = 1000
_DEEPEST = 4
_KINDS: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}


def list_json(file: Location, stream: BoundedReader) -> Listing:
    """List the keys of a JSON file, four levels deep; the items of an array together, as ``[]``.

    Raises:
        FormatError: not JSON.
    """
    size = stream.seek(0, 2)
    stream.seek(0)
    if size > _LARGEST:
        note = f"not read: larger than {_LARGEST:,} bytes"
        return Listing("json", [Entry("/", "unknown", note=note)], {})
    value = _parsed(stream.read(), file)
    return Listing(
        "json", list(_described("/", [value])), {"levels_listed": _DEEPEST, "items_read_per_array": _MOST_ITEMS}
    )


def list_json_lines(file: Location, stream: BoundedReader) -> Listing:
    """List the keys of the first hundred lines together.

    Raises:
        FormatError: one of them is not JSON, or longer than a MiB.
    """
    lines = iter(lambda: stream.readline(_LONGEST_LINE), b"")
    numbered = itertools.islice(enumerate(lines, start=1), _MOST_ITEMS)
    values = [_parsed(line, file, f"line {number}") for number, line in numbered if line.strip()]
    entries = [entry for entry in _described("/", values) if entry.path != "/" or entry.kind != "object"]
    return Listing("jsonl", entries, {"lines_read": len(values), "all_lines_read": not stream.peek(1)})


def _parsed(text: bytes, file: Location, where: str | None = None) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        problem = "not JSON" if where is None else f"not JSON, or longer than {_LONGEST_LINE:,} bytes"
        raise FormatError(problem, file=file, where=where, found=error) from error


def _described(path: str, values: list[Any], depth: int = 0, note: str = "") -> Iterator[Entry]:
    """Entries for what stands at one path, in one or more objects or items that are alike, and below it."""
    objects = [value for value in values if isinstance(value, dict)]
    arrays = [value for value in values if isinstance(value, list)]
    children: dict[str, list[Any]] = {}
    for found in objects:
        for key, value in found.items():
            children.setdefault(key, []).append(value)
    if objects and len(children) > _MOST_KEYS:
        note = f"{len(children):,} keys, of which {_MOST_KEYS:,} are listed"
    kinds = " | ".join(dict.fromkeys(_KINDS[type(value)] for value in values))
    lengths = {len(array) for array in arrays}
    if len(lengths) > 1:
        note = f"{note}; " * bool(note) + f"lengths {min(lengths)} to {max(lengths)}"
    yield Entry(path, kinds, shape=(min(lengths),) if len(lengths) == 1 else None, note=note)
    if depth == _DEEPEST:
        return
    prefix = "" if path == "/" else f"{path}/"
    for key, below in itertools.islice(children.items(), _MOST_KEYS):
        present = "" if len(below) == len(objects) else f"in {len(below)} of {len(objects)}"
        yield from _described(prefix + key, below, depth + 1, present)
    items = list(itertools.islice(itertools.chain.from_iterable(arrays), _MOST_ITEMS))
    if items:
        yield from _described(f"{prefix}[]", items, depth + 1)
