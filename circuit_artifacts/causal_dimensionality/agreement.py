"""Subject-verb agreement in JSON Lines, the form of feature-circuits' data (causal-dimensionality spec 6).

The files are called ``<structure>_<split>.json``, and hold one object per line. The published ones repeat many lines,
and many of their test items recur in training: use `without_duplicates` before anything is called held out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import pyarrow as pa

from circuit_artifacts.errors import FormatError, SchemaError, located
from circuit_artifacts.formats.bounded import open_bounded
from circuit_artifacts.formats.row_tables import make_table
from circuit_artifacts.remote import Location
from circuit_artifacts.schemas.causal_agreement import AgreementItem

__all__ = [
    "Contrast",
    "agreement_table",
    "contrasts",
    "json_lines",
    "name_parts",
    "read_agreement",
    "without_duplicates",
]

_LARGEST: Final = 64 << 20
"""Bytes of one file; the largest that is known takes 1.6 MB."""
_NAME: Final = re.compile(r"(?P<structure>\w+?)(?:_(?P<split>train|test))?\.jsonl?")


class Contrast(NamedTuple):
    """One item, with the file's keys; see `AgreementItem`."""

    clean_prefix: str
    patch_prefix: str
    clean_answer: str
    patch_answer: str
    case: str | None = None


_REQUIRED: Final = Contrast._fields[:-1]


def name_parts(name: str) -> tuple[str, str | None]:
    """Structure and split in a file's name, without folders; the whole stem and None where it is of another kind."""
    match = _NAME.fullmatch(name)
    return (match["structure"], match["split"]) if match else (name.partition(".")[0], None)


def read_agreement(file: Location) -> pa.Table:
    """Rows of `AgreementItem`, in the order of the file; its name says the structure and the split.

    Blank lines, a byte order mark and an absent ``case`` are accepted; unknown keys are kept in ``extra``.

    Raises:
        MissingArtifactError: there is no such file.
        FormatError: a line is not JSON, or the file is larger than 64 MiB.
        SchemaError: a line is no object, lacks a key, or has a value that is no text.
    """
    with open_bounded(file, largest=_LARGEST) as stream:
        data = stream.read()
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        problem = "the file is not UTF-8 text"
        raise FormatError(problem, file=file, found=error) from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    parsed = [_parse(line, file, number) for number, line in numbered]
    structure, split = name_parts(file.name)
    items, extra = [item for item, _ in parsed], [more for _, more in parsed]
    with located(file):
        return agreement_table(items, structure=structure, split=split, extra=extra)


def agreement_table(
    items: Sequence[Contrast], *, structure: str, split: str | None, extra: Sequence[str | None] | None = None
) -> pa.Table:
    """Rows of `AgreementItem` for items of one structure and split.

    Raises:
        SchemaError: half of a character that takes two, which is no text.
    """
    columns: dict[str, Any] = {name: [getattr(item, name) for item in items] for name in Contrast._fields}
    columns |= {"structure": structure, "split": split, "extra": None if extra is None else list(extra)}
    return make_table(AgreementItem, columns, len(items))


def contrasts(table: pa.Table) -> list[Contrast]:
    """The items of a table of `AgreementItem`, in its order."""
    columns = (table.column(name).to_pylist() for name in Contrast._fields)
    return [Contrast(*values) for values in zip(*columns, strict=True)]


def json_lines(items: Iterable[Contrast]) -> str:
    """Items as the text of a file that `read_agreement` reads."""
    return "".join(f"{json.dumps(item._asdict(), ensure_ascii=False)}\n" for item in items)


def without_duplicates(
    splits: Mapping[str, Iterable[Contrast]], *, either_direction: bool = False
) -> dict[str, list[Contrast]]:
    """Each item once, in the first split that has it; orders are kept.

    Items are the same if prefix and answer are, as spec 6 counts them. So the split that matters most comes first:
    ``{"test": ..., "train": ...}`` keeps all test items and takes those out of training.

    Args:
        splits: items by split.
        either_direction: also take an item for the same as the one with clean and patch exchanged.
    """
    seen: set[tuple[str, str]] = set()
    kept: dict[str, list[Contrast]] = {}
    for split, items in splits.items():
        kept[split] = []
        for item in items:
            if (item.clean_prefix, item.clean_answer) not in seen:
                kept[split].append(item)
                seen.add((item.clean_prefix, item.clean_answer))
                if either_direction:
                    seen.add((item.patch_prefix, item.patch_answer))
    return kept


def _parse(line: str, file: Location, number: int) -> tuple[Contrast, str | None]:
    where = f"line {number}"
    try:
        value = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        problem = "the line is not JSON"
        raise FormatError(problem, file=file, where=where, found=error, remedy="Get the file again.") from error
    if not isinstance(value, dict):
        problem = "the line does not hold a JSON object"
        raise SchemaError(problem, file=file, where=where, found=type(value).__name__, expected="an object")
    texts: dict[str, Any] = {name: value.get(name) for name in Contrast._fields}
    for name, text in texts.items():
        if not isinstance(text, str) and (name in _REQUIRED or text is not None):
            problem = f"{name} is not text" if name in value else f"there is no {name}"
            expected = ", ".join(Contrast._fields)
            raise SchemaError(problem, file=file, where=where, found=", ".join(map(str, value)), expected=expected)
    surplus = {key: item for key, item in value.items() if key not in texts}
    return Contrast(**texts), json.dumps(surplus) if surplus else None
