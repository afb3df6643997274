"""Text from data as labels: any string can be drawn, on one line, within a width."""

from __future__ import annotations

import re
import textwrap
from bisect import bisect_right
from functools import cache
from pathlib import Path

import matplotlib as mpl
from matplotlib.ft2font import FT2Font

__all__ = ["fitting", "plain", "wrapped"]

_UNKNOWN = "\N{REPLACEMENT CHARACTER}"
_ELLIPSIS = "…"
_LONGEST = 1000  # characters that are looked at
_TYPICAL_WIDTH = 0.55  # of a character, in the size of the font
_MOST_LINES = 2


def plain(text: object) -> str:
    """A string on one line in which every character has a glyph in DejaVu Sans; empty for what is no string.

    White space becomes single spaces, and each run of control characters or of characters without a glyph one
    replacement character: matplotlib would warn of them, or draw boxes.
    """
    if not isinstance(text, str):
        return ""
    glyphs = _glyphs()
    one_line = " ".join(text[:_LONGEST].split())
    shown = (one if one.isprintable() and ord(one) in glyphs else _UNKNOWN for one in one_line)
    return re.sub(f"{_UNKNOWN}+", _UNKNOWN, "".join(shown))


def fitting(text: object, *, inches: float, points: float) -> str:
    """As `plain`, cut with an ellipsis to what fits in a width at a font size in points."""
    line = plain(text)
    if _inches(line, points) <= inches:
        return line
    kept = bisect_right(range(1, len(line)), inches, key=lambda end: _inches(line[:end] + _ELLIPSIS, points))
    return line[:kept].rstrip() + _ELLIPSIS


def wrapped(text: str, *, inches: float, points: float) -> list[str]:
    """As `plain`, on at most two lines of a width."""
    characters = max(int(inches * 72 / points / _TYPICAL_WIDTH), 10)
    lines = textwrap.wrap(plain(text), characters, max_lines=_MOST_LINES, placeholder=f" {_ELLIPSIS}")
    return [fitting(line, inches=inches, points=points) for line in lines]


def _inches(text: str, points: float) -> float:
    font = _font()
    font.set_text(text, 0.0)
    width, _ = font.get_width_height()
    return width / 64 * points / _SIZE / 72


_SIZE = 100  # points, at which widths are measured


@cache
def _font() -> FT2Font:
    font = FT2Font(str(Path(mpl.get_data_path(), "fonts/ttf/DejaVuSans.ttf")))
    font.set_size(_SIZE, 72)
    return font


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(_font().get_charmap())
