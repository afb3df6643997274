"""What tokens look like: no character vanishes, breaks the line or turns its neighbours round."""

from __future__ import annotations

import html
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit_artifacts.reports.pages.greens import N_TINTS, greens, tint_level, tint_rules
from circuit_artifacts.reports.pages.text import Piece, plotly_text, visible, visible_pieces


def sign(text: str) -> Piece:
    return Piece(text, is_sign=True)


def plain(text: str) -> Piece:
    return Piece(text, is_sign=False)


@pytest.mark.parametrize(
    ("token", "pieces"),
    [
        ("word", [plain("word")]),
        (" word", [sign("·"), plain("word")]),
        ("a\n\tb", [plain("a"), sign("↵"), sign("⇥"), plain("b")]),
        ("↵·", [plain("↵·")]),  # the characters themselves are no signs
        ("\r", [sign("U+000D")]),
        ("\x00\x1b", [sign("U+0000"), sign("U+001B")]),
        ("\u202egnp.exe", [sign("U+202E"), plain("gnp.exe")]),
        ("a\u200bb", [plain("a"), sign("U+200B"), plain("b")]),
        ("\u00a0\u3000", [sign("U+00A0"), sign("U+3000")]),
        ("\u2028", [sign("U+2028")]),
        ("\ud83d", [sign("U+D83D")]),
        ("\U000e0041", [sign("U+E0041")]),  # a tag character
        ("\ufe0f", [sign("U+FE0F")]),
        ("\u3164", [sign("U+3164")]),  # a letter that is blank
        ("\ue000", [sign("U+E000")]),
        ("\u0301e", [sign("◌"), plain("\u0301e")]),
        ("e\u0301", [plain("e\u0301")]),
        ("▁the", [plain("▁the")]),
        ("שלום", [plain("שלום")]),
        ("", []),
    ],
)
def test_every_character_can_be_seen(token: str, pieces: list[Piece]) -> None:
    assert visible_pieces(token) == pieces


@given(st.text(st.characters()) | st.text(st.characters(categories=["Cs", "Cf", "Cc", "Zs", "Mn"])))
def test_nothing_invisible_is_left_and_what_was_plain_still_is(token: str) -> None:
    shown = "".join(piece.text for piece in visible_pieces(token))
    shown.encode("utf-8")
    assert not any(unicodedata.category(one)[0] in "CZ" for one in shown)
    kept = "".join(piece.text for piece in visible_pieces(token) if not piece.is_sign)
    assert kept == "".join(one for one in token if one in kept)


def test_a_sentence_keeps_its_spaces() -> None:
    assert visible("two words\u202e, and\na line") == "two words\u2039U+202E\u203a, and↵a line"


@given(st.text())
def test_plotly_gets_no_tag_but_line_breaks(text: str) -> None:
    label = plotly_text(text, width=20)
    assert set(re.findall(r"<[^>]*>?", label)) <= {"<br>"}
    assert not re.findall(r"&(?!amp;|lt;|gt;)", label)
    shown = " ".join(html.unescape(line) for line in label.split("<br>"))
    assert "".join(shown.split()) == "".join(visible(text).split())


def test_greens_run_from_the_page_to_the_strongest_colour() -> None:
    assert (greens(0), greens(1)) == ("#f7fcf5", "#00441b")
    assert greens(0.5) == "#74c476"
    assert greens(0.0625) == "#eef8ea"  # half way between the first two
    for dark, direction in ((False, -1), (True, 1)):
        brightness = [sum(bytes.fromhex(greens(value, dark=dark)[1:])) for value in np.linspace(0, 1, 50)]
        assert (direction * np.diff(brightness) > 0).all()


def test_only_no_influence_has_no_tint() -> None:
    assert [tint_level(tint) for tint in (0, 1e-9, 0.5, 1)] == [0, 1, N_TINTS // 2, N_TINTS]


def test_text_on_every_tint_can_be_read() -> None:
    def luminance(colour: str) -> float:
        parts = np.array(list(bytes.fromhex(colour))) / 255
        return float(
            np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
        )

    rules = re.findall(r"\.g\d+\{background:#(\w+);color:#(\w+)\}", tint_rules())
    assert len(rules) == 2 * N_TINTS
    for background, text in rules:
        low, high = sorted([luminance(background), luminance(text * 2)])
        assert (high + 0.05) / (low + 0.05) > 4.5  # WCAG AA
