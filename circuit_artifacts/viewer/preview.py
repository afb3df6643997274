"""The size of the viewer's answers: the JSON of the first rows and of the types of the columns."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterable
from typing import Any, Final

from datasets import Features

__all__ = ["MAX_BYTES", "MAX_ROWS", "json_bytes", "row_sizes", "types_size"]

MAX_ROWS, MAX_BYTES = 100, 200_000
_LINK: Final = {"src": "x" * 400, "height": 1_000, "width": 1_000}  # a signed address


def json_bytes(value: Any) -> int:
    """The bytes of a value as compact JSON."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_as_text).encode())


def types_size(features: Features) -> int:
    """The bytes that the types of the columns take in an answer."""
    types = features.to_dict()
    return json_bytes([{"feature_idx": i, "name": name, "type": types[name]} for i, name in enumerate(types)])


def row_sizes(rows: Iterable[dict[str, Any]], *, linked: Collection[str] = ()) -> list[int]:
    """The bytes of each row in an answer; none after those that fill it.

    Args:
        rows: the first ones.
        linked: columns of pictures and sounds, which an answer only points to.
    """
    sizes: list[int] = []
    for index, row in enumerate(rows):
        shown = row | {name: _LINK for name in linked if row.get(name) is not None}
        sizes.append(json_bytes({"row_idx": index, "row": shown, "truncated_cells": []}) + 1)
        if sum(sizes) >= MAX_BYTES:
            break
    return sizes


def _as_text(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
