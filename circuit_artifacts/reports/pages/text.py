"""Token text that can be seen: what is blank, invisible or reorders its neighbours gets a sign of its own."""

from __future__ import annotations

import html
import itertools
import textwrap
import unicodedata
from typing import NamedTuple

__all__ = ["Piece", "plotly_text", "visible", "visible_pieces"]

_SIGNS = {"\n": "↵", "\t": "⇥", " ": "·"}
_WITHOUT_GLYPH = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
_BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters, marks and symbols by their category, which nevertheless show nothing."""
_VARIATION_SELECTORS = frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
_DOTTED_CIRCLE = "◌"
_OPEN, _CLOSE = "\u2039", "\u203a"  # angle quotes


class Piece(NamedTuple):
    """Part of a text; a sign stands for a character, and is to look different from that sign in a text."""

    text: str
    is_sign: bool


def visible_pieces(text: str, *, spaces: bool = True) -> list[Piece]:
    """Split a text into what shows by itself and signs for what does not.

    Line feed, tab and space become ``↵ ⇥ ·``. Every other control and format character (so also zero-width characters
    and those that override the direction), other blanks, lone surrogates, and code points that are private or
    unassigned become their number, as ``U+200B``. A combining mark at the beginning gets a dotted
    circle to stand on. What comes back can be encoded as UTF-8.

    Args:
        text: a token, or a sentence.
        spaces: give the space a sign; False for sentences.
    """
    pieces = [_piece(character, spaces=spaces) for character in text]
    if text and not pieces[0].is_sign and unicodedata.category(text[0]).startswith("M"):
        pieces.insert(0, Piece(_DOTTED_CIRCLE, is_sign=True))
    joined: list[Piece] = []
    for is_sign, group in itertools.groupby(pieces, lambda piece: piece.is_sign):
        texts = [piece.text for piece in group]
        joined += [Piece(text, is_sign) for text in (texts if is_sign else ["".join(texts)])]
    return joined


def visible(text: str, *, spaces: bool = False) -> str:
    """The same as plain text, for places that know no markup: the numbers of characters in angle quotes."""
    return "".join(
        f"{_OPEN}{piece.text}{_CLOSE}" if piece.is_sign and len(piece.text) > 1 else piece.text
        for piece in visible_pieces(text, spaces=spaces)
    )


def plotly_text(text: str, *, width: int = 60) -> str:
    """A sentence for a label of plotly, which reads tags and entities: here only line breaks, every `width`."""
    return "<br>".join(html.escape(line, quote=False) for line in textwrap.wrap(visible(text), width)) or " "


def _piece(character: str, *, spaces: bool) -> Piece:
    if character == " " and not spaces:
        return Piece(character, is_sign=False)
    if sign := _SIGNS.get(character):
        return Piece(sign, is_sign=True)
    hidden = character in _BLANK_LETTERS or character in _VARIATION_SELECTORS
    if hidden or unicodedata.category(character) in _WITHOUT_GLYPH:
        return Piece(f"U+{ord(character):04X}", is_sign=True)
    return Piece(character, is_sign=False)
