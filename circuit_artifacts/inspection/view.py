"""A listing for people: facts first, then a table in which things that are alike share a row."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from circuit_artifacts import display
from circuit_artifacts.inspection.listing import Entry, Inspection, shortened

__all__ = ["as_object", "rows", "show"]

_MOST_ROWS = 40
_LONGEST_FACT = 300


def show(inspection: Inspection) -> None:
    """Print the facts, and the entries in as many rows as can be read."""
    title = f"{inspection.file}: {inspection.format}, {inspection.bytes:,} bytes"
    display.OUT.print(_printable(title), style="bold", markup=False, highlight=False, soft_wrap=True)
    for name, value in inspection.facts.items():
        text = "none" if value in (None, [], {}) else value if isinstance(value, str) else json.dumps(value)
        line = _printable(f"{name.replace('_', ' ')}: {_cut(text, _LONGEST_FACT)}")
        display.OUT.print(line, markup=False, highlight=False, soft_wrap=True)
    found = rows(inspection.entries)
    display.show_rows(found[:_MOST_ROWS], dispensable=("attributes", "note"))
    if len(found) > _MOST_ROWS:
        display.OUT.print(f"and {len(found) - _MOST_ROWS:,} rows more; --json has everything", style="dim")


def as_object(inspection: Inspection) -> dict[str, Any]:
    """Everything that was found, as JSON has it."""
    return dataclasses.asdict(inspection)


def rows(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Table rows: one per entry, or, of more than forty, one for all that differ in numbers or names only.

    Entries share a row only if kind, type, number of axes and note are the same. The lengths of an axis are then given
    as ``3…40``, and bytes are summed.
    """
    if len(entries) <= _MOST_ROWS:
        groups = [(entry.path, [entry]) for entry in entries]
    else:
        for pattern in (_without_numbers, _siblings, lambda path: _siblings(_without_numbers(path))):
            groups = _grouped(entries, pattern)
            if len(groups) <= _MOST_ROWS:
                break
    found = [_row(pattern, members) for pattern, members in groups]
    filled = [name for name in found[0] if any(row[name] not in {None, ""} for row in found)] if found else []
    if len(found) == len(entries):
        filled = [name for name in filled if name != "entries"]
    return [{name: row[name] for name in filled} for row in found]


def _grouped(entries: Sequence[Entry], pattern: Callable[[str], str]) -> list[tuple[str, list[Entry]]]:
    groups: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in entries:
        rank = None if entry.shape is None else len(entry.shape)
        groups.setdefault((pattern(entry.path), entry.kind, entry.dtype, rank, entry.note), []).append(entry)
    return [(key[0], members) for key, members in groups.items()]


def _without_numbers(path: str) -> str:
    return re.sub(r"\d+", "#", path)


def _siblings(path: str) -> str:
    return path[: path.rfind("/") + 1] + "…"


def _row(pattern: str, members: list[Entry]) -> dict[str, Any]:
    first, alone = members[0], len(members) == 1
    sizes = [entry.stored_bytes for entry in members if entry.stored_bytes is not None]
    names = dict.fromkeys(name for entry in members for name in entry.attributes)
    values = [f"{name}={shortened(value)}" for name, value in first.attributes.items()]
    return {
        "path": _printable(first.path if alone else pattern),
        "entries": len(members),
        "kind": first.kind,
        "dtype": _printable(first.dtype),
        "shape": _shape([entry.shape for entry in members if entry.shape is not None]),
        "bytes": sum(sizes) if sizes else None,
        "attributes": _printable(", ".join(values if alone else names)),
        "note": _printable(first.note),
    }


def _shape(shapes: list[tuple[int, ...]]) -> str:
    """One shape, or the range of each axis: ``(8, 3…40)``."""
    if not shapes:
        return ""
    axes = [str(min(axis)) if len(set(axis)) == 1 else f"{min(axis)}…{max(axis)}" for axis in zip(*shapes, strict=True)]
    return f"({', '.join(axes)}{',' * (len(axes) == 1)})"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _printable(text: str) -> str:
    """The text without what would move the cursor or cannot be encoded: names in a file are anybody's."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
