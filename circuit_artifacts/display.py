"""Rows as people and machines read them: tables that fit the terminal, whole lines into pipes, JSON on request."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

__all__ = ["ERR", "OUT", "show_rows"]

OUT, ERR = Console(), Console(stderr=True)
_CELL_LENGTH, _SENTENCE_WIDTH, _UNLIMITED = 120, 24, 10_000


def show_rows(
    rows: Sequence[dict[str, Any]], *, as_json: bool = False, dispensable: Sequence[str] = (), whole: bool = False
) -> None:
    """Print rows: as JSON, as a table that fits the terminal, or, into a pipe or file, as whole aligned lines.

    Args:
        rows: with the same keys in all of them; for JSON, any.
        as_json: one object per line.
        dispensable: columns that a narrow terminal may do without, the first to go first.
        whole: never shorten a cell, however long.
    """
    if as_json:
        lines = ",\n".join(json.dumps(_without_nan(row), default=str, allow_nan=False) for row in rows)
        typer.echo(f"[\n{lines}\n]" if rows else "[]")
        return
    names = list(rows[0]) if rows else []
    cells = [["" if value is None else str(value) for value in row.values()] for row in rows]
    if OUT.is_terminal and not whole:
        cells = [[_shortened(cell) for cell in row] for row in cells]
    if not OUT.is_terminal:
        for line in _aligned([names, *cells] if rows else []):
            typer.echo(line)
        return
    for hidden in range(len(dispensable) + 1):
        kept = [index for index, name in enumerate(names) if name not in dispensable[:hidden]]
        table = _table([names[index] for index in kept], [[row[index] for index in kept] for row in cells])
        if Measurement.get(OUT, OUT.options.update(width=_UNLIMITED), table).minimum <= OUT.width:
            OUT.print(table)
            break
    else:
        hidden = 0
        for row in cells:
            OUT.print(_record(names, row))
    if hidden:
        OUT.print(f"Not shown here: {', '.join(dispensable[:hidden])}; --json has all.", style="dim")


def _table(names: Sequence[str], cells: Sequence[Sequence[str]]) -> Table:
    """A table whose names are never broken; sentences are, at their spaces."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, column in zip(names, zip(*cells, strict=True), strict=True):
        one_word = not any(" " in cell for cell in column)
        least = None if one_word else min(_SENTENCE_WIDTH, max(map(len, column)))
        table.add_column(name, overflow="fold", no_wrap=one_word, min_width=least)
    for row in cells:
        # As Text: brackets in Python code are not markup.
        table.add_row(*map(Text, row))
    return table


def _record(names: Sequence[str], row: Sequence[str]) -> Table:
    """One row as a column of names and values, where a terminal is too narrow for a table."""
    record = Table(box=None, show_header=False, pad_edge=False)
    record.add_column(style="bold", no_wrap=True)
    record.add_column(overflow="fold")
    for name, cell in zip(names, row, strict=True):
        record.add_row(name, Text(cell))
    record.add_row()
    return record


def _shortened(text: str) -> str:
    return text if len(text) <= _CELL_LENGTH else f"{text[: _CELL_LENGTH - 3]}..."


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """One line per row, whatever its length, with columns that start at the same place."""
    whole = [[cell.replace("\n", "\\n") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in whole]


def _without_nan(value: Any) -> Any:
    """The value with null for what JSON has no number for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list) else value
